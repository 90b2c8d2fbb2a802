//! Writing to a peer that has sent all it has, and reads slowly. A poll tells of its end unasked, and each time anew.
#![cfg(all(unix, feature = "net"))]

mod support;

use std::{
    io::{Read, Write},
    net::{self, Shutdown},
    os::unix,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use landbridge::{
    CompioHandle,
    remote::{Net, TcpStream, UnixStream},
};
use support::{CountingWaker, assert_lives, block_on, for_each_driver, watchdog};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A writer that is polled only when it is woken.
struct Writer<S> {
    stream: S,
    counting: Arc<CountingWaker>,
    seen: usize,
    /// Woken, and there was no room.
    in_vain: usize,
    written: usize,
}

impl<S: AsyncWrite + Unpin> Writer<S> {
    fn new(stream: S) -> Self {
        let mut new = Self {
            stream,
            counting: CountingWaker::new(),
            seen: 0,
            in_vain: 0,
            written: 0,
        };
        new.fill();
        new
    }

    /// How much there was room for.
    fn fill(&mut self) -> usize {
        let waker = Waker::from(Arc::clone(&self.counting));
        let mut cx = Context::from_waker(&waker);
        let before = self.written;
        loop {
            match Pin::new(&mut self.stream).poll_write(&mut cx, &[7; 65_536]) {
                Poll::Ready(n) => self.written += n.unwrap(),
                Poll::Pending => return self.written - before,
            }
            assert!(self.written < 64 << 20, "there is no end to what is taken");
        }
    }

    fn look(&mut self) {
        let wakes = self.counting.wakes();
        if wakes > self.seen {
            self.seen = wakes;
            if self.fill() == 0 {
                self.in_vain += 1;
            }
        }
    }

    /// The rest, with a peer that reads it all.
    fn finish(
        self,
        mut far: impl Read + Send + 'static,
        drive: impl FnOnce(Pin<&mut dyn Future<Output = ()>>),
    ) {
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            all.len()
        });
        let mut stream = self.stream;
        drive(pin!(async {
            // More than fits at once: it waits more than once.
            stream.write_all(&vec![7; 8 << 20]).await.unwrap();
            stream.shutdown().await.unwrap();
        }));
        assert_eq!(reader.join().unwrap(), self.written + (8 << 20));
    }
}

const TURNS: usize = 300;

/// `turn`: the worker looks at what its driver has.
fn quiet<S: AsyncWrite + Unpin>(
    (stream, far): (S, impl Read + Send + 'static),
    turn: impl Fn(),
    drive: impl FnOnce(Pin<&mut dyn Future<Output = ()>>),
) {
    let mut writer = Writer::new(stream);
    for _ in 0..TURNS {
        turn();
        writer.look();
    }
    let in_vain = writer.in_vain;
    assert!(in_vain <= 3, "woken {in_vain} times in vain");
    writer.finish(far, drive);
}

fn tcp(net: &Net) -> (TcpStream, net::TcpStream) {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let far = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let near = TcpStream::from_std_in(net, listener.accept().unwrap().0).unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    (near, far)
}

fn of_unix(net: &Net) -> (UnixStream, unix::net::UnixStream) {
    let (near, far) = unix::net::UnixStream::pair().unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    (UnixStream::from_std_in(net, near).unwrap(), far)
}

/// A client that shuts down its side and then loads something big is nothing special; a worker that turns all the
/// time because of it serves nobody else.
#[test]
fn a_writer_whose_peer_has_ended_its_side_is_woken_only_when_there_is_room() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let turn = || assert_lives(&pool);
        quiet(tcp(&net), turn, |future| block_on(future));
        quiet(of_unix(&net), turn, |future| block_on(future));
    });
}

/// The same where a request must not go on in the ring.
#[test]
fn an_attached_runtime_wakes_such_a_writer_only_when_there_is_room() {
    let _watchdog = watchdog();
    let runtime = compio::runtime::Runtime::new().unwrap();
    let net = Net::on(&runtime.enter(CompioHandle::attach).unwrap());
    let turn = || {
        runtime.block_on(compio::time::sleep(Duration::from_micros(1)));
    };
    quiet(tcp(&net), turn, |future| runtime.block_on(future));
    quiet(of_unix(&net), turn, |future| runtime.block_on(future));
}

/// What ends the wait must not be taken for the end that is known.
#[test]
fn such_a_writer_is_told_when_the_peer_is_gone() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let (near, far) = tcp(&net);
        let mut writer = Writer::new(near);
        assert_lives(&pool);
        // With bytes that were not read: a reset.
        drop(far);
        block_on(async { while writer.stream.write(&[0; 65_536]).await.is_ok() {} });
        let (near, far) = of_unix(&net);
        let mut writer = Writer::new(near);
        assert_lives(&pool);
        drop(far);
        block_on(async { while writer.stream.write(&[0; 65_536]).await.is_ok() {} });
    });
}

/// Both directions have watches of their own.
#[test]
fn such_a_stream_reads_its_end_while_it_waits_to_write() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let (near, mut far) = unix::net::UnixStream::pair().unwrap();
        let near = UnixStream::from_std_in(&net, near).unwrap();
        let (mut reader, writer) = near.into_split();
        let writer = Writer::new(writer);
        far.write_all(b"last").unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        block_on(reader.read_to_string(&mut text)).unwrap();
        assert_eq!(text, "last");
        writer.finish(far, |future| block_on(future));
    });
}
