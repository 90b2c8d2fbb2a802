//! UDP sockets that share an address. COPY: the file.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

#[cfg(target_os = "linux")]
use socket2::SockFilter;
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
        #[cfg(target_os = "linux")]
        without_empty_datagrams(&socket)?;
        socket.bind(&addr.into())?;
        let socket = UdpSocket::from(socket);
        // For port 0 the first one has chosen.
        addr = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// compio-quic 0.8.2 panics over a datagram of no bytes, and from then on its endpoint does nothing: whoever can reach
/// the port can end the server. Here the kernel drops them. On other systems a firewall has to.
#[cfg(target_os = "linux")]
fn without_empty_datagrams(socket: &Socket) -> io::Result<()> {
    /// The size of the header, with which the filter counts.
    const HEADER: u32 = 8;
    const LOAD_LENGTH: u16 = 0x80; // BPF_LD | BPF_W | BPF_LEN
    const JUMP_IF_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    socket.attach_filter(&[
        SockFilter::new(LOAD_LENGTH, 0, 0, 0),
        SockFilter::new(JUMP_IF_GREATER, 0, 1, HEADER),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ])
}
