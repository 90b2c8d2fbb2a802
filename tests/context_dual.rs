//! `DualRuntime`: one thread, both reactors; whatever wakes, and whichever is busy, both go on.
#![cfg(all(feature = "net", unix))]

mod support;

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending},
    io::Write as _,
    os::unix::net::UnixStream as StdStream,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use compio::{io::AsyncReadExt as _, runtime::Runtime};
use landbridge::{
    CompioPool, Driver,
    context::{DualRuntime, OnThread},
    error::JoinError,
    rt,
};
use support::{Tally, block_on, drivers, watchdog, yield_now};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Handle,
    sync::oneshot,
};

const SHORT: Duration = Duration::from_millis(3);

/// Calls `test` once for each driver, each time with a runtime that has not run yet.
fn on_each(test: impl Fn(&DualRuntime)) {
    let _watchdog = watchdog();
    for driver in drivers() {
        test(&DualRuntime::builder().driver(driver).build().unwrap());
    }
}

type Task<T> = Pin<Box<dyn Future<Output = T>>>;
type Start<T> = fn(&DualRuntime, Task<T>) -> Task<T>;

/// The ways to have something run there, apart from Tokio's own tasks.
fn starts<T: 'static>() -> [Start<T>; 4] {
    [
        |_, root| root,
        |dual, task| {
            let task = dual.spawn_local(task);
            Box::pin(async { task.await.unwrap() })
        },
        |_, task| Box::pin(async { rt::spawn_local(task).await.unwrap() }),
        |_, task| Box::pin(async { compio::runtime::spawn(task).await.unwrap() }),
    ]
}

/// A task of Tokio's own that is polled in Compio's context like all here, and is not `Send`.
async fn on_tokio<T: Send + 'static>(task: impl Future<Output = T> + 'static) -> T {
    tokio::spawn(OnThread::new(task)).await.unwrap()
}

fn pair() -> (StdStream, StdStream) {
    StdStream::pair().unwrap()
}

fn compio_stream(stream: StdStream) -> compio::net::UnixStream {
    compio::net::UnixStream::from_std(stream).unwrap()
}

fn tokio_stream(stream: StdStream) -> tokio::net::UnixStream {
    stream.set_nonblocking(true).unwrap();
    tokio::net::UnixStream::from_std(stream).unwrap()
}

async fn compio_read(stream: StdStream) -> u8 {
    let mut stream = compio_stream(stream);
    let compio::BufResult(read, buffer) = stream.read_exact([0; 1]).await;
    read.unwrap();
    buffer[0]
}

/// Always ready, on whatever polls it, until it is dropped; counts its polls.
async fn busy(polls: Rc<Cell<usize>>) {
    loop {
        polls.set(polls.get() + 1);
        yield_now().await;
    }
}

/// Always ready, on Tokio, while the guard lives.
struct BusyTokio(Arc<AtomicBool>);

impl BusyTokio {
    fn start(dual: &DualRuntime) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        dual.tokio_handle().spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                yield_now().await;
            }
        });
        Self(stop)
    }
}

impl Drop for BusyTokio {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A hang of compio-compat's: what Tokio wakes first was not looked at before the thread slept.
#[test]
fn the_first_wake_may_come_from_tokio() {
    for nth in 0..starts::<()>().len() {
        on_each(|dual| {
            let (to, from) = oneshot::channel();
            dual.tokio_handle().spawn(async move {
                tokio::time::sleep(SHORT).await;
                to.send(()).unwrap();
            });
            let task = starts::<()>()[nth](dual, Box::pin(async { from.await.unwrap() }));
            dual.block_on(task);
        });
    }
}

/// The same, from a socket of Tokio's that the task itself waits for.
#[test]
fn a_socket_of_tokios_wakes_every_kind_of_task() {
    for nth in 0..starts::<()>().len() {
        on_each(|dual| {
            let (near, mut far) = pair();
            let task = starts::<()>()[nth](
                dual,
                Box::pin(async {
                    let mut near = tokio_stream(near);
                    assert_eq!(near.read_u8().await.unwrap(), 7);
                }),
            );
            let peer = thread::spawn(move || far.write_all(&[7]).unwrap());
            dual.block_on(task);
            peer.join().unwrap();
        });
    }
}

/// The other way round.
#[test]
fn a_socket_of_compios_wakes_every_kind_of_task() {
    for nth in 0..starts::<u8>().len() {
        on_each(|dual| {
            let (near, mut far) = pair();
            let task = starts::<u8>()[nth](dual, Box::pin(compio_read(near)));
            let peer = thread::spawn(move || far.write_all(&[7]).unwrap());
            assert_eq!(dual.block_on(task), 7);
            peer.join().unwrap();
        });
    }
}

/// A hang of compio-compat's: nobody gave to the kernel what a task of Tokio's had asked of Compio.
#[test]
fn a_compio_operation_may_be_started_in_a_task_of_tokios() {
    on_each(|dual| {
        dual.block_on(async {
            for byte in 0..5 {
                let (near, mut far) = pair();
                let (started, is_started) = oneshot::channel();
                let read = on_tokio(async {
                    started.send(()).unwrap();
                    compio_read(near).await
                });
                let peer = async {
                    is_started.await.unwrap();
                    thread::spawn(move || far.write_all(&[byte]).unwrap());
                };
                assert_eq!(futures::future::join(read, peer).await.0, byte);
            }
        });
    });
}

/// The same for what is not `Send`, in the set that Tokio has for it.
#[test]
fn a_compio_operation_may_be_started_in_a_local_set() {
    on_each(|dual| {
        let set = tokio::task::LocalSet::new();
        let (near, mut far) = pair();
        let read = set.spawn_local(compio_read(near));
        let peer = thread::spawn(move || far.write_all(&[9]).unwrap());
        assert_eq!(dual.block_on(set.run_until(read)).unwrap(), 9);
        peer.join().unwrap();
    });
}

/// The same for timers, of which the kernel is told by nobody but the thread that sleeps.
#[test]
fn a_compio_timer_may_be_started_anywhere() {
    on_each(|dual| {
        dual.block_on(async {
            on_tokio(async { compio::time::sleep(SHORT).await }).await;
            // Compio's here, by the rule of `landbridge::time`.
            tokio::spawn(async { landbridge::time::sleep(SHORT).await })
                .await
                .unwrap();
            compio::time::sleep(SHORT).await;
        });
        for start in starts::<()>() {
            let sleep = start(dual, Box::pin(async { compio::time::sleep(SHORT).await }));
            dual.block_on(sleep);
        }
    });
}

/// An earlier timer than the one that Tokio was told of; and later ones, when it was.
#[test]
fn compio_timers_go_off_in_their_order() {
    on_each(|dual| {
        let order = Rc::new(RefCell::new(Vec::new()));
        dual.block_on(async {
            let sleeps = [9, 3, 6, 1].map(|millis| {
                let order = Rc::clone(&order);
                rt::spawn_local(async move {
                    compio::time::sleep(Duration::from_millis(millis)).await;
                    order.borrow_mut().push(millis);
                })
            });
            for sleep in sleeps {
                sleep.await.unwrap();
            }
        });
        assert_eq!(*order.borrow(), [1, 3, 6, 9]);
    });
}

/// A thread that sleeps in Tokio's driver is woken by whoever wakes a task of Compio's.
#[test]
fn other_threads_wake_every_kind_of_task() {
    const ROUNDS: usize = 300;
    for nth in 0..starts::<()>().len() {
        on_each(|dual| {
            let (to, mut from) = tokio::sync::mpsc::unbounded_channel::<mpsc::Sender<()>>();
            let other = thread::spawn(move || {
                for _ in 0..ROUNDS {
                    let (answer, answered) = mpsc::channel();
                    to.send(answer).unwrap();
                    answered.recv().unwrap();
                }
            });
            let task = starts::<()>()[nth](
                dual,
                Box::pin(async move {
                    while let Some(answer) = from.recv().await {
                        answer.send(()).unwrap();
                    }
                }),
            );
            dual.block_on(task);
            other.join().unwrap();
        });
    }
}

/// What blocks is on other threads, and their last word is a wake-up.
#[test]
fn the_blocking_threads_of_both_wake_it() {
    on_each(|dual| {
        dual.block_on(async {
            for n in 0..50 {
                assert_eq!(tokio::task::spawn_blocking(move || n).await.unwrap(), n);
                let compio = compio::runtime::spawn_blocking(move || n);
                assert_eq!(compio.await.unwrap(), n);
                let inside = on_tokio(async move {
                    let compio = compio::runtime::spawn_blocking(move || n);
                    compio.await.unwrap()
                });
                assert_eq!(inside.await, n);
            }
        });
    });
}

/// A Tokio that never sleeps never asks Compio's side by itself.
#[test]
fn compio_goes_on_while_tokio_is_busy() {
    on_each(|dual| {
        let _busy = BusyTokio::start(dual);
        for start in starts::<u8>() {
            let (near, mut far) = pair();
            let read = start(dual, Box::pin(compio_read(near)));
            dual.tokio_handle().spawn(async move {
                yield_now().await;
                far.write_all(&[7]).unwrap();
            });
            assert_eq!(dual.block_on(read), 7);
        }
        for start in starts::<()>() {
            let sleep = start(dual, Box::pin(async { compio::time::sleep(SHORT).await }));
            dual.block_on(sleep);
        }
    });
}

/// Neither does anything tell of what Tokio's tasks ask of Compio, but a timer.
#[test]
fn what_tokios_tasks_start_on_compio_goes_on_while_tokio_is_busy() {
    on_each(|dual| {
        let _busy = BusyTokio::start(dual);
        dual.block_on(async {
            let (near, mut far) = pair();
            far.write_all(&[7]).unwrap();
            assert_eq!(on_tokio(compio_read(near)).await, 7);
            on_tokio(async { compio::time::sleep(SHORT).await }).await;
            for _ in 0..3 {
                let (to, from) = oneshot::channel();
                let waits = rt::spawn_local(async { from.await.unwrap() });
                tokio::spawn(async {
                    yield_now().await;
                    to.send(()).unwrap();
                });
                waits.await.unwrap();
            }
        });
    });
}

/// Other threads' wake-ups are not lost on a thread that does not sleep.
#[test]
fn other_threads_are_heard_while_tokio_is_busy() {
    on_each(|dual| {
        let _busy = BusyTokio::start(dual);
        let handle = dual.handle();
        let caller = thread::spawn(move || {
            for n in 0..20 {
                assert_eq!(block_on(handle.run(async move || n)).unwrap(), n);
            }
        });
        dual.block_on(async {
            while !caller.is_finished() {
                yield_now().await;
            }
        });
        caller.join().unwrap();
    });
}

/// Compio's tasks, or the runtime's own, may always have something to do.
#[test]
fn tokio_goes_on_while_compio_is_busy() {
    on_each(|dual| {
        dual.block_on(async {
            let polls = Rc::<Cell<usize>>::default();
            let ours = rt::spawn_local(busy(Rc::clone(&polls)));
            let compios = compio::runtime::spawn(busy(Rc::clone(&polls)));

            tokio::time::sleep(SHORT).await;
            let (near, mut far) = pair();
            let mut near = tokio_stream(near);
            far.write_all(&[7]).unwrap();
            assert_eq!(near.read_u8().await.unwrap(), 7);
            tokio::spawn(async { tokio::time::sleep(SHORT).await })
                .await
                .unwrap();
            assert_eq!(compio_read(pair_with(8)).await, 8);

            assert!(polls.get() > 0);
            ours.abort();
            drop(compios);
        });
    });
}

fn pair_with(byte: u8) -> StdStream {
    let (near, mut far) = pair();
    far.write_all(&[byte]).unwrap();
    near
}

/// It is by turns: how long Tokio waits for a busy Compio is a number of polls, not of milliseconds.
#[test]
fn a_busy_compio_keeps_tokio_waiting_for_a_few_turns_at_most() {
    const INTERVAL: usize = 16;
    let _watchdog = watchdog();
    for driver in drivers() {
        let dual = DualRuntime::builder()
            .driver(driver)
            .event_interval(INTERVAL)
            .build()
            .unwrap();
        dual.block_on(async {
            let polls = Rc::<Cell<usize>>::default();
            let ours = rt::spawn_local(busy(Rc::clone(&polls)));
            let (near, mut far) = pair();
            let mut near = tokio_stream(near);
            for byte in 0..50 {
                let written = Rc::<Cell<Option<usize>>>::default();
                let write = {
                    let (polls, written) = (Rc::clone(&polls), Rc::clone(&written));
                    async move {
                        yield_now().await;
                        far.write_all(&[byte]).unwrap();
                        written.set(Some(polls.get()));
                        far
                    }
                };
                let write = rt::spawn_local(write);
                assert_eq!(near.read_u8().await.unwrap(), byte);
                let waited = polls.get() - written.get().unwrap();
                assert!(waited <= 4 * INTERVAL, "{waited} polls");
                far = write.await.unwrap();
            }
            ours.abort();
        });
    }
}

/// A thread drives one runtime at a time, and says so instead of standing still.
#[test]
fn block_on_inside_of_a_runtime_is_an_error_that_gives_the_future_back() {
    let _watchdog = watchdog();
    let refuses = || {
        let inner = DualRuntime::new().unwrap();
        let refused = inner.try_block_on(async { 42 });
        let future = refused.unwrap_err().0;
        (inner, future)
    };
    let panics = || {
        let inner = DualRuntime::new().unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| inner.block_on(async {}))).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("drives a runtime already"), "{text}");
    };
    let outer = DualRuntime::new().unwrap();
    let (inner, future) = outer.block_on(async { refuses() });
    assert_eq!(inner.block_on(future), 42);
    outer.block_on(async {
        assert!(outer.try_block_on(async {}).is_err());
        panics();
        rt::spawn_local(async move { panics() }).await.unwrap();
        compio::runtime::spawn(async move { panics() })
            .await
            .unwrap();
        on_tokio(async move { panics() }).await;
    });
    Runtime::new().unwrap().block_on(async { panics() });
    for mut builder in [
        tokio::runtime::Builder::new_current_thread(),
        tokio::runtime::Builder::new_multi_thread(),
    ] {
        let tokio = builder.build().unwrap();
        tokio.block_on(async { tokio::spawn(async move { panics() }).await.unwrap() });
        tokio.block_on(async { panics() });
        tokio::task::LocalSet::new().block_on(&tokio, async { panics() });
        let (inner, future) = tokio.block_on(async { refuses() });
        assert_eq!(inner.block_on(future), 42);
    }
    let pool = CompioPool::builder().threads(1).build().unwrap();
    block_on(pool.run(move || async move { panics() })).unwrap();
}

/// A thread that Tokio has for what blocks is as good as any, though Tokio's context is set there.
#[test]
fn block_on_is_allowed_where_tokio_allows_to_block() {
    let _watchdog = watchdog();
    let drives = || {
        let dual = DualRuntime::new().unwrap();
        dual.block_on(async {
            compio::time::sleep(SHORT).await;
            tokio::spawn(async { 42 }).await.unwrap()
        })
    };
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(async {
        assert_eq!(tokio::task::spawn_blocking(drives).await.unwrap(), 42);
        let inside = tokio::spawn(async move { tokio::task::block_in_place(drives) });
        assert_eq!(inside.await.unwrap(), 42);
    });
    let _entered = tokio.enter();
    assert_eq!(drives(), 42);
}

/// The other way round: Tokio refuses, and a runtime of Compio's that is driven in passing does no harm.
#[test]
fn other_runtimes_inside_of_block_on_do_not_hang_it() {
    fn others() {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let refused = catch_unwind(AssertUnwindSafe(|| tokio.block_on(async {})));
        assert!(refused.is_err());
        tokio.shutdown_background();
        Runtime::new().unwrap().block_on(async {
            compio::time::sleep(SHORT).await;
            assert!(!compio::fs::read("Cargo.toml").await.unwrap().is_empty());
        });
    }
    on_each(|dual| {
        let (near, mut far) = pair();
        let read = dual.spawn_local(compio_read(near));
        for start in starts::<()>() {
            let task = start(dual, Box::pin(async { others() }));
            dual.block_on(task);
        }
        dual.block_on(on_tokio(async { others() }));
        far.write_all(&[7]).unwrap();
        assert_eq!(dual.block_on(read).unwrap(), 7);
    });
}

/// Where nothing may wait, the end does not either; and it is the end of the tasks all the same.
#[test]
fn a_dual_runtime_may_be_dropped_inside_of_a_runtime() {
    let _watchdog = watchdog();
    let drops = || {
        let tally = Tally::new();
        let inner = DualRuntime::new().unwrap();
        for counted in [tally.make(), tally.make()] {
            drop(inner.spawn_local(async move {
                let _kept = counted;
                pending::<()>().await;
            }));
        }
        drop(inner);
        assert_eq!(tally.dropped(), 2);
    };
    DualRuntime::new().unwrap().block_on(async { drops() });
    Runtime::new().unwrap().block_on(async { drops() });
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(async { drops() });
    tokio.block_on(async { tokio::spawn(async move { drops() }).await.unwrap() });
}

/// Whatever a waker of somebody else's does, Tokio's driver is not lost with it, nor the turn.
#[test]
fn a_waker_that_panics_gets_out_of_block_on_and_the_runtime_goes_on() {
    struct Bomb;

    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("in a waker that the driver calls");
        }
    }

    /// Reads with a waker that is not the task's.
    async fn set_off(near: StdStream, mut far: StdStream) {
        let mut near = compio_stream(near);
        let mut read = pin!(near.read_exact([0; 1]));
        let bomb = Waker::from(Arc::new(Bomb));
        let polled = read.as_mut().poll(&mut Context::from_waker(&bomb));
        assert!(polled.is_pending(), "{polled:?}");
        far.write_all(&[7]).unwrap();
        pending::<()>().await;
    }

    let _watchdog = watchdog();
    for (driver, is_busy) in drivers()
        .into_iter()
        .flat_map(|driver| [(driver, false), (driver, true)])
    {
        let dual = DualRuntime::builder().driver(driver).build().unwrap();
        let (near, mut far) = pair();
        let read = dual.spawn_local(compio_read(near));
        let busy = is_busy.then(|| BusyTokio::start(&dual));
        // After that, Compio's polling driver takes the next descriptor of the same number for the last.
        let bombs = if driver == Driver::Polling { 1 } else { 3 };
        for _ in 0..bombs {
            let (near, far) = pair();
            let panic = catch_unwind(AssertUnwindSafe(|| dual.block_on(set_off(near, far))));
            let payload = panic.unwrap_err();
            let text = payload.downcast_ref::<&str>().unwrap();
            assert_eq!(*text, "in a waker that the driver calls");
        }
        dual.block_on(async {
            tokio::spawn(async { tokio::time::sleep(SHORT).await })
                .await
                .unwrap();
            compio::time::sleep(SHORT).await;
        });
        far.write_all(&[7]).unwrap();
        assert_eq!(dual.block_on(read).unwrap(), 7);
        drop(busy);
    }
}

/// Compio takes all that are due out of its list before it wakes the first.
#[test]
fn the_tasks_timers_go_off_though_a_waker_panics() {
    struct Bomb;

    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("in a waker that a timer calls");
        }
    }

    on_each(|dual| {
        let at = std::time::Instant::now() + SHORT;
        let mut timer = Box::pin(compio::time::sleep_until(at));
        let bomb = dual.spawn_local(async move {
            let bomb = Waker::from(Arc::new(Bomb));
            assert!(
                timer
                    .as_mut()
                    .poll(&mut Context::from_waker(&bomb))
                    .is_pending()
            );
            pending::<()>().await
        });
        let tasks = [false, true].map(|ours| {
            dual.spawn_local(async move {
                if ours {
                    landbridge::time::sleep_until(at.into()).await;
                } else {
                    compio::time::sleep_until(at).await;
                }
            })
        });
        let panic = catch_unwind(AssertUnwindSafe(|| dual.block_on(pending::<()>())));
        assert!(panic.is_err());
        for task in tasks {
            dual.block_on(task).unwrap();
        }
        drop(bomb);
    });
}

/// Whoever polls a yield, and whichever side the neighbour is on.
#[test]
fn a_yield_in_a_task_of_tokios_lets_the_runtimes_own_tasks_run() {
    async fn neighbourly() -> usize {
        let turns = Rc::new(Cell::new(0));
        let seen = Rc::clone(&turns);
        let neighbour = rt::spawn_local(async move { seen.set(seen.get() + 1) });
        let mut yields = 0;
        while turns.get() == 0 {
            rt::yield_now().await;
            yields += 1;
        }
        neighbour.await.unwrap();
        yields
    }

    on_each(|dual| {
        assert_eq!(dual.block_on(neighbourly()), 1, "in the root");
        assert_eq!(dual.block_on(on_tokio(neighbourly())), 1, "in Tokio's");
        let in_a_set = async {
            let set = tokio::task::LocalSet::new();
            set.run_until(async { tokio::task::spawn_local(neighbourly()).await.unwrap() })
                .await
        };
        assert_eq!(dual.block_on(in_a_set), 1, "in a set");
    });
}

/// Two threads cannot be one.
#[test]
fn a_tokio_of_many_threads_is_refused() {
    let builder = DualRuntime::builder().tokio(|tokio| {
        *tokio = tokio::runtime::Builder::new_multi_thread();
        tokio.worker_threads(1).enable_all();
    });
    let refused = builder.build().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
}

/// A thread-local that is dropped after Tokio's own may be what holds it.
#[test]
fn who_waits_is_told_when_the_end_of_its_thread_drops_it() {
    thread_local! {
        static LAST: RefCell<Option<DualRuntime>> = const { RefCell::new(None) };
    }

    let _watchdog = watchdog();
    for driver in drivers() {
        let (to_us, handle) = mpsc::channel();
        let (go_on, has_begun) = mpsc::channel::<()>();
        let owner = thread::spawn(move || {
            // What is there first is dropped last.
            LAST.with(|last| assert!(last.borrow().is_none()));
            let dual = DualRuntime::builder().driver(driver).build().unwrap();
            to_us.send(dual.handle()).unwrap();
            dual.block_on(async {
                while has_begun.try_recv().is_err() {
                    rt::yield_now().await;
                }
            });
            LAST.with(|last| *last.borrow_mut() = Some(dual));
        });
        let handle = handle.recv().unwrap();
        let dropped = Arc::new(AtomicBool::new(false));
        let job = handle.spawn({
            let on_drop = OnDrop(Arc::clone(&dropped));
            move || async move {
                let _on_drop = on_drop;
                go_on.send(()).unwrap();
                pending::<()>().await
            }
        });
        assert!(matches!(block_on(job), Err(JoinError::RuntimeGone)));
        assert!(dropped.load(Ordering::Relaxed));
        owner.join().unwrap();
    }
}

/// Notes that it was dropped.
struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A signal that Tokio handles wakes every runtime of Tokio's in the process.
#[cfg(target_os = "linux")]
static SIGNALS: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// A signal ends a system call, not the wait.
#[cfg(target_os = "linux")]
#[test]
fn signals_interrupt_the_sleep_and_nothing_else() {
    #[expect(unsafe_code, reason = "nothing else sends a signal to one thread")]
    fn signal(thread: libc::pid_t) {
        let process = std::process::id();
        // SAFETY: no memory is involved, and the thread lives until this one is joined.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
        assert_eq!(sent, 0);
    }

    let _alone = SIGNALS.lock();
    on_each(|dual| {
        let sleeper = rustix::thread::gettid().as_raw_nonzero().get();
        let (near, mut far) = pair();
        let (tokios, mut tokios_far) = pair();
        let read = dual.block_on(async {
            // Somebody handles it, so that it does not end the process.
            let mut signals =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1())
                    .unwrap();
            let read = rt::spawn_local(compio_read(near));
            let sender = thread::spawn(move || {
                for _ in 0..200 {
                    signal(sleeper);
                    thread::yield_now();
                }
                far.write_all(&[7]).unwrap();
                for _ in 0..200 {
                    signal(sleeper);
                    thread::yield_now();
                }
                tokios_far.write_all(&[8]).unwrap();
            });
            let read = read.await.unwrap();
            assert_eq!(tokio_stream(tokios).read_u8().await.unwrap(), 8);
            signals.recv().await.unwrap();
            sender.join().unwrap();
            read
        });
        assert_eq!(read, 7);
    });
}

/// The tick that there is while Tokio is busy does not keep the thread up.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_runtime_sleeps() {
    /// How often this thread has gone to sleep.
    fn sleeps() -> u32 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }

    let _alone = SIGNALS.lock();
    on_each(|dual| {
        let (near, _far) = pair();
        let read = dual.spawn_local(compio_read(near));
        dual.block_on(async {
            compio::time::sleep(SHORT).await;
            let before = sleeps();
            // A tick of a millisecond would wake it 300 times.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let woken = sleeps() - before;
            assert!(woken < 60, "{woken} times");
        });
        drop(read);
    });
}

/// A flag of the ring's with which nobody would hear of what has completed.
#[cfg(target_os = "linux")]
#[test]
fn a_ring_that_defers_its_work_is_not_had() {
    let _watchdog = watchdog();
    for driver in drivers() {
        let dual = DualRuntime::builder()
            .driver(driver)
            .proactor(|proactor| {
                proactor.single_issuer(true).defer_taskrun(true);
            })
            .build()
            .unwrap();
        for _ in 0..20 {
            let (near, mut far) = pair();
            let read = dual.spawn_local(compio_read(near));
            let peer = thread::spawn(move || far.write_all(&[7]).unwrap());
            assert_eq!(dual.block_on(read).unwrap(), 7);
            peer.join().unwrap();
        }
    }
}

/// `block_on` is a way to wait, not the life of the tasks.
#[test]
fn tasks_go_on_at_the_next_call() {
    on_each(|dual| {
        let mut tasks = Vec::new();
        let mut ends = Vec::new();
        for start in starts::<u8>() {
            let (near, far) = pair();
            let (to, from) = oneshot::channel();
            let read = start(dual, Box::pin(compio_read(near)));
            let task = dual.spawn_local(async { to.send(read.await).unwrap() });
            tasks.push((task, from));
            ends.push(far);
        }
        dual.block_on(async { tokio::time::sleep(SHORT).await });
        for end in &mut ends {
            end.write_all(&[7]).unwrap();
        }
        for (task, from) in tasks {
            dual.block_on(task).unwrap();
            assert_eq!(dual.block_on(from).unwrap(), 7);
        }
    });
}

/// Drops what it is asked to in the contexts of both runtimes.
struct InBoth(Arc<AtomicUsize>);

impl Drop for InBoth {
    fn drop(&mut self) {
        let both = Runtime::try_with_current(|_| ()).is_ok() && Handle::try_current().is_ok();
        self.0.fetch_add(usize::from(both), Ordering::Relaxed);
    }
}

/// Destructors find what their tasks had, and nobody waits for a task that is no more.
#[test]
fn the_end_drops_every_task_once_in_both_contexts() {
    let _watchdog = watchdog();
    for driver in drivers() {
        let tally = Tally::new();
        let in_both = Arc::<AtomicUsize>::default();
        let dual = DualRuntime::builder().driver(driver).build().unwrap();
        let (near, _far) = pair();
        let waits = |near: &StdStream| {
            let counted = tally.make();
            let stream = near.try_clone().unwrap();
            let in_both = InBoth(Arc::clone(&in_both));
            async move {
                let _kept = (counted, in_both);
                compio_read(stream).await;
            }
        };
        let ours = dual.spawn_local(waits(&near));
        let other = dual.handle().spawn({
            let (counted, in_both) = (tally.make(), InBoth(Arc::clone(&in_both)));
            async move || {
                let _kept = (counted, in_both);
                pending::<()>().await;
            }
        });
        let tokios = dual.enter(|| {
            compio::runtime::spawn(waits(&near)).detach();
            tokio::spawn(OnThread::new(waits(&near)))
        });
        dual.block_on(async { tokio::time::sleep(SHORT).await });
        drop(dual);
        assert_eq!(tally.dropped(), 4);
        assert_eq!(in_both.load(Ordering::Relaxed), 4);
        assert!(matches!(block_on(ours), Err(JoinError::RuntimeGone)));
        assert!(matches!(block_on(other), Err(JoinError::RuntimeGone)));
        assert!(block_on(tokios).unwrap_err().is_cancelled());
    }
}

/// Work may come from anywhere; it is done on the thread that drives the runtime.
#[test]
fn its_handle_brings_work_from_other_threads() {
    on_each(|dual| {
        let here = thread::current().id();
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let handle = dual.handle();
                thread::spawn(move || {
                    for _ in 0..200 {
                        let there = handle.run(async || {
                            tokio::task::yield_now().await;
                            compio::fs::metadata(".").await.unwrap();
                            thread::current().id()
                        });
                        assert_eq!(block_on(there).unwrap(), here);
                    }
                })
            })
            .collect();
        dual.block_on(async {
            let done = tokio::task::spawn_blocking(move || {
                for caller in callers {
                    caller.join().unwrap();
                }
            });
            done.await.unwrap();
        });
    });
}

/// One future, both kinds of sockets, many times: what the runtime is for.
#[test]
fn bytes_go_through_sockets_of_both_in_one_task() {
    on_each(|dual| {
        dual.block_on(async {
            let (ours, theirs) = pair();
            let echo = rt::spawn_local(async move {
                let mut stream = tokio_stream(theirs);
                let mut buffer = [0; 4];
                while stream.read_exact(&mut buffer).await.is_ok() {
                    stream.write_all(&buffer).await.unwrap();
                }
            });
            let mut stream = compio_stream(ours);
            for n in 0..500_u32 {
                let bytes = n.to_be_bytes();
                compio::io::AsyncWriteExt::write_all(&mut stream, bytes)
                    .await
                    .0
                    .unwrap();
                let compio::BufResult(read, back) = stream.read_exact([0; 4]).await;
                read.unwrap();
                assert_eq!(back, bytes);
            }
            drop(stream);
            echo.await.unwrap();
        });
    });
}

/// A panic is its caller's; the runtime has nothing half done.
#[test]
fn a_panic_leaves_the_runtime_as_it_was() {
    on_each(|dual| {
        let (near, mut far) = pair();
        let read = dual.spawn_local(compio_read(near));
        let panic = catch_unwind(AssertUnwindSafe(|| {
            dual.block_on(async {
                tokio::time::sleep(SHORT).await;
                panic!("in passing");
            })
        }));
        assert!(panic.is_err());
        let inside = dual.block_on(async { rt::spawn_local(async { panic!("inside") }).await });
        assert!(matches!(inside, Err::<(), _>(JoinError::Panicked(_))));
        far.write_all(&[7]).unwrap();
        assert_eq!(dual.block_on(read).unwrap(), 7);
    });
}

/// The contexts are there for what is made before anything runs.
#[test]
fn enter_is_the_context_of_both() {
    on_each(|dual| {
        let (compios, tokios) = dual.enter(|| {
            let (near, far) = pair();
            (compio_stream(near), tokio_stream(far))
        });
        assert!(Handle::try_current().is_err() && Runtime::try_with_current(|_| ()).is_err());
        let (mut compios, mut tokios) = (compios, tokios);
        dual.block_on(async {
            tokios.write_u8(7).await.unwrap();
            let compio::BufResult(read, byte) = compios.read_exact([0; 1]).await;
            read.unwrap();
            assert_eq!(byte, [7]);
        });
    });
}

/// Who yields lets those go first that it has started, though Tokio does not come to sleep.
#[test]
fn the_future_of_block_on_yields_to_its_tasks() {
    on_each(|dual| {
        dual.block_on(async {
            for _ in 0..100 {
                let ran = Rc::<Cell<bool>>::default();
                let task = rt::spawn_local({
                    let ran = Rc::clone(&ran);
                    async move { ran.set(true) }
                });
                yield_now().await;
                assert!(ran.get());
                task.await.unwrap();
            }
        });
    });
}

/// What serves both has to hold where both are.
#[test]
fn a_test_for_both_sides_runs_on_a_dual_and_on_an_attached_runtime_too() {
    let _watchdog = watchdog();
    let (all, on_both) = (Cell::new(0), Cell::new(0));
    landbridge::test_util::both(async || {
        let compio = Runtime::try_with_current(|_| ()).is_ok();
        let tokio = Handle::try_current().is_ok();
        all.set(all.get() + 1);
        on_both.set(on_both.get() + usize::from(compio && tokio));
        landbridge::time::sleep(SHORT).await;
    });
    assert_eq!(on_both.get(), drivers().len());
    // Two of Tokio's; of Compio's, one as it is and one that is attached.
    assert_eq!(all.get(), 2 + 3 * drivers().len());
}
