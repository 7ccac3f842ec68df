//! Where a request came from, as the door saw it.

use std::net::IpAddr;

/// Travels with a request, among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller(pub IpAddr);
