//! A load balancer in front of a group: one encrypted address, behind which replicas take turns.
//!
//! It ends the encryption and carries bytes. A replica that takes no connection is passed over; what was under way
//! to one that dies breaks off.
//!
//! Not here: links that are cut (`link`).

use anyhow::{Context, Result};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

/// A load balancer. It ends when it is dropped.
#[derive(Debug)]
pub struct Balancer {
    addr: SocketAddr,
    authority: String,
    carried: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl Balancer {
    /// Listens on a free port for connections to `localhost`, which go to one of these.
    pub async fn open(targets: Vec<SocketAddr>) -> Result<Self> {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?;
        let certificate = certificate.signed_by(&key, &root)?;
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?,
            )?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let carried = Arc::new(AtomicUsize::new(0));
        let mut accepting = JoinSet::new();
        let counted = Arc::clone(&carried);
        accepting.spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let mut under_way = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while under_way.try_join_next().is_some() {}
                let (acceptor, counted, targets) =
                    (acceptor.clone(), Arc::clone(&counted), targets.clone());
                under_way.spawn(async move { carry(stream, acceptor, &targets, &counted).await });
            }
        });
        let authority = root.pem();
        Ok(Self { addr, authority, carried, _accepting: accepting })
    }

    /// Its address, by the name that its certificate is for.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }

    /// Who has signed its certificate, in PEM.
    pub fn authority(&self) -> &[u8] {
        self.authority.as_bytes()
    }

    /// How many connections it has carried to a replica.
    pub fn carried(&self) -> usize {
        self.carried.load(Ordering::Relaxed)
    }
}

/// Carries one connection. Whoever breaks it off knows why.
async fn carry(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    targets: &[SocketAddr],
    carried: &AtomicUsize,
) -> Option<()> {
    let mut outside = acceptor.accept(stream).await.ok()?;
    let turn = carried.fetch_add(1, Ordering::Relaxed);
    for step in 0..targets.len() {
        let target = targets[(turn + step) % targets.len()];
        if let Ok(mut inside) = TcpStream::connect(target).await {
            tokio::io::copy_bidirectional(&mut outside, &mut inside).await.ok()?;
            return Some(());
        }
    }
    None
}

/// Where a replica listens, out of its address.
pub fn socket_of(url: &str) -> Result<SocketAddr> {
    let authority = url.strip_prefix("http://").context("an address of a replica")?;
    Ok(authority.parse()?)
}
