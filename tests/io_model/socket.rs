//! The peer of a real socket: it sends at once, and a thread takes what it is to take.

use std::cell::Cell;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use compio::driver::DriverType;

use super::model::Far;
use super::wire::Wire;

/// What a socket holds in any case, so that sending never blocks.
const MOST_SENT: usize = 32 * 1024;

pub struct SocketPeer<S> {
    socket: S,
    sent: Cell<usize>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    taken: Vec<u8>,
    wanted: usize,
}

/// A socket of the standard library's.
pub trait Socket: Read + Write + Send + Sized + 'static {
    fn clone_of(&self) -> Self;
    fn end(&self);
}

macro_rules! sockets {
    ($($(#[$attribute:meta])* $socket:ty),*) => {$(
        $(#[$attribute])*
        impl Socket for $socket {
            fn clone_of(&self) -> Self {
                self.try_clone().unwrap()
            }

            fn end(&self) {
                self.shutdown(std::net::Shutdown::Write).unwrap();
            }
        }
    )*};
}

sockets!(
    std::net::TcpStream,
    #[cfg(unix)]
    std::os::unix::net::UnixStream
);

impl<S: Socket> SocketPeer<S> {
    pub fn new(socket: S) -> Self {
        let shared = Arc::<Shared>::default();
        let (theirs, reader) = (shared.clone(), socket.clone_of());
        Self {
            socket,
            sent: Cell::new(0),
            shared,
            thread: std::thread::spawn(move || take(reader, &theirs)),
        }
    }

    /// Waits for the end of what was sent to it.
    pub fn join(self) -> Vec<u8> {
        self.take(usize::MAX);
        self.thread.join().unwrap();
        std::mem::take(&mut self.shared.state.lock().unwrap().taken)
    }
}

fn take(mut socket: impl Read, shared: &Shared) {
    let mut room = [0; 4096];
    loop {
        let state = shared.state.lock().unwrap();
        let state = shared
            .news
            .wait_while(state, |state| state.wanted == 0)
            .unwrap();
        let wanted = state.wanted.min(room.len());
        drop(state);
        let count = socket.read(&mut room[..wanted]).unwrap();
        let mut state = shared.state.lock().unwrap();
        state.wanted -= count;
        state.taken.extend_from_slice(&room[..count]);
        if count == 0 {
            return;
        }
    }
}

impl<S: Socket> Far for SocketPeer<S> {
    fn send(&self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(MOST_SENT - self.sent.get());
        self.socket.clone_of().write_all(&bytes[..count]).unwrap();
        self.sent.set(self.sent.get() + count);
        count
    }

    fn end(&self) {
        self.socket.end();
    }

    fn take(&self, count: usize) {
        let mut state = self.shared.state.lock().unwrap();
        state.wanted = state.wanted.saturating_add(count);
        self.shared.news.notify_one();
    }

    /// A socket wakes its writer when half of it is empty, so all of it is emptied.
    fn make_room(&self, _: usize) {
        self.take(1 << 20);
    }

    fn taken_from(&self, from: usize) -> Vec<u8> {
        self.shared.state.lock().unwrap().taken[from..].to_vec()
    }

    fn wire(&self) -> Option<&Wire> {
        None
    }
}

/// Runs a case with sockets, on one of Compio's drivers and with Tokio's context.
///
/// # Panics
///
/// When nobody has been woken for a minute: what takes that long hangs.
pub fn on_driver(driver: DriverType, case: impl Future<Output = ()>) {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _context = tokio.enter();
    let Some(runtime) = crate::io_support::runtime_on(driver) else {
        return;
    };
    let case = compio::time::timeout(Duration::from_secs(60), case);
    runtime
        .block_on(case)
        .expect("somebody waits, and nobody will wake him");
}
