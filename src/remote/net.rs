//! A pool, or one worker, as a network.

use std::{io, sync::Arc};

use crate::{
    CompioPool,
    error::{JoinError, NoDefaultPool},
    pool::{CompioHandle, Target, default_pool},
};

/// Whose workers watch sockets: for those who do not want a default pool, or have several.
///
/// [`new`](Self::new) is a clone of the pool: keeps it alive. The sockets do not.
///
/// # Where it runs
///
/// A pool's sockets are handed round its workers: of two that are picked at random, each goes to the one
/// that watches fewer, and stays there. Names are looked up on the pool's
/// [blocking threads](crate::pool::Builder::blocking_threads), or, on a single worker, on those that
/// Compio has for it.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use landbridge::remote::{Net, TcpListener, TcpStream};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let pool = landbridge::CompioPool::builder().threads(1).build()?;
/// let net = Net::new(&pool);
/// let listener = TcpListener::bind_in(&net, "127.0.0.1:0").await?;
/// let mut client = TcpStream::connect_in(&net, listener.local_addr()?).await?;
/// let (mut server, _) = listener.accept().await?;
///
/// client.write_all(b"over the bridge").await?;
/// client.shutdown().await?;
/// let mut text = String::new();
/// server.read_to_string(&mut text).await?;
/// assert_eq!(text, "over the bridge");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Net {
    target: Target,
    /// Keeps it alive.
    _pool: Option<CompioPool>,
}

impl Net {
    /// Sockets watched by the workers of `pool`.
    #[must_use]
    pub fn new(pool: &CompioPool) -> Self {
        Self {
            target: Target::Pool(Arc::clone(pool.shared())),
            _pool: Some(pool.clone()),
        }
    }

    /// Sockets watched by that worker, or by that [attached](CompioHandle::attach) runtime, which is not
    /// kept alive.
    #[must_use]
    pub fn on(worker: &CompioHandle) -> Self {
        Self {
            target: worker.target(),
            _pool: None,
        }
    }

    pub(super) fn of_default() -> io::Result<Self> {
        let pool = default_pool().ok_or(NoDefaultPool)?;
        Ok(Self::new(pool))
    }

    /// Whose workers they are, if these take new sockets.
    pub(super) fn target(&self) -> io::Result<&Target> {
        open(&self.target)
    }
}

/// Whether these workers take new sockets.
pub(super) fn open(target: &Target) -> io::Result<&Target> {
    if target.is_closed() {
        return Err(JoinError::RuntimeGone.into());
    }
    Ok(target)
}
