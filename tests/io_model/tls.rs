//! The peer of a TLS stream, in a task of the same thread: it sends what it is told to,
//! and takes as much as it is told to.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use landbridge::rt::spawn_local;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::model::Far;
use super::wire::Wire;

pub struct TlsPeer(Rc<Shared>);

#[derive(Default)]
struct Shared {
    to_send: RefCell<Vec<u8>>,
    ended: Cell<bool>,
    taken: RefCell<Vec<u8>>,
    wanted: Cell<usize>,
    met_the_end: Cell<bool>,
    waits: Cell<Option<Waker>>,
    sender: Cell<Option<Waker>>,
    taker: Cell<Option<Waker>>,
}

impl TlsPeer {
    pub fn new(stream: impl AsyncRead + AsyncWrite + 'static) -> Self {
        let shared = Rc::<Shared>::default();
        let (reader, writer) = tokio::io::split(stream);
        let peer = shared.clone();
        // One task: TLS sends while it reads, so whoever is woken must look at both.
        drop(spawn_local(async move {
            tokio::join!(send(writer, &peer), take(reader, &peer))
        }));
        Self(shared)
    }

    /// Waits until so many bytes have been taken.
    pub async fn has_taken(&self, count: usize) {
        self.until(|| self.0.taken.borrow().len() >= count).await;
    }

    /// Waits until all has been taken, the end included.
    pub async fn has_met_the_end(&self) {
        self.until(|| self.0.met_the_end.get()).await;
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        poll_fn(|cx| {
            if is_so() {
                return Poll::Ready(());
            }
            self.0.waits.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

async fn send(mut stream: WriteHalf<impl AsyncWrite>, shared: &Shared) {
    loop {
        let bytes = poll_fn(|cx| {
            let bytes = shared.to_send.take();
            if !bytes.is_empty() || shared.ended.get() {
                return Poll::Ready(bytes);
            }
            shared.sender.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        if bytes.is_empty() {
            return stream.shutdown().await.unwrap();
        }
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
    }
}

async fn take(mut stream: ReadHalf<impl AsyncRead>, shared: &Shared) {
    loop {
        let wanted = poll_fn(|cx| {
            if shared.wanted.get() > 0 {
                return Poll::Ready(shared.wanted.get());
            }
            shared.taker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        let mut room = [0; 4096];
        let room = &mut room[..wanted.min(4096)];
        let count = stream.read(room).await.unwrap();
        if count == 0 {
            shared.met_the_end.set(true);
            return wake(&shared.waits);
        }
        shared.wanted.set(shared.wanted.get() - count);
        shared.taken.borrow_mut().extend_from_slice(&room[..count]);
        wake(&shared.waits);
    }
}

fn wake(waiter: &Cell<Option<Waker>>) {
    if let Some(waiter) = waiter.take() {
        waiter.wake();
    }
}

impl Far for TlsPeer {
    fn send(&self, bytes: &[u8]) -> usize {
        self.0.to_send.borrow_mut().extend_from_slice(bytes);
        wake(&self.0.sender);
        bytes.len()
    }

    fn end(&self) {
        self.0.ended.set(true);
        wake(&self.0.sender);
    }

    fn take(&self, count: usize) {
        self.0.wanted.set(self.0.wanted.get().saturating_add(count));
        wake(&self.0.taker);
    }

    /// TLS keeps some to itself, and its records come whole.
    fn make_room(&self, _: usize) {
        self.take(1 << 20);
    }

    fn taken_from(&self, from: usize) -> Vec<u8> {
        self.0.taken.borrow()[from..].to_vec()
    }

    fn wire(&self) -> Option<&Wire> {
        None
    }
}
