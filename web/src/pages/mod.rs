//! The pages, in the order of the navigation.
//!
//! A page is a file with four parts: what the template shows, how it comes from the contract's type,
//! the handler, and its tests. There is one page so far; the others come with their own issue.
//!
//! Not here: the frame around every page (`templates/shell.html`).

pub(crate) mod overview;
pub(crate) mod performance;
