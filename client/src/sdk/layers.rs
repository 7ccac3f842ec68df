//! The way out: an HTTP client, behind whatever layers the caller put around it.
//!
//! A layer sees each attempt, not each call: what is tried again passes it again.
//!
//! Not here: when it is tried again (`transport`).

use std::fmt;
use std::sync::Arc;

use reqwest::{Request, Response};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt as _};

/// What a layer of a client wraps, and becomes again: it takes a request and gives its answer, of
/// [`reqwest`](crate::sdk::reqwest), or an error of any kind.
///
/// ```no_run
/// use quorate_client::sdk::reqwest::Request;
/// use quorate_client::{Client, HttpService, LayerError};
/// use tower::{ServiceExt as _, service_fn};
/// use tower::layer::layer_fn;
///
/// # fn run() -> Result<(), quorate_client::Error> {
/// let quiet_at_night = layer_fn(|http: HttpService| {
///     service_fn(move |request: Request| {
///         let http = http.clone();
///         async move {
///             if is_night() { Err(LayerError::from("it is night")) } else { http.oneshot(request).await }
///         }
///     })
/// });
/// let quorate = Client::builder().seeds("http://a:7001")?.layer(quiet_at_night).build()?;
/// # Ok(())
/// # }
/// # fn is_night() -> bool { false }
/// ```
pub type HttpService = BoxCloneSyncService<Request, Response, LayerError>;

/// An error of the layers around an HTTP client, or of that.
pub type LayerError = Box<dyn std::error::Error + Send + Sync>;

/// The HTTP client for connections that are not encrypted.
pub(super) fn plain(http: reqwest::Client) -> HttpService {
    BoxCloneSyncService::new(http.map_err(LayerError::from))
}

/// Two clients: one for encrypted connections, one for the others.
#[cfg(feature = "tls")]
pub(super) fn by_scheme(encrypted: HttpService, plain: HttpService) -> HttpService {
    BoxCloneSyncService::new(tower::service_fn(move |request: Request| {
        let is_encrypted = request.url().scheme() == "https";
        if is_encrypted { &encrypted } else { &plain }.clone().oneshot(request)
    }))
}

type Wrap = dyn Fn(HttpService) -> HttpService + Send + Sync;

/// Layers, the outermost one last.
#[derive(Clone, Default)]
pub(super) struct Layers(Vec<Arc<Wrap>>);

impl Layers {
    pub(super) fn push<L>(&mut self, layer: L)
    where
        L: Layer<HttpService> + Send + Sync + 'static,
        L::Service: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Error: Into<LayerError>,
        <L::Service as Service<Request>>::Future: Send,
    {
        self.0.push(Arc::new(move |http| {
            BoxCloneSyncService::new(layer.layer(http).map_err(Into::into))
        }));
    }

    /// A client behind all of them.
    pub(super) fn around(&self, http: HttpService) -> HttpService {
        self.0.iter().fold(http, |http, wrap| wrap(http))
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} layers", self.0.len())
    }
}
