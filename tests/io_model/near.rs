//! The peer of a Unix socket in the same thread: what it wants it takes at once, so that nothing
//! happens by itself and a lost wake is found out.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use super::model::Far;
use super::wire::Wire;

pub struct NearPeer {
    socket: UnixStream,
    taken: RefCell<Vec<u8>>,
    wanted: Cell<usize>,
}

impl NearPeer {
    /// Our end, which has little room so that writes have to wait, and the peer.
    pub fn pair() -> (UnixStream, Self) {
        let (ours, socket) = UnixStream::pair().unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&ours, 4096).unwrap();
        socket.set_nonblocking(true).unwrap();
        let peer = Self {
            socket,
            taken: RefCell::default(),
            wanted: Cell::new(0),
        };
        (ours, peer)
    }

    fn receive(&self) {
        let mut taken = self.taken.borrow_mut();
        while self.wanted.get() > 0 {
            let mut some = [0; 4096];
            let room = self.wanted.get().min(some.len());
            match (&self.socket).read(&mut some[..room]) {
                Ok(0) => return,
                Ok(count) => {
                    self.wanted.set(self.wanted.get() - count);
                    taken.extend_from_slice(&some[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Far for NearPeer {
    fn send(&self, bytes: &[u8]) -> usize {
        match (&self.socket).write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    fn end(&self) {
        self.socket.shutdown(std::net::Shutdown::Write).unwrap();
    }

    fn take(&self, count: usize) {
        self.wanted.set(self.wanted.get().saturating_add(count));
        self.receive();
    }

    /// A socket wakes its writer when half of it is empty, so all of it is emptied.
    fn make_room(&self, _: usize) {
        self.take(1 << 20);
    }

    fn taken_from(&self, from: usize) -> Vec<u8> {
        self.receive();
        self.taken.borrow()[from..].to_vec()
    }

    fn wire(&self) -> Option<&Wire> {
        None
    }
}
