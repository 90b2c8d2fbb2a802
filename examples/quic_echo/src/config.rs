//! Certificates, ALPN and the limits that QUIC itself keeps. COPY: the file.

use std::{path::Path, sync::Arc, time::Duration};

use compio_quic::{
    IdleTimeout, ServerConfig, TransportConfig, VarInt, crypto::rustls::QuicServerConfig,
};
use rustls::{
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

/// The protocol, as client and server agree on it in the handshake.
pub(crate) const ALPN: &[u8] = b"landbridge-echo/1";

/// Why a stream or a connection was ended, for the other side.
pub(crate) mod code {
    use super::VarInt;

    pub(crate) const TOO_LARGE: VarInt = VarInt::from_u32(1);
    pub(crate) const TOO_SLOW: VarInt = VarInt::from_u32(2);
    /// Nothing has been done for this stream; another server may be asked.
    pub(crate) const GOING_AWAY: VarInt = VarInt::from_u32(3);
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{0}: {1}")]
    Pem(String, #[source] pem::Error),
    #[error("certificate and key: {0}")]
    Tls(#[from] rustls::Error),
    #[error("QUIC needs AES-128-GCM, which the provider does not have")]
    NoInitialCipherSuite,
    #[error("the idle timeout is too long")]
    IdleTimeout,
}

/// What one client, and all of them, may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections of each worker. From half of them on, a client has to show that its address is its own.
    pub(crate) connections: usize,
    /// Streams of a connection at the same time. A client that wants more waits.
    pub(crate) streams: u32,
    /// Bytes that a client may send on a stream.
    pub(crate) message: u64,
    /// How long a stream may take.
    pub(crate) stream_time: Duration,
    /// A peer that has said nothing for so long is gone.
    pub(crate) idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            streams: 64,
            message: 64 << 20,
            stream_time: Duration::from_secs(60),
            idle: Duration::from_secs(10),
        }
    }
}

pub(crate) fn from_files(
    certificates: &Path,
    key: &Path,
    limits: &Limits,
) -> Result<ServerConfig, ConfigError> {
    let said = |path: &Path, error| ConfigError::Pem(path.display().to_string(), error);
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect)
        .map_err(|error| said(certificates, error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| said(key, error))?;
    server(chain, key, limits)
}

/// Not by `compio_quic::ServerBuilder`: it takes the process's provider, and panics where two are in the build; and
/// it lets clients send 0-RTT data, which anybody may send once more.
pub(crate) fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    limits: &Limits,
) -> Result<ServerConfig, ConfigError> {
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicServerConfig::try_from(tls).map_err(|_| ConfigError::NoInitialCipherSuite)?;

    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(limits.idle).map_err(|_| ConfigError::IdleTimeout)?;
    transport
        .max_concurrent_bidi_streams(limits.streams.into())
        .max_concurrent_uni_streams(0_u8.into())
        .max_idle_timeout(Some(idle));
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(Arc::new(transport))
        // A client with a new address is another worker's, which does not know it.
        .migration(false);
    Ok(config)
}
