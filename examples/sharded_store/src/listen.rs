//! Sockets that listen to the same address. COPY: the file.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted, for each socket.
const BACKLOG: i32 = 1024;

/// `number` sockets. On Linux the kernel shares the connections out among them by a hash of their addresses; on
/// macOS one of them may get them all.
///
/// All of them listen when this returns: a wrong address is an error here, and not of a worker later on.
pub(crate) fn shared(addr: SocketAddr, number: usize) -> io::Result<Vec<TcpListener>> {
    let mut addr = addr;
    let mut listeners = Vec::with_capacity(number);
    for _ in 0..number {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        // A server that starts again shall not wait for its old connections' ends.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        // For port 0 the first one has chosen.
        addr = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}
