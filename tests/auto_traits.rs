//! Which types are `Send`, `Sync`, `Unpin`: a part of the interface that no signature shows, and that
//! one field can change.

use std::{cell::Cell, fmt::Debug, future::Ready, rc::Rc};

use futures::StreamExt;
use landbridge::{
    AbortHandle, CompioHandle, CompioPool, Driver, JoinHandle, Remote, TokioHandleExt, Wait,
    channel::{
        self, mpsc,
        spsc::{Permit, Receiver, Sender},
    },
    error::{
        AttachError, BuildError, HandoffError, HostError, JoinError, NotHandedOver, PanicPayload,
        SendError, TryRecvError, TrySendError,
    },
    hyper::{CompioTimer, LocalExecutor},
    io::{
        CompioAsTokio, CompioReadAsTokio, CompioWriteAsTokio, FileAsTokio, InFlight, Parts,
        ReuniteError, SocketAsTokio, SocketParts, SocketReadAsTokio, SocketWriteAsTokio,
        TokioAsCompio,
        buf::{AsBuf, AsBufMut, BufError, BufMutBuf},
    },
    pool::{
        Activity, Bucket, Builder, DriverKind, Histogram, OriginDump, Placement, PoolDump,
        PoolMetrics, Shutdown, WorkerDump, WorkerMetrics,
    },
    rt::{Flavor, LocalJoinHandle, YieldNow},
    spawn::{
        Broadcast, Call, CallMut, EnumerateJobs, Finish, Host, Run, RunBatch, RunBlocking,
        RunOnTokio, RunStream, RunStreamOnTokio,
    },
    time::{Elapsed, Interval, Sleep, Timeout},
};

/// `assert_traits!(Type: [Send, !Sync];)`: compiles only if it is so.
macro_rules! assert_traits {
    ($($type:ty: [$($list:tt)+];)+) => {
        $(assert_traits!(@list $type, $($list)+);)+
    };
    (@list $type:ty, ! $trait:ident $(, $($rest:tt)+)?) => {
        const _: () = {
            // Ambiguous, and so an error, for a type that has the trait.
            trait AmbiguousIfImplemented<A> {
                fn probe() {}
            }
            impl<T: ?Sized> AmbiguousIfImplemented<()> for T {}
            struct Implemented;
            impl<T: ?Sized + $trait> AmbiguousIfImplemented<Implemented> for T {}
            let _ = <$type as AmbiguousIfImplemented<_>>::probe;
        };
        $(assert_traits!(@list $type, $($rest)+);)?
    };
    (@list $type:ty, $trait:ident $(, $($rest:tt)+)?) => {
        const _: () = {
            const fn probe<T: ?Sized + $trait>() {}
            probe::<$type>();
        };
        $(assert_traits!(@list $type, $($rest)+);)?
    };
}

/// A closure and a future that are neither `Send` nor `Sync`, to see what lets them through.
type Stays = Rc<()>;
/// `Send`, not `Sync`.
type Moves = Cell<u8>;

/// Nothing to run: it compiles.
#[test]
fn handles_may_cross_threads_whatever_the_work_is() {
    assert_traits! {
        CompioPool: [Send, Sync, Unpin, Clone, Debug];
        CompioHandle: [Send, Sync, Unpin, Clone, Debug];
        AttachError: [Send, Sync, Unpin, Copy, Debug];
        Builder: [Send, Sync, Unpin, Debug, !Clone];
        Shutdown: [Send, Sync, Unpin, Debug];
        PoolMetrics: [Send, Sync, Unpin, Clone, Debug];
        WorkerMetrics: [Send, Sync, Unpin, Clone, Debug];
        Histogram: [Send, Sync, Unpin, Clone, Debug];
        Bucket: [Send, Sync, Unpin, Copy, Debug];
        PoolDump: [Send, Sync, Unpin, Clone, Debug];
        WorkerDump: [Send, Sync, Unpin, Clone, Debug];
        OriginDump: [Send, Sync, Unpin, Copy, Debug];
        Activity: [Send, Sync, Unpin, Copy, Debug];
        Driver: [Send, Sync, Unpin, Copy, Debug];
        DriverKind: [Send, Sync, Unpin, Copy, Debug];
        Placement: [Send, Sync, Unpin, Clone, Debug];
        Wait: [Send, Sync, Unpin, Copy, Debug];
        JoinError: [Send, Sync, Unpin, Debug, !Clone];
        BuildError: [Send, Sync, Unpin, Debug, !Clone];
        PanicPayload: [Send, Sync, Unpin, Debug, !Clone];
        LocalExecutor: [Send, Sync, Unpin, Copy, Debug];
        CompioTimer: [Send, Sync, Unpin, Copy, Debug];
    }
    // A sleep is Tokio's where Tokio polls it, which is not `Unpin`.
    assert_traits! {
        Elapsed: [Send, Sync, Unpin, Copy, Debug];
        Sleep: [Send, Sync, !Unpin, Debug, !Clone, Future];
        Timeout<Ready<u8>>: [Send, Sync, !Unpin, Debug, !Clone];
        Timeout<Ready<Stays>>: [!Send, !Sync, Debug];
        Interval: [Send, Sync, Unpin, Debug, !Clone];
    }
    #[cfg(feature = "metrics")]
    assert_traits! {
        landbridge::pool::MetricsReporter: [Send, Sync, Unpin, Debug, !Clone];
    }
    // The output crosses: it must be `Send`, and need be no more.
    assert_traits! {
        JoinHandle<u8>: [Send, Sync, Unpin, Debug, !Clone];
        JoinHandle<Moves>: [Send, Sync, Unpin, Debug];
        JoinHandle<Stays>: [!Send, !Sync, Unpin, Debug];
    }
    assert_traits! {
        LocalJoinHandle<u8>: [!Send, !Sync, Unpin, Debug, !Clone];
        LocalJoinHandle<Stays>: [!Send, !Sync, Unpin, Debug];
        YieldNow: [Send, Sync, Unpin, Debug, !Clone, Future];
        Flavor: [Send, Sync, Unpin, Copy, Debug, Eq];
    }
    // The closure and the output cross; the future in between stays, and does not count.
    assert_traits! {
        Run<fn() -> Ready<u8>, Ready<u8>>: [Send, Sync, Unpin, Debug, !Clone];
        Run<Moves, Ready<Moves>>: [Send, !Sync, Unpin, Debug];
        Run<Stays, Ready<u8>>: [!Send, !Sync, Unpin, Debug];
        Run<u8, std::pin::Pin<Box<dyn Future<Output = u8>>>>: [Send, Sync, Unpin, Debug];
        Run<u8, Ready<Stays>>: [!Send, !Sync, Unpin, Debug];
    }
    assert_traits! {
        RunBlocking<fn() -> u8, u8>: [Send, Sync, Unpin, Debug, !Clone];
        RunBlocking<Moves, Moves>: [Send, !Sync, Unpin, Debug];
        RunBlocking<Stays, u8>: [!Send, !Sync, Unpin, Debug];
        RunBlocking<u8, Stays>: [!Send, !Sync, Unpin, Debug];
        RunBlocking<u8, std::marker::PhantomPinned>: [Unpin];
    }
    // It has closures in it, of a type that it does not name.
    assert_traits! {
        RunBatch<Moves>: [Send, !Sync, Unpin, Debug, !Clone];
        RunBatch<Stays>: [!Send, !Sync, Unpin, Debug];
        EnumerateJobs<Moves>: [Send, !Sync, Unpin, Debug, !Clone];
    }
    // Polled in place it holds the future itself, pinned.
    assert_traits! {
        RunOnTokio<Ready<u8>>: [Send, Sync, Unpin, Debug, !Clone];
        RunOnTokio<std::future::Pending<Stays>>: [!Send, !Sync, Debug];
        RunOnTokio<Pinned>: [Send, Sync, !Unpin, Debug];
        RunOnTokio<Staying>: [!Send, !Sync, Debug];
    }
    // Shared between workers, it must be `Sync` to go there.
    assert_traits! {
        AbortHandle: [Send, Sync, Unpin, Clone, Debug];
        Broadcast<fn(), u8>: [Send, Sync, Unpin, Debug, !Clone];
        Broadcast<u8, Moves>: [Send, Unpin, Debug];
        Broadcast<Moves, u8>: [!Send, !Sync, Unpin, Debug];
        Broadcast<u8, Stays>: [!Send, !Sync, Unpin, Debug];
    }
}

/// The object stays where it is; only closures, outputs and errors cross.
#[test]
fn a_remote_may_cross_threads_whatever_its_object_is() {
    assert_traits! {
        Remote<Stays>: [Send, Sync, Unpin, Clone, Debug];
        Remote<std::marker::PhantomPinned>: [Send, Sync, Unpin, Clone, Debug];
        HostError<Moves>: [Send, !Sync, Unpin, Debug];
        HostError<std::io::Error>: [Send, Sync, Unpin, Debug];
        Host<Moves, Ready<Stays>, Stays, u8>: [Send, !Sync, Unpin, Debug, !Clone];
        Host<u8, Ready<Stays>, Stays, Moves>: [Send, Sync, Unpin, Debug];
        Host<Stays, Ready<u8>, u8, u8>: [!Send, !Sync, Unpin, Debug];
        Host<u8, Ready<u8>, u8, Stays>: [!Send, !Sync, Unpin, Debug];
        Call<Stays, Moves, Moves>: [Send, !Sync, Unpin, Debug, !Clone];
        Call<u8, Stays, u8>: [!Send, !Sync, Unpin, Debug];
        Call<u8, u8, Stays>: [!Send, !Sync, Unpin, Debug];
        CallMut<Stays, Moves, Moves>: [Send, !Sync, Unpin, Debug, !Clone];
        CallMut<u8, Stays, u8>: [!Send, !Sync, Unpin, Debug];
        CallMut<u8, u8, Stays>: [!Send, !Sync, Unpin, Debug];
        Finish<Stays, Moves, Moves>: [Send, !Sync, Unpin, Debug, !Clone];
        Finish<u8, Stays, u8>: [!Send, !Sync, Unpin, Debug];
        Finish<u8, u8, Stays>: [!Send, !Sync, Unpin, Debug];
    }
}

/// The stream stays on its worker, or went to Tokio; the items cross.
#[test]
fn the_items_of_a_stream_across_may_be_taken_on_any_thread() {
    use futures::stream::Iter;
    use std::iter::Once;

    type StaysOver<T> = futures::stream::Map<Iter<Once<Stays>>, fn(Stays) -> T>;
    assert_traits! {
        RunStream<fn(), StaysOver<u8>>: [Send, Sync, Unpin, Debug, !Clone];
        RunStream<Moves, StaysOver<Moves>>: [Send, !Sync, Unpin, Debug];
        RunStream<Stays, Iter<Once<u8>>>: [!Send, !Sync, Unpin, Debug];
        RunStream<u8, Iter<Once<Stays>>>: [!Send, !Sync, Unpin, Debug];
        RunStreamOnTokio<Iter<Once<u8>>>: [Send, Sync, Unpin, Debug, !Clone];
        RunStreamOnTokio<Iter<Once<Moves>>>: [Send, Unpin, Debug];
        RunStreamOnTokio<StaysOver<u8>>: [!Send, !Sync, Unpin, Debug];
    }
}

struct Pinned(std::marker::PhantomPinned);

impl Future for Pinned {
    type Output = u8;

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<u8> {
        _ = &self.0;
        std::task::Poll::Pending
    }
}

struct Staying(Stays);

impl Future for Staying {
    type Output = u8;

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<u8> {
        _ = &self.0;
        std::task::Poll::Pending
    }
}

/// A message is handed from thread to thread, never shared, so `Send` is what it needs.
#[test]
fn channel_handles_cross_threads_if_and_only_if_their_messages_are_send() {
    assert_traits! {
        Sender<u8>: [Send, Sync, Unpin, Debug, !Clone];
        Receiver<u8>: [Send, Sync, Unpin, Debug, !Clone];
        Permit<'static, u8>: [Send, Sync, Unpin, Debug, !Clone];
        Sender<Moves>: [Send, Sync, Unpin, Debug];
        Receiver<Moves>: [Send, Sync, Unpin, Debug];
        Sender<Stays>: [!Send, !Sync, Unpin, Debug];
        Receiver<Stays>: [!Send, !Sync, Unpin, Debug];
        Permit<'static, Stays>: [!Send, !Sync, Unpin, Debug];
        Sender<std::marker::PhantomPinned>: [Unpin];
        Receiver<std::marker::PhantomPinned>: [Unpin];
        mpsc::Sender<u8>: [Send, Sync, Unpin, Debug, Clone];
        mpsc::WeakSender<u8>: [Send, Sync, Unpin, Debug, Clone];
        mpsc::Receiver<u8>: [Send, Sync, Unpin, Debug, !Clone];
        mpsc::Permit<'static, u8>: [Send, Sync, Unpin, Debug, !Clone];
        mpsc::OwnedPermit<u8>: [Send, Sync, Unpin, Debug, !Clone];
        mpsc::SendSink<u8>: [Send, Sync, Unpin, Debug, !Clone];
        mpsc::SendSink<Stays>: [!Send, !Sync, Unpin, Debug];
        mpsc::Sender<Moves>: [Send, Sync, Unpin, Debug, Clone];
        mpsc::WeakSender<Moves>: [Send, Sync, Unpin, Debug, Clone];
        mpsc::Receiver<Moves>: [Send, Sync, Unpin, Debug];
        mpsc::Sender<Stays>: [!Send, !Sync, Unpin, Debug, Clone];
        mpsc::WeakSender<Stays>: [!Send, !Sync, Unpin, Debug, Clone];
        mpsc::Receiver<Stays>: [!Send, !Sync, Unpin, Debug];
        mpsc::Permit<'static, Stays>: [!Send, !Sync, Unpin, Debug];
        mpsc::OwnedPermit<Stays>: [!Send, !Sync, Unpin, Debug];
        mpsc::Sender<std::marker::PhantomPinned>: [Unpin];
        mpsc::Receiver<std::marker::PhantomPinned>: [Unpin];
        channel::unbounded::Sender<Moves>: [Send, Sync, Unpin, Debug, Clone];
        channel::unbounded::WeakSender<Moves>: [Send, Sync, Unpin, Debug, Clone];
        channel::unbounded::Receiver<Moves>: [Send, Sync, Unpin, Debug, !Clone];
        channel::unbounded::Sender<Stays>: [!Send, !Sync, Unpin, Debug, Clone];
        channel::unbounded::WeakSender<Stays>: [!Send, !Sync, Unpin, Debug, Clone];
        channel::unbounded::Receiver<Stays>: [!Send, !Sync, Unpin, Debug];
        channel::unbounded::Receiver<std::marker::PhantomPinned>: [Unpin];
        channel::weighted::Sender<Moves>: [Send, Sync, Unpin, Debug, Clone];
        channel::weighted::WeakSender<Moves>: [Send, Sync, Unpin, Debug, Clone];
        channel::weighted::Receiver<Moves>: [Send, Sync, Unpin, Debug, !Clone];
        channel::weighted::Permit<'static, Moves>: [Send, Sync, Unpin, Debug, !Clone];
        channel::weighted::Sender<Stays>: [!Send, !Sync, Unpin, Debug, Clone];
        channel::weighted::WeakSender<Stays>: [!Send, !Sync, Unpin, Debug, Clone];
        channel::weighted::Receiver<Stays>: [!Send, !Sync, Unpin, Debug];
        channel::weighted::Permit<'static, Stays>: [!Send, !Sync, Unpin, Debug];
        channel::pipe::Writer: [Send, Sync, Unpin, Debug, !Clone];
        channel::pipe::Reader: [Send, Sync, Unpin, Debug, !Clone];
        channel::mesh::Member<Moves>: [Send, Sync, Unpin, Debug, !Clone];
        channel::mesh::Sender<Moves>: [Send, Sync, Unpin, Debug, !Clone];
        channel::mesh::Receiver<Moves>: [Send, Sync, Unpin, Debug, !Clone];
        channel::mesh::Member<Stays>: [!Send, !Sync, Unpin, Debug];
        channel::mesh::Sender<Stays>: [!Send, !Sync, Unpin, Debug];
        channel::mesh::Receiver<Stays>: [!Send, !Sync, Unpin, Debug];
        channel::mesh::Member<std::marker::PhantomPinned>: [Unpin];
        channel::Builder: [Send, Sync, Unpin, Debug];
        channel::WeightBuilder: [Send, Sync, Unpin, Debug];
        SendError<Moves>: [Send, !Sync, Unpin, Debug];
        TrySendError<Moves>: [Send, !Sync, Unpin, Debug];
        TryRecvError: [Send, Sync, Unpin, Copy, Debug];
    }
}

/// Tokio spawns only futures that are `Send`.
#[test]
fn the_futures_of_a_channel_are_send_if_the_messages_are() {
    fn is_send<T: Send>(_: T) {}
    fn is_error<T: std::error::Error>(_: &T) {}
    let (mut tx, mut rx) = channel::spsc::<Moves>(1);
    is_send(tx.send(Moves::new(1)));
    is_send(tx.reserve());
    is_send(tx.closed());
    is_send(rx.recv());
    let (tx, mut rx) = channel::mpsc::<Moves>(1);
    is_send(tx.send(Moves::new(1)));
    is_send(tx.send_all([Moves::new(1)]));
    is_send(tx.reserve());
    is_send(tx.clone().reserve_owned());
    is_send(tx.closed());
    is_send(rx.recv());
    is_send(rx.recv_many(&mut Vec::new(), 1));
    is_error(&SendError(Stays::default()));

    let (tx, mut rx) = channel::unbounded::<Moves>();
    is_send(tx.closed());
    is_send(rx.recv());
    is_send(rx.recv_many(&mut Vec::new(), 1));

    let mut member = channel::mesh::<Moves>(2, 1).swap_remove(0);
    is_send(member.send(1, Moves::new(1)));
    is_send(member.recv());
    is_send(member.recv_many(&mut Vec::new(), 1));
    let (mut tx, mut rx) = member.split();
    is_send(tx.send(1, Moves::new(1)));
    is_send(tx.lane_mut(1).send_all([Moves::new(1)]));
    is_send(rx.recv());

    struct Weighs(Moves);
    impl channel::Weight for Weighs {
        fn weight(&self) -> usize {
            self.0.get().into()
        }
    }
    let (tx, mut rx) = channel::builder().bytes(1).mpsc::<Weighs>();
    is_send(tx.send(Weighs(Moves::new(1))));
    is_send(tx.send_all([Weighs(Moves::new(1))]));
    is_send(tx.reserve(1));
    is_send(tx.closed());
    is_send(rx.recv());
    is_send(rx.recv_many(&mut Vec::new(), 1));
}

/// A shim over a Compio stream stays on its thread also where Compio's feature `sync` lets the
/// stream itself go; one over a Tokio stream goes where its stream may.
#[test]
fn shims_go_where_their_streams_may() {
    type Stream = (&'static [u8], Vec<u8>);
    assert_traits! {
        CompioAsTokio<Stream>: [!Send, !Sync, Unpin, Debug, !Clone];
        CompioAsTokio<compio::net::TcpStream>: [!Send, !Sync, Unpin, Debug];
        CompioReadAsTokio<&'static [u8]>: [!Send, !Sync, Unpin, Debug];
        CompioWriteAsTokio<Vec<u8>>: [!Send, !Sync, Unpin, Debug];
        SocketAsTokio<compio::net::TcpStream>: [!Send, !Sync, Unpin, Debug, !Clone];
        SocketAsTokio<compio::net::UnixStream>: [!Send, !Sync, Unpin, Debug, !Clone];
        SocketReadAsTokio<compio::net::TcpStream>: [!Send, !Sync, Unpin, Debug, !Clone];
        SocketWriteAsTokio<compio::net::TcpStream>: [!Send, !Sync, Unpin, Debug, !Clone];
        ReuniteError<compio::net::TcpStream>: [!Send, !Sync, Unpin, Debug];
        SocketParts<std::net::TcpStream>: [Send, Sync, Unpin, Debug];
        InFlight<CompioAsTokio<Stream>>: [!Send, !Sync, Unpin, Debug];
        Parts<&'static [u8], Vec<u8>>: [Send, Sync, Unpin, Debug];
        TokioAsCompio<tokio::net::TcpStream>: [Send, Sync, Unpin, Debug];
        FileAsTokio: [!Send, !Sync, Unpin, Debug, !Clone];
        HandoffError<tokio::net::TcpStream>: [Send, Sync, Unpin, Debug, !Clone];
        HandoffError<Stays>: [!Send, !Sync, Unpin, Debug];
        NotHandedOver: [Send, Sync, Unpin, Debug, Clone, Copy];
        TokioAsCompio<Stays>: [!Send, !Sync, Unpin, Debug];
        BufError<Vec<u8>>: [Send, Sync, Unpin, Debug];
        AsBuf<Stays>: [!Send, !Sync, Unpin, Debug];
        AsBuf<Vec<u8>>: [Send, Sync, Unpin, Debug];
        AsBufMut<Vec<u8>>: [Send, Sync, Unpin, Debug];
        BufMutBuf<Vec<u8>>: [Send, Sync, Unpin, Debug];
    }
}

/// What `tokio::spawn`, a service's field and a `static` ask for.
#[test]
fn what_a_user_stores_and_spawns_is_send_and_static() {
    fn send<T: Send + 'static>(value: T) -> T {
        value
    }
    fn shared<T: Send + Sync + 'static>(value: T) -> T {
        value
    }
    fn error<T: std::error::Error + Send + Sync + 'static>() {}

    error::<JoinError>();
    error::<BuildError>();
    let pool = shared(CompioPool::builder().threads(1).build().unwrap());
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let runs = send((
        pool.run(async || {
            let stays = Rc::new(1);
            std::future::ready(()).await;
            *stays
        }),
        pool.spawn(async || {
            let stays = Rc::new(1);
            std::future::ready(()).await;
            *stays
        }),
        pool.spawn(async || ()).cancel(),
        pool.shutdown(),
        tokio.handle().run(async { 1 }),
        tokio.handle().spawn_across(async { 1 }),
    ));
    drop(runs);
    let open = async || Ok::<_, std::convert::Infallible>(Rc::new(1));
    let remote = shared(futures::executor::block_on(pool.host(open)).unwrap());
    drop(send((
        pool.host(open),
        remote.call(async |one| {
            let stays = Rc::clone(one);
            std::future::ready(()).await;
            *stays
        }),
        remote.call_mut(async |one| *std::mem::take(one)),
        remote.clone().finish(async |one| *one),
        pool.stream(|| futures::stream::once(std::future::ready(Rc::new(1))).map(|one| *one)),
        tokio.handle().run_stream(futures::stream::iter([1])),
        pool.broadcast(async |index| *Rc::new(index)),
    )));
}

/// `#[derive(Debug)]` on a user's struct needs it of every field; and it must neither hang nor say
/// nothing.
#[test]
fn everything_can_be_printed() {
    let pool = CompioPool::builder().threads(1).build().unwrap();
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let handle = pool.spawn(async || ());
    let open = async || Ok::<_, std::convert::Infallible>(Rc::new(1));
    let remote = futures::executor::block_on(pool.host(open)).unwrap();
    let texts = [
        format!("{remote:?}"),
        format!("{:?}", pool.host(open)),
        format!("{:?}", remote.call(async |_| ())),
        format!("{:?}", remote.call_mut(async |_| ())),
        format!("{:?}", remote.clone().finish(async |_| ())),
        format!("{:?}", pool.stream(futures::stream::empty::<()>)),
        format!("{:?}", pool.broadcast(async |_| ())),
        format!("{:?}", HostError::Open(1)),
        format!("{:?}", handle.abort_handle()),
        format!(
            "{:?}",
            tokio.handle().run_stream(futures::stream::empty::<()>())
        ),
        format!("{:?}", tokio.handle().spawn_across(async {})),
        format!("{pool:?}"),
        format!("{:?}", CompioPool::builder()),
        format!("{handle:?}"),
        format!("{:?}", pool.run(async || ())),
        format!("{:?}", pool.shutdown()),
        format!("{:?}", pool.metrics()),
        format!("{:?}", tokio.handle().run(async {})),
        format!("{:?}", JoinError::Cancelled),
        format!("{:?}", BuildError::NoThreads),
    ];
    for text in texts {
        assert!(text.len() > 3, "{text}");
    }
}

#[cfg(all(feature = "fs", unix))]
mod files {
    use landbridge::{
        error::{CloseError, Misaligned},
        fs::{
            AlignedBuf, DirBuilder, DirEntry, DirectAlignment, File, Fs, OpenOptions, ReadDir,
            ReadStream,
        },
    };

    use super::*;

    assert_traits! {
        AlignedBuf: [Send, Sync, Unpin, Debug, !Clone];
        CloseError: [Send, Sync, Unpin, Debug];
        DirBuilder: [Send, Sync, Unpin, Debug];
        DirEntry: [Send, Sync, Unpin, Debug];
        DirectAlignment: [Send, Sync, Unpin, Debug, Copy];
        File: [Send, Sync, Unpin, Debug, Clone];
        Fs: [Send, Sync, Unpin, Debug, Clone];
        Misaligned: [Send, Sync, Unpin, Debug];
        OpenOptions: [Send, Sync, Unpin, Debug, Clone];
        ReadDir: [Send, Unpin, Debug];
        ReadStream: [Send, Unpin, Debug];
    }

    /// Tokio moves tasks between threads.
    #[test]
    fn what_a_file_does_may_be_awaited_in_a_task_of_tokios() {
        fn is_send<T: Send>(_: &T) {}

        let pool = CompioPool::builder().threads(1).build().unwrap();
        let fs = Fs::new(&pool);
        is_send(&fs.read("x"));
        is_send(&fs.read_dir("x"));
        is_send(&fs.write_atomic("x", b""));
        is_send(&fs.read_ranges("x", &[]));
        let file = fs.from_std(std::fs::File::open("Cargo.toml").unwrap());
        is_send(&file.read_at(Vec::new(), 0));
        is_send(&file.write_all_at(Vec::new(), 0));
        is_send(&file.write_synced_at(Vec::new(), 0));
        is_send(&file.sync_all());
        is_send(&file.clone().close());
        is_send(&file.into_std());
    }
}

/// What stays is not in the wrapper; what is only put into a context is.
#[test]
fn a_wrapper_crosses_threads_whatever_it_is_around() {
    use landbridge::{
        context::{InTokio, OnThread},
        error::{OnThreadError, TokioGone},
    };

    assert_traits! {
        OnThread<Stays>: [Send, Sync, Unpin, Clone, Debug];
        OnThread<Moves>: [Send, Sync, Unpin, Clone, Debug];
        OnThread<std::marker::PhantomPinned>: [Send, Sync, Unpin, Debug];
        OnThread<Staying>: [Send, Sync, Unpin, Debug, Future, !Clone];
        OnThreadError: [Send, Sync, Unpin, Clone, Debug];
        InTokio<Stays>: [Unpin, Clone, Debug, !Send, !Sync];
        InTokio<Moves>: [Send, Unpin, Clone, Debug, !Sync];
        InTokio<u8>: [Send, Sync, Unpin, Clone, Debug];
        InTokio<std::marker::PhantomPinned>: [Send, Sync, Debug, !Unpin];
        TokioGone: [Send, Sync, Unpin, Clone, Debug];
    }
}

#[cfg(all(feature = "net", unix))]
mod sockets {
    use landbridge::{
        error::ReuniteError,
        remote::{
            ListenOptions, Net, OwnedReadHalf, OwnedWriteHalf, ReadHalf, TcpListener, TcpStream,
            UdpSocket, UnixListener, UnixStream, WriteHalf,
        },
    };

    use super::*;

    assert_traits! {
        Net: [Send, Sync, Unpin, Clone, Debug];
        ListenOptions: [Send, Sync, Unpin, Clone, Debug];
        TcpListener: [Send, Sync, Unpin, Debug, !Clone];
        TcpStream: [Send, Sync, Unpin, Debug, !Clone];
        UnixListener: [Send, Sync, Unpin, Debug, !Clone];
        UnixStream: [Send, Sync, Unpin, Debug, !Clone];
        UdpSocket: [Send, Sync, Unpin, Debug, !Clone];
        ReadHalf<'static, TcpStream>: [Send, Sync, Unpin, Debug];
        WriteHalf<'static, UnixStream>: [Send, Sync, Unpin, Debug];
        OwnedReadHalf<TcpStream>: [Send, Sync, Unpin, Debug, !Clone];
        OwnedWriteHalf<UnixStream>: [Send, Sync, Unpin, Debug, !Clone];
        ReuniteError<TcpStream>: [Send, Sync, Unpin, Debug];
    }

    /// Tokio moves tasks between threads.
    #[test]
    fn what_a_socket_does_may_be_awaited_in_a_task_of_tokios() {
        fn is_send<T: Send>(_: &T) {}

        let pool = CompioPool::builder().threads(1).build().unwrap();
        let net = Net::new(&pool);
        is_send(&TcpStream::connect_in(&net, ("localhost", 1)));
        is_send(&TcpListener::bind_in(&net, "localhost:0"));
        is_send(&UdpSocket::bind_in(&net, String::new()));
        is_send(&UnixStream::connect_in(&net, "x"));
        let (one, _other) = UnixStream::pair_in(&net).unwrap();
        is_send(&one.readable());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::from_std_in(&net, socket).unwrap();
        is_send(&socket.recv_from(&mut []));
        is_send(&socket.send_to(&[], "localhost:1"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::from_std_in(&net, listener).unwrap();
        is_send(&listener.accept());
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = TcpStream::from_std_in(&net, stream).unwrap();
        is_send(&stream.peek(&mut []));
    }
}
