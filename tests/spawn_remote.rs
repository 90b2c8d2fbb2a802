//! Objects that stay on a worker: made, called and dropped there, and nowhere else.

mod support;

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    error::Error,
    future::{Future, pending},
    io,
    panic::resume_unwind,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    thread::{self, ThreadId},
    time::Duration,
};

use futures::{channel::oneshot, future::join, stream::FuturesUnordered};
use landbridge::{
    CompioHandle, CompioPool, Remote,
    error::{HostError, JoinError},
    test_util::both,
};
use support::{
    Counted, CountingWaker, OnDrop, Tally, assert_lives, block_on, eventually, for_each_driver,
    hold, poll_once, poll_times,
};

/// Where objects were dropped.
type Graves = Arc<Mutex<Vec<ThreadId>>>;

/// An object that is neither `Send` nor `Sync` and says where it was dropped.
struct Object {
    value: Rc<Cell<u32>>,
    graves: Graves,
}

impl Drop for Object {
    fn drop(&mut self) {
        self.graves.lock().unwrap().push(thread::current().id());
    }
}

async fn host(pool: &CompioPool) -> (Remote<Object>, Graves) {
    let graves = Graves::default();
    let object = pool.host({
        let graves = graves.clone();
        async || {
            support::yield_now().await;
            let value = Rc::new(Cell::new(0));
            Ok::<_, Infallible>(Object { value, graves })
        }
    });
    (object.await.unwrap(), graves)
}

fn home(pool: &CompioPool) -> ThreadId {
    block_on(pool.run(async || thread::current().id())).unwrap()
}

fn buried(graves: &Graves) -> usize {
    graves.lock().unwrap().len()
}

/// The object was dropped once, where it lived.
#[track_caller]
fn assert_buried_once(graves: &Graves, home: ThreadId) {
    eventually("the object is dropped", || buried(graves) > 0);
    assert_eq!(*graves.lock().unwrap(), [home]);
}

/// What the whole thing is for: the object is used from every runtime and stays where it is.
#[test]
fn an_object_is_made_used_and_dropped_on_its_worker_only() {
    for_each_driver(|builder| {
        both(async || {
            let pool = builder().build().unwrap();
            let home = pool.run(async || thread::current().id()).await.unwrap();
            let (object, graves) = host(&pool).await;
            let other = object.clone();
            let (first, second) = join(
                object.call(async move |object| {
                    object.value.set(object.value.get() + 1);
                    support::yield_now().await;
                    thread::current().id()
                }),
                other.call_mut(async move |object| {
                    object.value = Rc::new(Cell::new(object.value.get() + 10));
                    thread::current().id()
                }),
            )
            .await;
            assert_eq!((first.unwrap(), second.unwrap()), (home, home));
            assert_eq!(object.call(async |o| o.value.get()).await.unwrap(), 11);
            assert_eq!(buried(&graves), 0);
            drop((object, other));
            support::eventually_async("it is dropped", || buried(&graves) > 0).await;
            assert_eq!(*graves.lock().unwrap(), [home]);
        });
    });
}

/// Compio's own types are what it is made for: an open file is `!Send` and is shared by all calls.
#[test]
fn calls_do_io_with_the_object() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let file =
            block_on(pool.host(async || compio::fs::File::open("Cargo.toml").await)).unwrap();
        let len = std::fs::metadata("Cargo.toml").unwrap().len();
        let lens =
            (0..8).map(|_| file.call(async |file| file.metadata().await.map(|data| data.len())));
        for read in block_on(futures::future::join_all(lens)) {
            assert_eq!(read.unwrap().unwrap(), len);
        }
        block_on(file.finish(async |file| file.close().await))
            .unwrap()
            .unwrap();
    });
}

/// Opening may fail, and the caller wants its own error back, not a wrapped string.
#[test]
fn an_error_of_opening_comes_back_as_it_is() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let failed =
            block_on(pool.host(async || Err::<Rc<()>, _>(io::Error::from_raw_os_error(2))));
        let error = failed.unwrap_err();
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.raw_os_error(), Some(2));
        assert_eq!(io::Error::from(error).raw_os_error(), Some(2));
        assert_lives(&pool);
    });
}

/// What can go wrong with the crossing is apart from what can go wrong with the opening.
#[test]
fn an_opening_that_panics_or_finds_no_pool_is_a_join_error() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let open = async || -> Result<Rc<()>, io::Error> { resume_unwind(Box::new("no object")) };
        let panicked = block_on(pool.host(open)).unwrap_err();
        let HostError::Join(JoinError::Panicked(panic)) = panicked else {
            panic!("{panicked:?}");
        };
        assert_eq!(panic.message().as_deref(), Some("no object"));
        assert_lives(&pool);

        block_on(pool.shutdown());
        let gone = block_on(pool.host(async || Ok::<_, io::Error>(Rc::new(())))).unwrap_err();
        assert!(matches!(gone, HostError::Join(JoinError::RuntimeGone)));
        assert_eq!(io::Error::from(gone).kind(), io::ErrorKind::BrokenPipe);
    });
}

/// Like `run`: a future that is made and never awaited does nothing.
#[test]
fn nothing_is_opened_or_called_before_the_first_poll() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let called = Arc::new(AtomicUsize::new(0));
        let counts = || {
            let called = called.clone();
            move || called.fetch_add(1, Ordering::SeqCst)
        };
        let count = counts();
        drop(pool.host(async move || Ok::<_, Infallible>(count())));
        let (object, _graves) = block_on(host(&pool));
        let count = counts();
        drop(object.call(async move |_| count()));
        let count = counts();
        drop(object.call_mut(async move |_| count()));
        let count = counts();
        drop(object.clone().finish(async move |_| count()));
        // Behind whatever they could have submitted.
        assert_eq!(block_on(object.call(async |o| o.value.get())).unwrap(), 0);
        assert_eq!(called.load(Ordering::SeqCst), 0);
        // All that were not submitted let go of the object.
        drop(object);
        assert_buried_once(&_graves, home(&pool));
    });
}

/// `call` is the shared form: one that waits for the kernel must not hold up the others.
#[test]
fn calls_run_beside_each_other() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (object, _graves) = block_on(host(&pool));
        let (go, may_go) = oneshot::channel();
        // The first can end only if the second runs meanwhile.
        let first = object.call(async move |o| {
            may_go.await.unwrap();
            o.value.get()
        });
        let second = object.call(async move |o| {
            o.value.set(7);
            go.send(()).unwrap();
        });
        let (first, second) = block_on(join(first, second));
        assert_eq!((first.unwrap(), second.unwrap()), (7, ()));
    });
}

/// `call_mut` is the exclusive form: what it does between two await points nobody else sees half done.
#[test]
fn an_exclusive_call_is_alone_with_the_object() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (object, _graves) = block_on(host(&pool));
        let calls = FuturesUnordered::<Pin<Box<dyn Future<Output = ()>>>>::new();
        for n in 0..60 {
            let object = object.clone();
            calls.push(Box::pin(async move {
                if n % 3 == 0 {
                    let seen = object.call(async |o| {
                        let before = o.value.get();
                        support::yield_now().await;
                        (before, o.value.get())
                    });
                    let (before, after) = seen.await.unwrap();
                    assert_eq!(before, after);
                    assert!(before.is_multiple_of(2));
                } else {
                    let change = object.call_mut(async |o| {
                        let before = o.value.get();
                        o.value.set(before + 1);
                        support::yield_now().await;
                        assert_eq!(o.value.get(), before + 1);
                        o.value.set(before + 2);
                    });
                    change.await.unwrap();
                }
            }));
        }
        block_on(futures::StreamExt::collect::<Vec<_>>(calls));
        assert_eq!(block_on(object.call(async |o| o.value.get())).unwrap(), 80);
    });
}

/// In order of arrival: exclusive calls neither overtake nor starve.
#[test]
fn calls_are_served_in_order_of_arrival() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let object = block_on(pool.host(async || Ok::<_, Infallible>(Rc::new(())))).unwrap();
        let (go, may_go) = oneshot::channel::<()>();
        let note = |text: &'static str| {
            let log = log.clone();
            move || log.lock().unwrap().push(text)
        };
        let (a, b, c, d) = (
            note("shared 1"),
            note("mut 1"),
            note("shared 2"),
            note("mut 2"),
        );
        let mut first = object.call(async move |_| {
            may_go.await.unwrap();
            a();
        });
        let mut second = object.call_mut(async move |_| {
            support::yield_now().await;
            b();
        });
        let mut third = object.call(async move |_| {
            support::yield_now().await;
            c();
        });
        let mut fourth = object.call_mut(async move |_| d());
        assert!(poll_once(&mut first, Waker::noop()).is_pending());
        assert!(poll_once(&mut second, Waker::noop()).is_pending());
        assert!(poll_once(&mut third, Waker::noop()).is_pending());
        assert!(poll_once(&mut fourth, Waker::noop()).is_pending());
        // They have all been begun: the worker runs jobs in order.
        assert_lives(&pool);
        assert!(log.lock().unwrap().is_empty());
        go.send(()).unwrap();
        block_on(fourth).unwrap();
        assert_eq!(
            *log.lock().unwrap(),
            ["shared 1", "mut 1", "shared 2", "mut 2"]
        );
    });
}

/// The documented other side of it: nothing is poisoned, the caller decides what a half change means.
#[test]
fn a_call_that_panics_leaves_the_object_as_it_was_then() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (object, graves) = block_on(host(&pool));
        let shared = object.call(async |o| {
            o.value.set(1);
            support::yield_now().await;
            resume_unwind(Box::new(()))
        });
        let shared: Result<(), _> = block_on(shared);
        assert!(matches!(shared, Err(JoinError::Panicked(_))));
        let exclusive = object.call_mut(async |o| {
            o.value.set(o.value.get() + 10);
            support::yield_now().await;
            resume_unwind(Box::new(()))
        });
        // One that is waiting behind it gets its turn.
        let next = object.call_mut(async |o| o.value.get());
        let (exclusive, next): (Result<(), _>, _) = block_on(join(exclusive, next));
        assert!(matches!(exclusive, Err(JoinError::Panicked(_))));
        assert_eq!(next.unwrap(), 11);
        assert_eq!(buried(&graves), 0);
    });
}

/// The closure itself may panic, too, before there is a future.
#[test]
fn a_closure_of_a_call_that_panics_is_caught() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (object, _graves) = block_on(host(&pool));
        fn none(_: &Object) -> std::future::Ready<()> {
            resume_unwind(Box::new(()))
        }
        assert!(matches!(
            block_on(object.call(none)),
            Err(JoinError::Panicked(_))
        ));
        assert!(block_on(object.call_mut(async |_| ())).is_ok());
    });
}

/// To close what must be closed by value, nobody else may have it.
#[test]
fn finish_waits_for_earlier_calls_and_ends_later_ones() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (object, graves) = block_on(host(&pool));
        let (go, may_go) = oneshot::channel::<()>();
        let mut earlier = object.call(async move |o| {
            may_go.await.unwrap();
            o.value.set(5);
        });
        assert!(poll_once(&mut earlier, Waker::noop()).is_pending());
        let mut finish = object.clone().finish(async |o: Object| {
            support::yield_now().await;
            o.value.get()
        });
        assert!(poll_once(&mut finish, Waker::noop()).is_pending());
        let later = object.call(async |o| o.value.get());
        let later_mut = object.call_mut(async |o| o.value.get());
        let mut later = Box::pin(join(later, later_mut));
        assert!(poll_once(&mut later, Waker::noop()).is_pending());
        assert_lives(&pool);
        go.send(()).unwrap();
        block_on(earlier).unwrap();
        assert_eq!(block_on(finish).unwrap(), 5);
        assert_buried_once(&graves, home(&pool));
        let (shared, exclusive) = block_on(later);
        assert!(matches!(shared, Err(JoinError::Finished)));
        assert!(matches!(exclusive, Err(JoinError::Finished)));
        let again = block_on(object.clone().finish(async |_| ()));
        assert!(matches!(again, Err(JoinError::Finished)));
        let late: io::Error = block_on(object.call(async |_| ())).unwrap_err().into();
        assert!(late.to_string().contains("finish"));
        // The last handle of a finished object has nothing left to drop.
        drop(object);
        assert_lives(&pool);
        assert_eq!(buried(&graves), 1);
    });
}

/// It is gone for good then: nobody may find an object that its taker has half taken apart.
#[test]
fn a_finish_that_panics_drops_the_object() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (object, graves) = block_on(host(&pool));
        let finish = object
            .clone()
            .finish(async |_object| resume_unwind(Box::new(())));
        let finish: Result<(), _> = block_on(finish);
        assert!(matches!(finish, Err(JoinError::Panicked(_))));
        assert_buried_once(&graves, home(&pool));
        let late = block_on(object.call(async |_| ()));
        assert!(matches!(late, Err(JoinError::Finished)));
    });
}

/// An object whose destructor panics must not take its worker with it.
#[test]
fn a_destructor_of_the_object_that_panics_is_caught() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let bomb = || {
            block_on(pool.host(async || {
                Ok::<_, Infallible>(OnDrop::new(|| resume_unwind(Box::new("in a destructor"))))
            }))
            .unwrap()
        };
        let panicked = || pool.metrics().workers[0].panicked;
        drop(bomb());
        eventually("it is dropped by the last handle", || panicked() == 1);
        let finished = block_on(bomb().finish(async |object| drop(object)));
        assert!(matches!(finished, Err(JoinError::Panicked(_))));
        assert_lives(&pool);
        // And at the end, with another one that must be dropped all the same.
        let tally = Tally::new();
        let counted = tally.make();
        let objects = (
            bomb(),
            block_on(pool.host(async || Ok::<_, Infallible>(counted))).unwrap(),
            bomb(),
        );
        block_on(pool.shutdown());
        assert_eq!(tally.alive(), 0);
        assert_eq!(pool.metrics().workers[0].leaked_runtimes, 0);
        drop(objects);
    });
}

/// A job of the same worker may call it: waiting does not hold the thread.
#[test]
fn calls_work_from_a_job_of_the_same_worker_also_at_the_bound() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let (object, graves) = block_on(host(&pool));
        let inner = object.clone();
        let sum = pool.run(async move || {
            inner.call_mut(async |o| o.value.set(4)).await?;
            let other = CompioHandle::current().unwrap();
            let nested = other
                .host(async || Ok::<_, Infallible>(Rc::new(3)))
                .await
                .unwrap();
            let nested = nested.call(async |n| **n).await?;
            inner.call(async move |o| o.value.get() + nested).await
        });
        assert_eq!(block_on(sum).unwrap().unwrap(), 7);
        assert_eq!(block_on(object.finish(async |o| o.value.get())).unwrap(), 4);
        assert_buried_once(&graves, home(&pool));
    });
}

/// One object's calls may use another object of the same worker, as a table does its log.
#[test]
fn a_call_may_wait_for_a_call_of_another_object() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (table, _first) = block_on(host(&pool));
        let (log, _second) = block_on(host(&pool));
        let inner = log.clone();
        let call = table.call_mut(async move |t| {
            t.value.set(1);
            inner.call_mut(async |l| l.value.set(2)).await
        });
        block_on(call).unwrap().unwrap();
        assert_eq!(block_on(log.call(async |l| l.value.get())).unwrap(), 2);
    });
}

/// Calls count against the bound; objects do not, or a few of them would stop the pool.
#[test]
fn calls_wait_for_their_place_in_a_bounded_pool_and_objects_take_none() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let (object, _graves) = block_on(host(&pool));
        assert_lives(&pool);
        let (go, may_go) = oneshot::channel::<()>();
        let busy = pool.try_spawn(async move || may_go.await).unwrap();
        let waker = CountingWaker::new();
        let mut call = object.call(async |o| o.value.get());
        assert!(poll_once(&mut call, &Waker::from(waker.clone())).is_pending());
        assert_eq!(pool.metrics().waiting, 1);
        go.send(()).unwrap();
        block_on(busy).unwrap().unwrap();
        waker.wait_for(1);
        assert_eq!(block_on(call).unwrap(), 0);
    });
}

/// At the bound too: memory that nobody can reach any more must not wait for a place.
#[test]
fn the_last_handle_drops_the_object_also_when_the_pool_is_full() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let worker = home(&pool);
        let (object, graves) = block_on(host(&pool));
        let busy = pool.try_spawn(async || pending::<()>().await).unwrap();
        drop(object);
        assert_buried_once(&graves, worker);
        _ = block_on(busy.cancel());
        // And it has not given back a place that it never had.
        let busy = pool.try_spawn(async || pending::<()>().await).unwrap();
        assert!(pool.try_spawn(async || ()).unwrap_err().is_full());
        drop(busy);
    });
}

/// A handle alone does not keep a pool going, and says so when it is used.
#[test]
fn the_last_pool_dropped_ends_the_object_and_every_call() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let worker = home(&pool);
        let (object, graves) = block_on(host(&pool));
        let entered = Arc::new(AtomicUsize::new(0));
        let seen = entered.clone();
        let mut running = object.call_mut(async move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
            pending::<()>().await;
        });
        assert!(poll_once(&mut running, Waker::noop()).is_pending());
        let mut waiting = object.call(async |_| ());
        assert!(poll_once(&mut waiting, Waker::noop()).is_pending());
        eventually("it runs", || entered.load(Ordering::SeqCst) == 1);
        drop(pool);
        assert!(matches!(block_on(running), Err(JoinError::RuntimeGone)));
        assert!(matches!(block_on(waiting), Err(JoinError::RuntimeGone)));
        assert_buried_once(&graves, worker);
        let late = block_on(object.call(async |_| ()));
        assert!(matches!(late, Err(JoinError::RuntimeGone)));
        assert!(object.worker().is_closed());
        drop(object);
        assert_eq!(buried(&graves), 1);
    });
}

/// A drain finishes calls and does not wait for handles, which may be kept for ever.
#[test]
fn a_shutdown_finishes_calls_and_then_drops_the_object() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let worker = home(&pool);
        let (object, graves) = block_on(host(&pool));
        let (go, may_go) = oneshot::channel::<()>();
        let mut call = object.call(async move |o| {
            may_go.await.unwrap();
            compio::time::sleep(Duration::from_millis(1)).await;
            o.value.set(9);
            o.value.get()
        });
        assert!(poll_once(&mut call, Waker::noop()).is_pending());
        assert_lives(&pool);
        let mut shutdown = pool.shutdown();
        assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
        go.send(()).unwrap();
        block_on(shutdown);
        assert_eq!(block_on(call).unwrap(), 9);
        assert_eq!(*graves.lock().unwrap(), [worker]);
    });
}

/// What is cut off is the call; the object is dropped with its worker as ever.
#[test]
fn a_shutdown_with_a_timeout_cancels_calls() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let worker = home(&pool);
        let (object, graves) = block_on(host(&pool));
        let mut call = object.call(async |_| pending::<()>().await);
        assert!(poll_once(&mut call, Waker::noop()).is_pending());
        assert_lives(&pool);
        assert_eq!(block_on(pool.shutdown_timeout(Duration::ZERO)), 1);
        assert!(matches!(block_on(call), Err(JoinError::Cancelled)));
        assert_eq!(*graves.lock().unwrap(), [worker]);
    });
}

/// Destructors of Compio's things need its runtime: a socket that is closed, an operation cancelled.
#[test]
fn at_the_workers_end_the_object_is_dropped_inside_the_runtime() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let there = Arc::new(AtomicUsize::new(0));
        let seen = there.clone();
        let object = block_on(pool.host(async || {
            Ok::<_, Infallible>(OnDrop::new(move || {
                let runtime = compio::runtime::Runtime::try_with_current(|_| ()).is_ok();
                let worker = CompioHandle::current().is_ok();
                seen.fetch_add(1 + usize::from(runtime && worker), Ordering::SeqCst);
            }))
        }));
        drop(pool);
        eventually("it is dropped", || there.load(Ordering::SeqCst) > 0);
        assert_eq!(there.load(Ordering::SeqCst), 2);
        drop(object);
    });
}

/// A destructor may do what it likes: hold handles of its own, start work, drop other objects' handles.
#[test]
fn an_object_that_owns_handles_and_starts_work_when_dropped_ends_with_its_worker() {
    struct Knot {
        other: RefCell<Option<Remote<Self>>>,
        pool: landbridge::pool::WeakPool,
        _counted: Counted,
    }
    impl Drop for Knot {
        fn drop(&mut self) {
            if let Some(pool) = self.pool.upgrade() {
                drop(pool.spawn(async || ()));
            }
            drop(CompioHandle::current().unwrap().spawn(async || ()));
            self.other.take();
        }
    }
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tally = Tally::new();
        let tie = || {
            let (pool, weak, counted) = (pool.clone(), pool.downgrade(), tally.make());
            block_on(pool.host(async || {
                Ok::<_, Infallible>(Knot {
                    other: RefCell::default(),
                    pool: weak,
                    _counted: counted,
                })
            }))
            .unwrap()
        };
        let knots = [tie(), tie(), tie()];
        // Two that own each other, one that owns itself.
        for (from, to) in [(0, 1), (1, 0), (2, 2)] {
            let to = knots[to].clone();
            let call = knots[from].call(async move |knot| drop(knot.other.replace(Some(to))));
            block_on(call).unwrap();
        }
        drop(knots);
        assert_lives(&pool);
        assert_eq!(tally.alive(), 3);
        block_on(pool.shutdown());
        assert_eq!(tally.alive(), 0);
        let worker = &pool.metrics().workers[0];
        assert_eq!((worker.in_flight, worker.leaked_tasks), (0, 0));
    });
}

/// A worker may end before its pool does, by a waker of the user's that panics in the driver. Its
/// objects end with it, and calls say so instead of hanging.
#[test]
fn a_worker_that_ends_alone_drops_its_objects() {
    struct Bad;
    impl std::task::Wake for Bad {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new("in a waker"));
        }
    }
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let worker = pool.worker(0).unwrap();
        let home = block_on(worker.run(async || thread::current().id())).unwrap();
        let graves = Graves::default();
        let seen = graves.clone();
        let object = block_on(worker.host(async || {
            Ok::<_, Infallible>(Object {
                value: Rc::default(),
                graves: seen,
            })
        }));
        let object = object.unwrap();
        assert_eq!(object.worker().index(), 0);
        let mut call = object.call(async |_| {
            let mut sleep = Box::pin(compio::time::sleep(Duration::from_millis(1)));
            assert!(poll_once(&mut sleep, &Waker::from(Arc::new(Bad))).is_pending());
            pending::<()>().await;
        });
        assert!(poll_once(&mut call, Waker::noop()).is_pending());
        assert!(matches!(block_on(call), Err(JoinError::RuntimeGone)));
        assert_buried_once(&graves, home);
        let late = block_on(object.call(async |_| ()));
        assert!(matches!(late, Err(JoinError::RuntimeGone)));
        assert_lives(&pool);
    });
}

/// The bookkeeping: a place in the registry is used again only when nobody can ask for it any more.
#[test]
fn a_handle_never_reaches_another_object() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let mut objects = Vec::new();
        for round in 0..200_u32 {
            let object = pool.host(async move || Ok::<_, Infallible>(Rc::new(round)));
            objects.push((round, block_on(object).unwrap()));
            if round % 3 == 1 {
                objects.swap_remove(round as usize % objects.len());
            }
            if round % 5 == 1 {
                let (_, object) = objects.swap_remove(round as usize % objects.len());
                block_on(object.finish(async |_| ())).unwrap();
            }
            for (expected, object) in &objects {
                assert_eq!(block_on(object.call(async |n| **n)).unwrap(), *expected);
            }
        }
    });
}

/// How a waiting future is used up before it is dropped.
const POLLS: usize = 5;

/// Polls up to `polls` times, calling `turn` before each poll and before the drop.
fn drop_after<F: Future>(polls: usize, future: F, mut turn: impl FnMut(usize)) {
    let mut future = Box::pin(future);
    for poll in 0..polls {
        turn(poll);
        if poll_once(&mut future, Waker::noop()).is_ready() {
            return;
        }
    }
    turn(polls);
}

/// Each waiting future is dropped after each number of polls, the work finishing before each of them:
/// the object is dropped once, on its worker, and whatever crossed is dropped, too.
#[test]
fn every_future_of_a_remote_may_be_dropped_after_any_number_of_polls() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let worker = home(&pool);
        for polls in 0..POLLS {
            for finish_at in 0..=POLLS {
                for what in 0..4 {
                    let tally = Tally::new();
                    let (go, may_go) = oneshot::channel::<()>();
                    let mut go = Some(go);
                    let turn = |poll| {
                        if poll == finish_at {
                            _ = go.take().unwrap().send(());
                            if finish_at % 2 == 0 {
                                assert_lives(&pool);
                            }
                        }
                    };
                    let (capture, outputs) = (tally.make(), tally.clone());
                    let graves = Graves::default();
                    let seen = graves.clone();
                    let open = async move || {
                        Ok::<_, Infallible>(Object {
                            value: Rc::default(),
                            graves: seen,
                        })
                    };
                    let work = async move || {
                        let _capture = capture;
                        support::yield_now().await;
                        _ = may_go.await;
                        outputs.make()
                    };
                    let mut expected = 1;
                    if what == 0 {
                        let made = Arc::new(AtomicUsize::new(0));
                        let count = made.clone();
                        let open = async move || {
                            drop(work().await);
                            count.fetch_add(1, Ordering::SeqCst);
                            open().await
                        };
                        drop_after(polls, pool.host(open), turn);
                        eventually("the opening is over", || tally.alive() == 0);
                        assert_lives(&pool);
                        expected = made.load(Ordering::SeqCst);
                    } else {
                        let object = block_on(pool.host(open)).unwrap();
                        let other = object.clone();
                        match what {
                            1 => drop_after(polls, object.call(async |_| work().await), turn),
                            2 => drop_after(polls, object.call_mut(async |_| work().await), turn),
                            _ => {
                                let finish = object.clone().finish(async |object| {
                                    let _object = object;
                                    work().await
                                });
                                drop_after(polls, finish, turn);
                            }
                        }
                        drop(go);
                        // The lock was released: a finished object says so, the others answer.
                        let next = block_on(other.call_mut(async |o| o.value.get()));
                        if what < 3 || polls == 0 {
                            assert_eq!(next.unwrap(), 0);
                        } else if let Err(error) = next {
                            assert!(matches!(error, JoinError::Finished), "{error:?}");
                        }
                        eventually("what crossed is dropped", || tally.alive() == 0);
                    }
                    eventually("the object is dropped", || buried(&graves) == expected);
                    assert!(graves.lock().unwrap().iter().all(|grave| *grave == worker));
                }
            }
        }
        assert_lives(&pool);
        eventually("all is over", || pool.metrics().workers[0].in_flight == 0);
    });
}

/// A call that waits for its turn at the object may be dropped there: it leaves the queue, and those
/// behind it move up.
#[test]
fn a_call_that_is_dropped_while_it_waits_for_the_object_leaves_the_queue() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (object, _graves) = block_on(host(&pool));
        for what in 0..3 {
            let (go, may_go) = oneshot::channel::<()>();
            let mut first = object.call_mut(async move |_| may_go.await.unwrap());
            assert!(poll_once(&mut first, Waker::noop()).is_pending());
            let tally = Tally::new();
            let counted = tally.make();
            let mut waiting: Pin<Box<dyn Future<Output = Result<(), JoinError>>>> = match what {
                0 => Box::pin(object.call(async move |_| drop(counted))),
                1 => Box::pin(object.call_mut(async move |_| drop(counted))),
                _ => Box::pin(object.clone().finish(async move |_| drop(counted))),
            };
            assert!(poll_once(&mut waiting, Waker::noop()).is_pending());
            assert_lives(&pool);
            assert_eq!(tally.alive(), 1);
            let mut last = object.call_mut(async |_| ());
            assert!(poll_once(&mut last, Waker::noop()).is_pending());
            drop(waiting);
            eventually("it has left", || tally.alive() == 0);
            go.send(()).unwrap();
            block_on(first).unwrap();
            block_on(last).unwrap();
        }
    });
}

/// The lock that a cancelled exclusive call held must not stay locked.
#[test]
fn an_exclusive_call_that_is_cancelled_lets_the_next_one_in() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (object, _graves) = block_on(host(&pool));
        let mut stuck = object.call_mut(async |o| {
            o.value.set(3);
            pending::<()>().await;
        });
        assert!(poll_once(&mut stuck, Waker::noop()).is_pending());
        assert_lives(&pool);
        let mut next = object.call(async |o| o.value.get());
        assert!(poll_once(&mut next, Waker::noop()).is_pending());
        drop(stuck);
        assert_eq!(block_on(next).unwrap(), 3);
    });
}

/// The polite waiter: polled only when woken. Each wake-up must lead somewhere.
#[test]
fn two_polls_are_enough_for_a_waiter_that_is_polled_only_when_woken() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let slow = || compio::time::sleep(Duration::from_millis(1));
        for _ in 0..20 {
            let open = pool.host(async move || {
                slow().await;
                Ok::<_, Infallible>(7)
            });
            let object = poll_times(open, 2).unwrap().unwrap();
            let call = object.call(async move |_| slow().await);
            poll_times(call, 2).unwrap().unwrap();
            let call = object.call_mut(async move |_| slow().await);
            poll_times(call, 2).unwrap().unwrap();
            let finish = object.finish(async move |_| slow().await);
            poll_times(finish, 2).unwrap().unwrap();
        }
    });
}

/// The last handle may go while the opening's result is on its way, or while the worker is held up.
#[test]
fn handles_dropped_while_the_worker_is_busy_drop_the_object_later_on_the_worker() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let worker = home(&pool);
        let (object, graves) = block_on(host(&pool));
        let release = hold(&pool);
        drop(object);
        assert_eq!(buried(&graves), 0);
        drop(release);
        assert_buried_once(&graves, worker);

        let (object, graves) = block_on(host(&pool));
        let release = hold(&pool);
        drop(object);
        // The pool goes while the last handle's news is queued.
        drop(pool);
        drop(release);
        assert_buried_once(&graves, worker);
    });
}
