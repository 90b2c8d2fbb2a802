//! The client, quinn on Tokio. COPY: the file, for a client of your own.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{
    ClientConfig, ConnectError, Connection, ConnectionError, Endpoint, IdleTimeout,
    TransportConfig, crypto::rustls::QuicClientConfig,
};
use rustls::{RootCertStore, crypto::ring, pki_types::CertificateDer};

use crate::config::ALPN;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("no socket: {0}")]
    Socket(#[from] io::Error),
    #[error("the certificate: {0}")]
    Tls(#[from] rustls::Error),
    #[error("QUIC needs AES-128-GCM, which the provider does not have")]
    NoInitialCipherSuite,
    #[error("the idle timeout is too long")]
    IdleTimeout,
    #[error("connecting: {0}")]
    Connect(#[from] ConnectError),
    #[error("the connection: {0}")]
    Connection(#[from] ConnectionError),
}

/// Whom a client asks, and whom it believes.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) server: SocketAddr,
    pub(crate) name: String,
    pub(crate) root: CertificateDer<'static>,
    pub(crate) alpn: Vec<u8>,
    pub(crate) idle: Duration,
}

impl Client {
    pub(crate) fn new(server: SocketAddr, root: CertificateDer<'static>) -> Self {
        Self {
            server,
            root,
            name: "localhost".to_owned(),
            alpn: ALPN.to_vec(),
            idle: Duration::from_secs(10),
        }
    }

    /// A connection with a socket of its own: the server's workers share clients out by their addresses. The
    /// endpoint goes with the connection, unless somebody keeps it for [`Endpoint::wait_idle`].
    pub(crate) async fn connect(&self) -> Result<(Endpoint, Connection), ClientError> {
        let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into())?;
        let connecting = endpoint.connect_with(self.config()?, self.server, &self.name)?;
        let connection = connecting.await?;
        Ok((endpoint, connection))
    }

    fn config(&self) -> Result<ClientConfig, ClientError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        let provider = Arc::new(ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![self.alpn.clone()];
        let tls = QuicClientConfig::try_from(tls).map_err(|_| ClientError::NoInitialCipherSuite)?;

        let mut transport = TransportConfig::default();
        let idle = IdleTimeout::try_from(self.idle).map_err(|_| ClientError::IdleTimeout)?;
        transport.max_idle_timeout(Some(idle));
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(Arc::new(transport));
        Ok(config)
    }
}
