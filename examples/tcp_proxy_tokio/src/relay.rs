//! The data path: one connection. COPY: the file.

use std::{io, time::Duration};

use socket2::SockRef;
use tokio::{io::copy_bidirectional_with_sizes, net::TcpStream, time::timeout};

use crate::{balance::Lease, health::blame, log::End, session::Session};

/// Bytes of a buffer; each direction has one.
const BUFFER: usize = 16 * 1024;

/// Serves a client to the end.
pub(crate) async fn serve(mut session: Session, client: TcpStream) {
    let mut client = client;
    let end = match relay(&mut session, &mut client).await {
        Ok(Some((there, back))) => End::Clean(there, back),
        Ok(None) => End::NoBackend,
        Err(error) => End::Failed(error.kind()),
    };
    // The socket first, then what is said of it.
    drop(client);
    session.ends(end);
}

/// The bytes to the backend and back, if there is one.
async fn relay(session: &mut Session, client: &mut TcpStream) -> io::Result<Option<(u64, u64)>> {
    prepare(SockRef::from(&*client))?;
    let Some((mut backend, lease)) = connect(session).await else {
        return Ok(None);
    };
    session.goes_to(lease);
    prepare(SockRef::from(&backend))?;
    // To the end of both directions: the end of one is passed on, and the other goes on.
    let copied = copy_bidirectional_with_sizes(client, &mut backend, BUFFER, BUFFER).await?;
    finish(SockRef::from(&*client))?;
    finish(SockRef::from(&backend))?;
    Ok(Some(copied))
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
