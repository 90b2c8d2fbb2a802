//! Making way for the neighbours, on either runtime and on none.

mod rt_support;
mod support;

use std::{
    cell::Cell,
    future::poll_fn,
    io::Write,
    net::{TcpListener, TcpStream},
    pin::pin,
    rc::Rc,
    sync::mpsc,
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use futures::{
    executor::LocalPool,
    future::{Either, join, select},
    task::LocalSpawnExt,
};
use landbridge::{
    rt::{Flavor, LocalJoinHandle, YieldNow, spawn_local, yield_now},
    time::sleep,
};
use rt_support::everywhere;
use support::{CountingWaker, block_on, poll_once, watchdog};
use tokio::{io::AsyncReadExt, runtime::RuntimeFlavor};

const TURNS: usize = 1000;

/// Takes turns until it is told to end; how many it has had is in the cell.
async fn takes_turns(turns: Rc<Cell<usize>>, end: Rc<Cell<bool>>) {
    while !end.get() {
        turns.set(turns.get() + 1);
        yield_now().await;
    }
}

/// A task that never has to wait.
struct Busy {
    turns: Rc<Cell<usize>>,
    end: Rc<Cell<bool>>,
    task: LocalJoinHandle<()>,
}

impl Busy {
    fn new() -> Self {
        let (turns, end) = (Rc::<Cell<usize>>::default(), Rc::<Cell<bool>>::default());
        let task = spawn_local(takes_turns(turns.clone(), end.clone()));
        Self { turns, end, task }
    }

    async fn end(self) {
        self.end.set(true);
        self.task.await.unwrap();
    }
}

/// What it is for. Whichever of the two is the future that is blocked on.
#[test]
fn a_neighbour_has_a_turn_for_each_time_one_yields() {
    async fn yields_beside_a_neighbour() {
        let busy = Busy::new();
        for yielded in 1..=TURNS {
            yield_now().await;
            let turns = busy.turns.get();
            assert!(turns >= yielded, "{turns} turns after {yielded}");
        }
        busy.end().await;
    }

    everywhere(async || {
        yields_beside_a_neighbour().await;
        spawn_local(yields_beside_a_neighbour()).await.unwrap();
    });
}

/// The other arm of a `join!` is a neighbour as well.
#[test]
fn the_rest_of_the_task_has_a_turn_for_each_time_one_yields() {
    everywhere(async || {
        let (turns, end) = (Rc::<Cell<usize>>::default(), Rc::<Cell<bool>>::default());
        let yields = async {
            for yielded in 1..=TURNS {
                yield_now().await;
                assert!(turns.get() >= yielded);
            }
            end.set(true);
        };
        join(yields, takes_turns(turns.clone(), end.clone())).await;
    });
}

/// Reads a byte from a socket of whichever runtime polls.
async fn read_byte(socket: TcpStream) -> u8 {
    match Flavor::current().unwrap() {
        Flavor::Tokio => {
            socket.set_nonblocking(true).unwrap();
            let mut socket = tokio::net::TcpStream::from_std(socket).unwrap();
            socket.read_u8().await.unwrap()
        }
        Flavor::Compio => {
            use compio::io::AsyncReadExt;

            let mut socket = compio::net::TcpStream::from_std(socket).unwrap();
            let (read, buffer) = socket.read_exact([0]).await.into();
            read.unwrap();
            buffer[0]
        }
    }
}

/// A socket to which a byte is sent soon after it was asked for, by another thread.
fn socket() -> (TcpStream, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let (ask, asked) = mpsc::channel();
    drop(thread::spawn(move || {
        if asked.recv().is_ok() {
            far.write_all(b"x").unwrap();
        }
    }));
    (near, ask)
}

/// The runtime has to look at its driver though there is always something to run.
#[test]
fn a_task_that_loops_on_it_does_not_starve_a_socket() {
    everywhere(async || {
        // In a task beside one that waits, and in one that is waited in.
        let busy = Busy::new();
        let (near, ask) = socket();
        let read = async {
            while busy.turns.get() == 0 {
                yield_now().await;
            }
            ask.send(()).unwrap();
            read_byte(near).await
        };
        assert_eq!(read.await, b'x');
        busy.end().await;

        let (near, ask) = socket();
        let read = spawn_local(read_byte(near));
        yield_now().await;
        ask.send(()).unwrap();
        while !read.is_finished() {
            yield_now().await;
        }
        assert_eq!(read.await.unwrap(), b'x');
    });
}

/// What a task computes between two turns may be long: 61 turns of it, after which every runtime looks, are
/// too many for who waits for a socket.
#[test]
fn the_driver_is_looked_at_when_everybody_has_yielded() {
    everywhere(async || {
        let busy = Busy::new();
        while busy.turns.get() == 0 {
            yield_now().await;
        }
        let (near, ask) = socket();
        ask.send(()).unwrap();
        // It is there, but the runtime does not know until it looks.
        near.peek(&mut [0]).unwrap();
        let read = spawn_local({
            let turns = busy.turns.clone();
            async move {
                let before = turns.get();
                assert_eq!(read_byte(near).await, b'x');
                turns.get() - before
            }
        });
        let turns = read.await.unwrap();
        assert!(turns < 20 || !drives(), "{turns} turns");
        busy.end().await;
    });
}

/// Whether it is this thread that looks, and not one beside it.
fn drives() -> bool {
    let tokio = tokio::runtime::Handle::try_current();
    tokio.is_ok_and(|tokio| tokio.runtime_flavor() == RuntimeFlavor::CurrentThread)
        || Flavor::current() == Some(Flavor::Compio)
}

/// The same for the clock.
#[test]
fn a_task_that_loops_on_it_does_not_starve_a_timer() {
    everywhere(async || {
        let busy = Busy::new();
        sleep(Duration::from_millis(1)).await;
        busy.end().await;

        let timer = spawn_local(sleep(Duration::from_millis(1)));
        while !timer.is_finished() {
            yield_now().await;
        }
        timer.await.unwrap();
    });
}

/// It asks nothing of a runtime.
#[test]
fn it_lets_the_neighbours_run_on_any_executor() {
    let mut pool = LocalPool::new();
    let (turns, end) = (Rc::<Cell<usize>>::default(), Rc::<Cell<bool>>::default());
    let neighbour = takes_turns(turns.clone(), end.clone());
    pool.spawner().spawn_local(neighbour).unwrap();
    pool.run_until(async {
        assert_eq!(Flavor::current(), None);
        for _ in 0..TURNS {
            yield_now().await;
        }
    });
    assert!(turns.get() >= TURNS);
    end.set(true);
    pool.run();
}

/// There Tokio's own never returns: it waits for Tokio to come back to its loop.
#[test]
fn it_returns_in_an_executor_inside_of_either_runtime() {
    everywhere(async || {
        block_on(yield_now());
        spawn_local(async { block_on(yield_now()) }).await.unwrap();
    });
    let _watchdog = watchdog();
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let inside = tokio.spawn(async {
        block_on(yield_now());
        tokio::task::block_in_place(|| block_on(yield_now()));
        let handle = tokio::runtime::Handle::current();
        let blocking = tokio::task::spawn_blocking(move || handle.block_on(yield_now()));
        blocking.await.unwrap();
    });
    tokio.block_on(inside).unwrap();
}

/// One turn is one turn: it may stand in a loop's `select!`, and be kept.
#[test]
fn it_is_pending_once_and_wakes_once() {
    let counting = CountingWaker::new();
    let waker = Waker::from(counting.clone());
    let mut turn: YieldNow = yield_now();
    assert_eq!(counting.wakes(), 0);
    assert!(poll_once(&mut turn, &waker).is_pending());
    assert_eq!(counting.wakes(), 1);
    for _ in 0..2 {
        assert!(poll_once(&mut turn, &waker).is_ready());
    }
    assert_eq!(counting.wakes(), 1);
}

/// Given up between its polls, it leaves nothing behind that holds up the task or the runtime.
#[test]
fn one_that_is_dropped_after_any_poll_leaves_the_task_as_it_was() {
    everywhere(async || {
        for polls in 0..=2 {
            {
                let mut turn = yield_now();
                for n in 1..=polls {
                    assert_eq!(poll(&mut turn).await.is_ready(), n == 2);
                }
            }
            spawn_local(async {}).await.unwrap();
        }
        // Losing a race: the other has the turn that it asked for.
        let (sender, receiver) = futures::channel::oneshot::channel();
        let sends = spawn_local(async { sender.send(42).unwrap() });
        let Either::Left((received, _)) = select(receiver, pin!(two_turns())).await else {
            panic!("the neighbour was to run first");
        };
        assert_eq!(received, Ok(42));
        sends.await.unwrap();
    });
}

/// Polls once, with the task's own waker.
async fn poll(turn: &mut YieldNow) -> Poll<()> {
    poll_fn(|cx| Poll::Ready(poll_once(turn, cx.waker()))).await
}

async fn two_turns() {
    yield_now().await;
    yield_now().await;
}

/// As everything here that a library may keep in its types.
#[test]
fn one_that_moves_to_the_other_runtime_is_ready_there() {
    let _watchdog = watchdog();
    let mut turn = yield_now();
    let compio = compio::runtime::Runtime::new().unwrap();
    let once = compio.block_on(poll(&mut turn));
    assert!(once.is_pending());
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(async move { tokio::spawn(turn).await.unwrap() });
}
