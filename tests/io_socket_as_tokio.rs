//! What only a socket does: errors on the call that meets them, edges, runtimes, owners.
#![cfg(target_os = "linux")]

mod io_support;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use compio::driver::{DriverType, ToSharedFd};
use compio::net::{TcpStream, UnixStream};
use io_support::{Panics, on_each_driver, pattern, runtime_on, settle};
use landbridge::io::{CompioSocket, SocketAsTokio};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

fn tcp() -> (SocketAsTokio<TcpStream>, std::net::TcpStream) {
    let (ours, peer) = std_tcp();
    (SocketAsTokio::new(TcpStream::from_std(ours).unwrap()), peer)
}

fn std_tcp() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn unix() -> (SocketAsTokio<UnixStream>, std::os::unix::net::UnixStream) {
    let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
    (
        SocketAsTokio::new(UnixStream::from_std(ours).unwrap()),
        peer,
    )
}

/// Closes a connection so that the other side sees a reset, not an end.
fn reset(socket: std::net::TcpStream) {
    rustix::net::sockopt::set_socket_linger(&socket, Some(std::time::Duration::ZERO)).unwrap();
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn poll_read(stream: &mut (impl AsyncRead + Unpin), room: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut room = ReadBuf::new(room);
    Pin::new(stream)
        .poll_read(&mut Context::from_waker(Waker::noop()), &mut room)
        .map_ok(|()| room.filled().len())
}

/// Reads what has arrived, with large buffers: the bytes, and whether the end was among it. Waits for
/// nothing, so that what is not told of is a failure and not a hang.
async fn read_what_came(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, bool) {
    let (mut all, mut waits) = (Vec::new(), 0);
    let mut room = [0; 1024];
    while waits < 3 {
        match poll_read(stream, &mut room) {
            Poll::Ready(Ok(0)) => return (all, true),
            Poll::Ready(count) => all.extend_from_slice(&room[..count.unwrap()]),
            Poll::Pending => {
                waits += 1;
                settle().await;
            }
        }
    }
    (all, false)
}

/// Writes until the socket is full: how much it took.
async fn fill(stream: &mut (impl AsyncWrite + Unpin)) -> usize {
    let bytes = vec![7; 64 * 1024];
    let mut total = 0;
    let mut refused = 0;
    // One `Pending` may be the neighbours' turn.
    while refused < 3 {
        match poll_once(stream.write(&bytes)) {
            Poll::Ready(count) => {
                total += count.unwrap();
                refused = 0;
            }
            Poll::Pending => {
                refused += 1;
                settle().await;
            }
        }
    }
    total
}

/// What reads and writes say after a reset, until both have said the same twice.
async fn after_a_reset(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Vec<String> {
    let mut said = Vec::new();
    for _ in 0..2 {
        let read = stream.read(&mut [0; 8]).await;
        said.push(format!("read {:?}", read.map_err(|e| e.kind())));
    }
    for _ in 0..2 {
        let write = stream.write(b"x").await;
        said.push(format!("write {:?}", write.map_err(|e| e.kind())));
    }
    said.push(format!("flush {:?}", stream.flush().await.is_ok()));
    said.push(format!("shutdown {:?}", stream.shutdown().await.is_ok()));
    said
}

/// Retries, logs and metrics of programs written for Tokio's sockets look at where an error comes up.
#[test]
fn a_reset_is_told_where_a_socket_of_tokios_tells_it() {
    on_each_driver(|| async {
        let (theirs, peer) = std_tcp();
        theirs.set_nonblocking(true).unwrap();
        reset(peer);
        let theirs = after_a_reset(tokio::net::TcpStream::from_std(theirs).unwrap()).await;

        let (ours, peer) = tcp();
        reset(peer);
        assert_eq!(after_a_reset(ours).await, theirs);
        assert!(theirs[0].contains("ConnectionReset"), "{theirs:?}");
    });
}

/// A read that waits is the common one: a server learns of a lost client there.
#[test]
fn a_reset_wakes_the_read_that_waits() {
    on_each_driver(|| async {
        let (mut ours, peer) = tcp();
        assert!(poll_read(&mut ours, &mut [0; 8]).is_pending());
        settle().await;
        let read = async { ours.read(&mut [0; 8]).await.unwrap_err().kind() };
        let lose = async {
            settle().await;
            reset(peer);
        };
        assert_eq!(tokio::join!(read, lose).0, ErrorKind::ConnectionReset);
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

/// Told in a flush, or not at all, it would be counted for bytes that were never accepted.
#[test]
fn a_reset_is_told_by_the_write_that_waits_for_room() {
    on_each_driver(|| async {
        let (mut ours, peer) = tcp();
        fill(&mut ours).await;
        let write = async { ours.write(b"no room").await.unwrap_err().kind() };
        let lose = async {
            settle().await;
            reset(peer);
        };
        assert_eq!(tokio::join!(write, lose).0, ErrorKind::ConnectionReset);
    });
}

/// What was sent before the reset may be gone, but the error is not: a read must not see an end.
#[test]
fn bytes_and_then_a_reset_end_in_the_error() {
    on_each_driver(|| async {
        let (mut ours, mut peer) = tcp();
        assert!(poll_read(&mut ours, &mut [0; 8]).is_pending());
        settle().await;
        peer.write_all(b"last words").unwrap();
        let mut room = [0; 4];
        assert_eq!(ours.read(&mut room).await.unwrap(), 4);
        reset(peer);
        let mut rest = Vec::new();
        let error = ours.read_to_end(&mut rest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

/// Accepted bytes are the kernel's; memory of ours would grow with a peer that does not read.
#[test]
fn a_peer_that_stops_reading_holds_the_writer_up() {
    on_each_driver(|| async {
        let (mut ours, mut peer) = tcp();
        let data = pattern(1 << 20);
        let accepted = fill(&mut ours).await;
        assert!(accepted < 64 << 20, "{accepted} bytes accepted");
        let reading = compio::runtime::spawn_blocking(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all
        });
        ours.write_all(&data).await.unwrap();
        ours.shutdown().await.unwrap();
        let all = reading.await.unwrap();
        assert_eq!(all.len(), accepted + data.len());
        assert!(all[..accepted].iter().all(|byte| *byte == 7));
        assert!(all[accepted..] == data);
    });
}

/// The news of bytes and of the end come as one; a short read must not be taken for all of it.
#[test]
fn an_end_that_came_with_the_last_bytes_is_seen() {
    async fn check(mut ours: SocketAsTokio<impl CompioSocket>, peer: impl FnOnce()) {
        assert!(poll_read(&mut ours, &mut [0; 8]).is_pending());
        settle().await;
        peer();
        settle().await;
        let came = read_what_came(&mut ours).await;
        assert_eq!(came, (b"last words".to_vec(), true));
    }
    on_each_driver(|| async {
        let (ours, mut peer) = tcp();
        check(ours, move || peer.write_all(b"last words").unwrap()).await;
        let (ours, mut peer) = unix();
        check(ours, move || peer.write_all(b"last words").unwrap()).await;
    });
}

/// The kernel stops a read where a descriptor was sent along, and tells of what is behind no more.
#[test]
fn bytes_behind_a_descriptor_are_seen() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    on_each_driver(|| async {
        let (mut ours, mut peer) = unix();
        assert!(poll_read(&mut ours, &mut [0; 8]).is_pending());
        settle().await;
        peer.write_all(b"one ").unwrap();
        let descriptor = [peer.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        assert!(beside.push(SendAncillaryMessage::ScmRights(&descriptor)));
        let with = [io::IoSlice::new(b"two ")];
        sendmsg(&peer, &with, &mut beside, SendFlags::empty()).unwrap();
        peer.write_all(b"three").unwrap();
        settle().await;
        let came = read_what_came(&mut ours).await;
        assert_eq!(came, (b"one two three".to_vec(), false));
    });
}

/// How often `call` is ready in a row, by the waker of this task.
async fn ready_polls(mut call: impl AsyncFnMut()) -> usize {
    for polls in 0..1000 {
        let ready = poll_fn(|cx| Poll::Ready(pin!(call()).poll(cx).is_ready()));
        if !ready.await {
            return polls;
        }
    }
    1000
}

/// A peer that always has more must not have the thread to itself.
#[test]
fn a_stream_that_is_always_ready_lets_its_neighbours_run() {
    on_each_driver(|| async {
        let (mut ours, mut peer) = unix();
        peer.write_all(&[7; 1000]).unwrap();
        let reads = ready_polls(async || _ = ours.read(&mut [0; 1]).await).await;
        assert!(reads <= 128, "{reads}");
        let writes = ready_polls(async || _ = ours.write(b"x").await).await;
        assert!(writes <= 128, "{writes}");
        // Whoever made way is woken.
        ours.read_exact(&mut [0; 500]).await.unwrap();
        ours.write_all(&[7; 500]).await.unwrap();
    });
}

/// Nor must a loop that does not look at what it gets: an end is always ready, too.
#[test]
fn a_stream_that_has_ended_lets_its_neighbours_run() {
    on_each_driver(|| async {
        let (mut ours, peer) = unix();
        drop(peer);
        let reads = ready_polls(async || _ = ours.read(&mut [0; 1]).await).await;
        assert!(reads <= 128, "{reads}");
        assert_eq!(ours.read(&mut [0; 1]).await.unwrap(), 0);
    });
}

/// A waker may be an executor of its own. What it does to itself is not its neighbours' business.
#[test]
fn a_waker_that_panics_is_the_end_of_no_other_stream() {
    on_each_driver(|| async {
        let ((mut one, mut peer_of_one), (mut other, mut peer_of_other)) = (unix(), unix());
        let panics = Waker::from(Arc::new(Panics::default()));
        let mut room = [0; 8];
        let mut room = ReadBuf::new(&mut room);
        let mut cx = Context::from_waker(&panics);
        assert!(
            Pin::new(&mut one)
                .poll_read(&mut cx, &mut room)
                .is_pending()
        );
        let reading = compio::runtime::spawn(async move {
            let mut byte = [0];
            other.read_exact(&mut byte).await.map(|_| byte)
        });
        settle().await;
        peer_of_one.write_all(b"x").unwrap();
        settle().await;
        peer_of_other.write_all(b"y").unwrap();
        assert_eq!(&reading.await.unwrap().unwrap(), b"y");
        one.read_exact(&mut [0]).await.unwrap();
    });
}

thread_local! {
    /// What a waker of the next test does when it is cloned or dropped.
    static THEN: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Foreign code runs where a waker is cloned or dropped, and it may have the other half.
#[test]
fn a_waker_may_use_the_other_half_when_it_is_cloned_or_dropped() {
    fn then() {
        if let Some(then) = THEN.take() {
            then();
        }
    }
    fn clone(_: *const ()) -> RawWaker {
        then();
        RawWaker::new(std::ptr::null(), &TABLE)
    }
    fn nothing(_: *const ()) {}
    fn drop_it(_: *const ()) {
        then();
    }
    static TABLE: RawWakerVTable = RawWakerVTable::new(clone, nothing, nothing, drop_it);
    // SAFETY: there is nothing behind the pointer, and the functions use nothing.
    #[expect(unsafe_code, reason = "a waker that does something when it is cloned")]
    let odd = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &TABLE)) };

    on_each_driver(|| async {
        let (ours, _peer) = unix();
        let (mut reader, mut writer) = ours.into_split();
        fill(&mut writer).await;
        let writer = Rc::new(RefCell::new(writer));
        let calls = Rc::new(Cell::new(0));
        for waker in [&odd, Waker::noop()] {
            let (writer, calls) = (writer.clone(), calls.clone());
            THEN.set(Some(Box::new(move || {
                assert!(poll_once(writer.borrow_mut().write(b"x")).is_pending());
                calls.set(calls.get() + 1);
            })));
            let mut room = [0; 8];
            let mut room = ReadBuf::new(&mut room);
            let mut cx = Context::from_waker(waker);
            let read = Pin::new(&mut reader).poll_read(&mut cx, &mut room);
            assert!(read.is_pending());
        }
        assert_eq!(calls.get(), 2, "once cloned, once dropped");
    });
}

/// A writer that has nothing more to say may say that at any time.
#[test]
fn a_vectored_write_of_nothing_is_what_it_is_with_tokio() {
    fn write_nothing(stream: &mut (impl AsyncWrite + Unpin)) -> Vec<Poll<io::Result<usize>>> {
        let mut cx = Context::from_waker(Waker::noop());
        let nothing = [io::IoSlice::new(&[]), io::IoSlice::new(&[])];
        [&nothing[..0], &nothing]
            .map(|slices| Pin::new(&mut *stream).poll_write_vectored(&mut cx, slices))
            .into()
    }
    on_each_driver(|| async {
        let (ours, _peer) = std_tcp();
        let (theirs, _peer) = std_tcp();
        theirs.set_nonblocking(true).unwrap();
        let mut theirs = tokio::net::TcpStream::from_std(theirs).unwrap();
        let mut ours = SocketAsTokio::new(TcpStream::from_std(ours).unwrap());
        theirs.writable().await.unwrap();
        for _ in ["open", "shut down"] {
            for said in [write_nothing(&mut ours), write_nothing(&mut theirs)] {
                let all = said.iter().all(|said| matches!(said, Poll::Ready(Ok(0))));
                assert!(all, "{said:?}");
            }
            ours.shutdown().await.unwrap();
            theirs.shutdown().await.unwrap();
        }
    });
}

/// Whatever the caller does between polls, the bytes are those that were sent, in order.
#[test]
fn reads_dropped_after_any_poll_lose_nothing() {
    on_each_driver(|| async {
        let (mut ours, mut peer) = unix();
        let data = pattern(20_000);
        let (mut sent, mut got) = (0, Vec::new());
        let mut random = 1_u64;
        while got.len() < data.len() {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let [size, what, ..] = (random >> 32).to_le_bytes();
            let end = data.len().min(sent + usize::from(size));
            if what % 3 == 0 {
                peer.write_all(&data[sent..end]).unwrap();
                sent = end;
            }
            if what % 5 == 0 {
                settle().await;
            }
            let mut room = vec![0; 1 + usize::from(size)];
            if let Poll::Ready(count) = poll_read(&mut ours, &mut room) {
                got.extend_from_slice(&room[..count.unwrap()]);
            } else if sent == data.len() && got.len() < sent {
                let count = ours.read(&mut room).await.unwrap();
                got.extend_from_slice(&room[..count]);
            }
        }
        assert!(got == data);
    });
}

/// A program may look at a socket from anywhere; waiting for nobody would be for ever.
#[test]
fn waiting_outside_of_a_runtime_is_an_error() {
    for driver in [DriverType::Poll, DriverType::IoUring] {
        let Some(runtime) = runtime_on(driver) else {
            continue;
        };
        let ((mut ours, mut peer), (mut waiting, _other)) = runtime.block_on(async {
            let mut waiting = unix();
            assert!(poll_read(&mut waiting.0, &mut [0; 8]).is_pending());
            settle().await;
            (unix(), waiting)
        });
        let is_error = |poll: Poll<io::Result<usize>>| matches!(poll, Poll::Ready(Err(_)));
        assert!(is_error(poll_read(&mut ours, &mut [0; 8])));
        // What need not wait is done.
        assert!(poll_once(ours.write(b"hello")).is_ready());
        peer.write_all(b"hi").unwrap();
        assert!(matches!(
            poll_read(&mut ours, &mut [0; 8]),
            Poll::Ready(Ok(2))
        ));
        assert!(is_error(poll_read(&mut waiting, &mut [0; 8])));

        // Another one does not drive what waits, be the first alive or gone.
        let other = runtime_on(DriverType::Poll).unwrap();
        other.block_on(async {
            assert!(is_error(poll_read(&mut waiting, &mut [0; 8])));
        });
        drop(runtime);
        // Most likely with the very descriptor that the first one had.
        let next = runtime_on(driver).unwrap();
        next.block_on(async {
            assert!(is_error(poll_read(&mut waiting, &mut [0; 8])));
            drop(waiting.into_parts());
        });
    }
}

/// A socket that was filled and one that was waited on are let go of with their runtime.
#[test]
fn a_shim_may_outlive_its_runtime() {
    for driver in [DriverType::Poll, DriverType::IoUring] {
        let Some(runtime) = runtime_on(driver) else {
            continue;
        };
        let (ours, mut peer) = runtime.block_on(async {
            let (mut ours, peer) = unix();
            assert!(poll_read(&mut ours, &mut [0; 8]).is_pending());
            fill(&mut ours).await;
            (ours, peer)
        });
        drop(runtime);
        drop(ours);
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert!(!rest.is_empty());
    }
}

/// A hand-off must be the only owner; and what was not read goes with the socket.
#[test]
fn parts_are_the_socket_and_nothing_else_owns_it() {
    async fn check<S: CompioSocket + ToSharedFd<T>, T>(
        mut ours: SocketAsTokio<S>,
        mut peer: impl Write,
    ) where
        for<'a> &'a T: Read,
    {
        assert!(poll_read(&mut ours, &mut [0; 8]).is_pending());
        settle().await;
        peer.write_all(b"head, body").unwrap();
        let mut head = [0; 4];
        ours.read_exact(&mut head).await.unwrap();
        assert!(fill(&mut ours).await > 0);
        let parts = ours.into_parts();
        assert!(!parts.ended && !parts.shut_down);
        let socket = parts.stream.to_shared_fd();
        drop(parts.stream);
        let Ok(socket) = socket.try_unwrap() else {
            panic!("somebody else owns the socket too");
        };
        let mut body = [0; 6];
        (&socket).read_exact(&mut body).unwrap();
        assert_eq!(&body, b", body");
    }
    on_each_driver(|| async {
        let (ours, peer) = tcp();
        check(ours, peer).await;
        let (ours, peer) = unix();
        check(ours, peer).await;
    });
}

/// An upgrade to another protocol: the shim is not needed any more, the bytes are.
#[test]
fn parts_can_be_had_while_a_read_waits() {
    on_each_driver(|| async {
        let (mut ours, mut peer) = unix();
        assert!(poll_read(&mut ours, &mut [0; 8]).is_pending());
        ours.shutdown().await.unwrap();
        let parts = ours.into_parts();
        assert!(parts.shut_down);
        peer.write_all(b"late").unwrap();
        let mut stream = SocketAsTokio::new(parts.stream);
        let mut text = [0; 4];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"late");
    });
}

/// Code that comes from Tokio ends a stream by dropping its write half.
#[test]
fn a_dropped_write_half_sends_the_end_and_reading_goes_on() {
    on_each_driver(|| async {
        let (ours, mut peer) = tcp();
        let (mut reader, mut writer) = ours.into_split();
        writer.write_all(b"request").await.unwrap();
        drop(writer);
        let answering = compio::runtime::spawn_blocking(move || {
            let mut request = Vec::new();
            peer.read_to_end(&mut request).unwrap();
            peer.write_all(b"answer").unwrap();
            request
        });
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        assert_eq!(answering.await.unwrap(), b"request");
    });
}

/// A reunion that closes one direction, or mixes two sockets up, is worse than none.
#[test]
fn halves_come_together_again_if_they_are_of_one_socket() {
    on_each_driver(|| async {
        let ((one, mut peer), (other, _other_peer)) = (unix(), unix());
        let (reader, writer) = one.into_split();
        let (other_reader, other_writer) = other.into_split();
        let error = SocketAsTokio::reunite(reader, other_writer).unwrap_err();
        assert!(SocketAsTokio::reunite(other_reader, error.1).is_ok());
        let mut one = SocketAsTokio::reunite(error.0, writer).unwrap();
        one.write_all(b"still open").await.unwrap();
        let mut text = [0; 10];
        peer.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"still open");
    });
}

/// What one shim has heard of its socket, another over a clone of it has not: the writer would wait for news that
/// was told to the half it came from.
#[test]
fn halves_of_two_shims_over_one_socket_do_not_come_together() {
    on_each_driver(|| async {
        let (ours, mut peer) = std_tcp();
        let ours = TcpStream::from_std(ours).unwrap();
        let (reader, writer) = SocketAsTokio::new(ours.clone()).into_split();
        let (other_reader, other_writer) = SocketAsTokio::new(ours).into_split();
        let error = SocketAsTokio::reunite(reader, other_writer).unwrap_err();
        let mut one = SocketAsTokio::reunite(error.0, writer).unwrap();
        let mut other = SocketAsTokio::reunite(other_reader, error.1).unwrap();
        one.write_all(b"one ").await.unwrap();
        other.write_all(b"other").await.unwrap();
        let mut text = [0; 9];
        peer.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"one other");
    });
}

/// The halves are for two tasks; each must be woken for its own direction.
#[test]
fn halves_in_two_tasks_both_make_progress() {
    on_each_driver(|| async {
        let (ours, mut peer) = tcp();
        let (mut reader, mut writer) = ours.into_split();
        let data = pattern(4 << 20);
        let expected = data.clone();
        let echo = compio::runtime::spawn_blocking(move || {
            let mut room = vec![0; 100_000];
            loop {
                let count = peer.read(&mut room).unwrap();
                if count == 0 {
                    break;
                }
                peer.write_all(&room[..count]).unwrap();
            }
        });
        let writing = compio::runtime::spawn(async move {
            writer.write_all(&data).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut echoed = Vec::new();
        reader.read_to_end(&mut echoed).await.unwrap();
        writing.await.unwrap();
        echo.await.unwrap();
        assert!(echoed == expected);
    });
}

/// Compio's sockets are cloned freely, and both clones may end up behind Tokio's traits.
#[test]
fn two_shims_over_clones_of_one_socket_are_both_woken() {
    on_each_driver(|| async {
        let (ours, mut peer) = std_tcp();
        let ours = TcpStream::from_std(ours).unwrap();
        let mut one = SocketAsTokio::new(ours.clone());
        let mut other = SocketAsTokio::new(ours);
        for stream in [&mut one, &mut other] {
            assert!(poll_read(stream, &mut [0; 8]).is_pending());
        }
        let send = async {
            settle().await;
            peer.write_all(b"ab").unwrap();
        };
        let (mut a, mut b) = ([0], [0]);
        let (first, second, ()) =
            tokio::join!(one.read_exact(&mut a), other.read_exact(&mut b), send);
        first.unwrap();
        second.unwrap();
        drop(one);
        assert!(poll_read(&mut other, &mut [0; 8]).is_pending());
        peer.write_all(b"c").unwrap();
        other.read_exact(&mut a).await.unwrap();
        assert_eq!(&a, b"c");
    });
}

/// A server may be without any connection for a while, for shorter than one turn of its loop or longer.
#[test]
fn a_socket_after_the_last_one_is_watched_like_the_first() {
    on_each_driver(|| async {
        for turn in 0..6 {
            let (mut ours, mut peer) = unix();
            let read = async {
                let mut byte = [0];
                ours.read_exact(&mut byte).await.unwrap();
                byte
            };
            let send = async {
                settle().await;
                peer.write_all(&[turn]).unwrap();
            };
            assert_eq!(tokio::join!(read, send).0, [turn]);
            drop(ours);
            if turn % 2 == 0 {
                settle().await;
            }
        }
    });
}

/// What watches the sockets is a task of the worker's: it would keep the pool from ending.
#[test]
fn a_pool_shuts_down_once_its_sockets_are_gone() {
    let pool = landbridge::CompioPool::builder()
        .threads(1)
        .build()
        .unwrap();
    futures::executor::block_on(async {
        let job = pool.run(|| async {
            let (mut ours, peer) = unix();
            assert!(poll_read(&mut ours, &mut [0; 8]).is_pending());
            settle().await;
            drop(peer);
            ours.read(&mut [0; 8]).await.unwrap()
        });
        assert_eq!(job.await.unwrap(), 0);
        pool.shutdown().await;
    });
}

/// More events than are fetched at once: none of them may be left for a wake-up that never comes.
#[test]
fn a_burst_on_many_sockets_wakes_every_reader() {
    on_each_driver(|| async {
        let (mut reads, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..400 {
            let (mut ours, peer) = unix();
            assert!(poll_read(&mut ours, &mut [0; 8]).is_pending());
            peers.push(peer);
            reads.push(compio::runtime::spawn(async move {
                let mut byte = [0];
                ours.read_exact(&mut byte).await.unwrap();
                byte[0]
            }));
        }
        settle().await;
        for (peer, number) in peers.iter_mut().zip(0_u32..) {
            peer.write_all(&[number as u8]).unwrap();
        }
        for (read, number) in reads.into_iter().zip(0_u32..) {
            assert_eq!(read.await.unwrap(), number as u8);
        }
    });
}

/// Compio's sockets are counted references: a clone must see the same bytes as the shim.
#[test]
fn the_socket_itself_can_be_asked() {
    on_each_driver(|| async {
        let (mut ours, mut peer) = tcp();
        ours.get_ref().set_nodelay(true).unwrap();
        assert!(ours.get_ref().nodelay().unwrap());
        peer.write_all(b"x").unwrap();
        poll_fn(|cx| {
            let mut room = [0];
            let mut room = ReadBuf::new(&mut room);
            Pin::new(&mut ours).poll_read(cx, &mut room)
        })
        .await
        .unwrap();
    });
}
