//! UDP sockets that share an address. COPY: the file.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

/// What the kernel keeps for a worker that is busy. It may allow less.
const BUFFER: usize = 1 << 20;

/// `number` sockets. On Linux the kernel shares the datagrams out among them by a hash of both addresses, so that a
/// client's connections go to one socket as long as its address stays; on macOS one socket may get them all.
///
/// When one of them is closed the others get its share, and datagrams of connections that they do not know: close
/// all of them, or none.
pub(crate) fn shared(addr: SocketAddr, number: usize) -> io::Result<Vec<UdpSocket>> {
    let mut addr = addr;
    let mut sockets = Vec::with_capacity(number);
    for _ in 0..number {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        _ = socket.set_recv_buffer_size(BUFFER);
        _ = socket.set_send_buffer_size(BUFFER);
        socket.bind(&addr.into())?;
        let socket = UdpSocket::from(socket);
        // For port 0 the first one has chosen.
        addr = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}
