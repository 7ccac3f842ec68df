//! `https://`: encrypted connections, by rustls with ring.
//!
//! Trusted are the roots that the system trusts, and those that the caller adds. An HTTP client of its own carries
//! these requests: if that of `reqwest` learned TLS, it would for everybody else in the process as well, and how.
//!
//! Not here: which addresses may be encrypted (`endpoints`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as HttpError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use reqwest::{Body, Request, Response};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;
use tower::util::BoxCloneSyncService;

use super::layers::{HttpService, LayerError};

/// Certificates that are trusted beside those of the system.
pub(super) type Roots = Vec<CertificateDer<'static>>;

/// Takes certificates out of a text in PEM: at least one.
pub(super) fn roots(pem: &[u8]) -> Result<Roots, String> {
    let found: Result<Roots, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no certificate in it".to_owned()),
        found => found.map_err(|error| error.to_string()),
    }
}

/// An HTTP client for encrypted connections.
pub(super) fn client(
    roots: Roots,
    connect_timeout: Duration,
    idle_max: Duration,
) -> Result<HttpService, LayerError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    let https = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1();
    let client: Client<_, Body> = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(idle_max)
        .build(https.wrap_connector(tcp));
    Ok(BoxCloneSyncService::new(tower::service_fn(move |request: Request| {
        let client = client.clone();
        async move {
            let request = http::Request::<Body>::try_from(request)?;
            let answer = client.request(request).await.map_err(Broken)?;
            Ok(Response::from(answer.map(Body::wrap)))
        }
    })))
}

/// The request could not be sent, or the answer did not arrive.
#[derive(Debug)]
pub(super) struct Broken(HttpError);

impl Broken {
    /// Whether there was no connection, so that certainly nothing was sent.
    pub(super) fn is_unsent(&self) -> bool {
        self.0.is_connect()
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0)
    }
}
