//! The data path: one connection. COPY: the file.

use std::{io, time::Duration};

use compio::{
    buf::BufResult,
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use landbridge::{handoff, time::timeout};
use socket2::SockRef;
use tokio::try_join;

use crate::{balance::Lease, health::blame, log::End, session::Session};

/// Bytes of a buffer; each direction has one.
const BUFFER: usize = 16 * 1024;

/// Serves a client to the end.
pub(crate) async fn serve(mut session: Session, client: tokio::net::TcpStream) {
    // From here on the socket is Compio's.
    let client = match handoff::tcp_to_compio(client) {
        Ok(client) => client,
        Err(error) => return session.ends(End::Failed(error.kind())),
    };
    let end = match relay(&mut session, &client).await {
        Ok(Some((there, back))) => End::Clean(there, back),
        Ok(None) => End::NoBackend,
        Err(error) => End::Failed(error.kind()),
    };
    // The socket first, then what is said of it.
    drop(client);
    session.ends(end);
}

/// The bytes to the backend and back, if there is one.
async fn relay(session: &mut Session, client: &TcpStream) -> io::Result<Option<(u64, u64)>> {
    prepare(SockRef::from(client))?;
    let Some((backend, lease)) = connect(session).await else {
        return Ok(None);
    };
    session.goes_to(lease);
    prepare(SockRef::from(&backend))?;
    // To the end of both directions: the end of one is passed on, and the other goes on.
    let copied = try_join!(copy(client, &backend), copy(&backend, client))?;
    finish(SockRef::from(client))?;
    finish(SockRef::from(&backend))?;
    Ok(Some(copied))
}

/// One direction to its end, which is passed on.
async fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<u64> {
    // Given away for each operation, and given back by it: one allocation for all of them.
    let (mut buffer, mut copied) = (Vec::with_capacity(BUFFER), 0);
    loop {
        let (read, written);
        BufResult(read, buffer) = from.read(buffer).await;
        match read? {
            0 => {
                to.shutdown().await?;
                return Ok(copied);
            }
            n => copied += n as u64,
        }
        BufResult(written, buffer) = to.write_all(buffer).await;
        written?;
        buffer.clear();
    }
}

/// Asks each backend once at most.
async fn connect(session: &Session) -> Option<(TcpStream, Lease)> {
    let settings = session.shared().settings();
    for _ in 0..settings.config.backends.get_ref().len() {
        let lease = settings.balance.next()?;
        match timeout(
            settings.config.connect,
            TcpStream::connect(lease.backend().addr()),
        )
        .await
        {
            Ok(Ok(stream)) => return Some((stream, lease)),
            // Nobody comes here any more until a check of its health finds it well.
            Ok(Err(error)) => blame(lease.backend(), &error),
            Err(late) => lease.backend().set_down(&late),
        }
    }
    None
}

/// From now on, closing it is a reset. What is cut off must not look like an end to the other side: so it is with
/// every way out of here, by an error, a cancellation or a crash, but for [`finish`].
fn prepare(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_linger(Some(Duration::ZERO))
}

/// Both directions have ended, and what is still in the socket shall arrive.
fn finish(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_linger(None)
}
