//! TLS as a server has it. COPY: the file.

use std::{path::Path, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
    },
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{0}: {1}")]
    Pem(String, #[source] pem::Error),
    #[error("certificate and key: {0}")]
    Config(#[from] rustls::Error),
}

pub(crate) fn from_files(certificates: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let said = |path: &Path, error| TlsError::Pem(path.display().to_string(), error);
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect)
        .map_err(|error| said(certificates, error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| said(key, error))?;
    acceptor(chain, key)
}

/// The provider is named: which one is the default depends on what else is in the build.
pub(crate) fn acceptor(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // The client's choice, HTTP/2 if it can.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
