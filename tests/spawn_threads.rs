//! Where things happen, and how often: a future lives and dies on one worker whoever wakes it, and
//! whatever crosses is dropped exactly once on every path.

mod support;

use std::{
    cell::RefCell,
    future::{Future, pending},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread::{self, ThreadId},
};

use landbridge::error::JoinError;
use support::{Tally, assert_lives, block_on, eventually, for_each_driver, poll_once};

/// Records the thread of each poll and of its drop; ready after so many polls. Not `Send`.
struct Recorder {
    polls_left: usize,
    wakers: mpsc::Sender<Waker>,
    places: Arc<Mutex<Vec<ThreadId>>>,
    dropped: Arc<AtomicUsize>,
    _not_send: Rc<()>,
}

impl Future for Recorder {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.places.lock().unwrap().push(thread::current().id());
        if self.polls_left == 0 {
            return Poll::Ready(());
        }
        self.polls_left -= 1;
        _ = self.wakers.send(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.places.lock().unwrap().push(thread::current().id());
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[track_caller]
fn assert_one_thread(places: &Mutex<Vec<ThreadId>>) {
    let places = places.lock().unwrap();
    assert!(places.len() >= 2, "polled and dropped");
    assert!(places.iter().all(|place| *place == places[0]));
    assert_ne!(places[0], thread::current().id());
}

/// The soundness of the whole crate: a future that is not `Send` is woken by everybody, in clones and
/// by reference, by wakers that are dropped last, and still never leaves its worker.
#[test]
fn a_future_is_polled_and_dropped_on_one_thread_though_woken_from_many() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let tokio = tokio::runtime::Runtime::new().unwrap();
        for round in 0..30 {
            let (wakers, woken) = mpsc::channel();
            let places = Arc::new(Mutex::new(Vec::new()));
            let dropped = Arc::new(AtomicUsize::new(0));
            let (recorded, gone) = (places.clone(), dropped.clone());
            let handle = pool.spawn(move || Recorder {
                polls_left: 50,
                wakers,
                places: recorded,
                dropped: gone,
                _not_send: Rc::new(()),
            });
            let mut late = Vec::new();
            for waker in woken {
                late.push(waker.clone());
                let other = waker.clone();
                tokio.spawn(async move { other.wake_by_ref() });
                if round % 2 == 0 {
                    tokio.spawn(async move { waker.wake() });
                } else {
                    thread::spawn(move || waker.wake());
                }
                if round % 3 == 0 && late.len() == 25 {
                    handle.abort();
                }
            }
            match block_on(handle) {
                Ok(()) => {}
                Err(JoinError::Cancelled) => assert_eq!(round % 3, 0),
                Err(other) => panic!("{other:?}"),
            }
            assert_eq!(dropped.load(Ordering::SeqCst), 1);
            assert_one_thread(&places);
            // Far too late; some by reference, some the last of their kind.
            for waker in late {
                tokio.spawn(async move {
                    waker.wake_by_ref();
                    drop(waker);
                });
            }
        }
        assert_lives(&pool);
    });
}

/// The dangerous moment: the worker is ending while others still wake its tasks. The future must be
/// dropped by the worker, or not at all.
#[test]
fn wakes_that_race_with_the_pools_end_never_move_a_future() {
    for_each_driver(|builder| {
        for round in 0..60 {
            let pool = builder().build().unwrap();
            let (wakers, woken) = mpsc::channel();
            let places = Arc::new(Mutex::new(Vec::new()));
            let dropped = Arc::new(AtomicUsize::new(0));
            let handles = (0..8)
                .map(|_| {
                    let (wakers, recorded, gone) =
                        (wakers.clone(), places.clone(), dropped.clone());
                    pool.spawn(move || Recorder {
                        polls_left: usize::MAX,
                        wakers,
                        places: recorded,
                        dropped: gone,
                        _not_send: Rc::new(()),
                    })
                })
                .collect::<Vec<_>>();
            drop(wakers);
            let first = (0..8).map(|_| woken.recv().unwrap()).collect::<Vec<_>>();
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                for wakers in first.chunks(4) {
                    let (stop, wakers) = (&stop, wakers.to_vec());
                    scope.spawn(move || {
                        while !stop.load(Ordering::SeqCst) {
                            for waker in &wakers {
                                waker.wake_by_ref();
                                drop(waker.clone());
                            }
                            thread::yield_now();
                        }
                    });
                }
                let handles = if round % 2 == 0 { handles } else { Vec::new() };
                // Else: nobody but the wakers knows the tasks.
                drop(pool);
                for handle in handles {
                    assert!(matches!(block_on(handle), Err(JoinError::RuntimeGone)));
                }
                eventually("all are dropped", || dropped.load(Ordering::SeqCst) == 8);
                stop.store(true, Ordering::SeqCst);
            });
            drop(first);
            drop(woken);
            assert_one_thread(&places);
        }
    });
}

/// The last waker may be the last thing of a task that nobody waits for: dropping it, on whatever
/// thread, must not drop the future there.
#[test]
fn a_task_whose_last_waker_is_dropped_elsewhere_stays_on_its_worker() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (wakers, woken) = mpsc::channel();
        let places = Arc::new(Mutex::new(Vec::new()));
        let dropped = Arc::new(AtomicUsize::new(0));
        let (recorded, gone) = (places.clone(), dropped.clone());
        drop(pool.spawn(move || Recorder {
            polls_left: 1,
            wakers,
            places: recorded,
            dropped: gone,
            _not_send: Rc::new(()),
        }));
        drop(woken.recv().unwrap());
        assert_lives(&pool);
        drop(pool);
        eventually("it is dropped", || dropped.load(Ordering::SeqCst) == 1);
        assert_one_thread(&places);
    });
}

/// The output crosses; the future does not, whatever else is dropped where.
#[test]
fn the_output_is_dropped_by_the_caller_and_the_rest_by_the_worker() {
    struct Place(Arc<Mutex<Option<ThreadId>>>);

    impl Drop for Place {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = Some(thread::current().id());
        }
    }

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let [output, captured] = [(); 2].map(|()| Arc::new(Mutex::new(None)));
        let (back, stays) = (Place(output.clone()), Place(captured.clone()));
        let (home, back) = block_on(pool.run(async move || {
            let _stays = stays;
            support::yield_now().await;
            (thread::current().id(), back)
        }))
        .unwrap();
        assert_eq!(*captured.lock().unwrap(), Some(home));
        assert_eq!(*output.lock().unwrap(), None);
        drop(back);
        assert_eq!(*output.lock().unwrap(), Some(thread::current().id()));
    });
}

/// A generator that needs no crate (splitmix64), so that a failure can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Everything at once: aborts, dropped handles, dropped runs, panics, wakes from elsewhere, and at the
/// end the pool dropped or shut down under it all. Each capture, each local and each output is dropped
/// exactly once, and every waiter gets an answer.
#[test]
fn outputs_and_closures_are_dropped_exactly_once_on_every_path() {
    for_each_driver(|builder| {
        for seed in 0..12 {
            let pool = builder().threads(2).build().unwrap();
            let (captures, locals, outputs) = (Tally::new(), Tally::new(), Tally::new());
            let asked = AtomicUsize::new(0);
            let answered = AtomicUsize::new(0);
            thread::scope(|scope| {
                for thread in 0..3 {
                    let pool = &pool;
                    let (captures, locals, outputs) = (&captures, &locals, &outputs);
                    let (asked, answered) = (&asked, &answered);
                    scope.spawn(move || {
                        let mut random = Random(seed * 31 + thread);
                        let mut kept = Vec::new();
                        for _ in 0..300 {
                            let capture = captures.make();
                            let (locals, outputs) = (locals.clone(), outputs.clone());
                            let (yields, fate) = (random.below(4), random.below(10));
                            let work = async move || {
                                let _capture = capture;
                                let _local = Rc::new(RefCell::new(locals.make()));
                                for _ in 0..yields {
                                    support::yield_now().await;
                                }
                                match fate {
                                    0 => std::panic::resume_unwind(Box::new(())),
                                    1 => pending().await,
                                    2 => {
                                        compio::time::sleep(std::time::Duration::from_micros(50))
                                            .await
                                    }
                                    _ => {}
                                }
                                outputs.make()
                            };
                            match random.below(8) {
                                0 => drop(pool.run(work)),
                                1 => {
                                    let mut run = pool.run(work);
                                    _ = poll_once(&mut run, Waker::noop());
                                }
                                2 if fate != 1 => {
                                    asked.fetch_add(1, Ordering::SeqCst);
                                    _ = block_on(pool.run(work));
                                    answered.fetch_add(1, Ordering::SeqCst);
                                }
                                3 => drop(pool.spawn(work)),
                                4 => {
                                    asked.fetch_add(1, Ordering::SeqCst);
                                    _ = block_on(pool.spawn(work).cancel());
                                    answered.fetch_add(1, Ordering::SeqCst);
                                }
                                5 => {
                                    let handle = pool.spawn(work);
                                    thread::yield_now();
                                    handle.abort();
                                    drop(handle);
                                }
                                _ => kept.push(pool.spawn(work)),
                            }
                            if random.below(3) == 0 && !kept.is_empty() {
                                kept.swap_remove(0).abort();
                            }
                        }
                        if seed % 3 == 2 {
                            // Let go of while the pool is running.
                            return;
                        }
                        kept.iter().for_each(landbridge::JoinHandle::abort);
                        for handle in kept {
                            asked.fetch_add(1, Ordering::SeqCst);
                            _ = block_on(handle);
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
            });
            assert_eq!(
                asked.load(Ordering::SeqCst),
                answered.load(Ordering::SeqCst)
            );
            let metrics = pool.metrics();
            drop(pool);
            for (name, tally) in [
                ("captures", &captures),
                ("locals", &locals),
                ("outputs", &outputs),
            ] {
                eventually(name, || tally.alive() == 0);
            }
            assert_eq!(captures.made(), 900);
            assert_eq!(metrics.total(|worker| worker.leaked_tasks), 0);
        }
    });
}

/// The same with the pool dropped in the middle, so that submissions, wakes and aborts meet a worker
/// that is ending.
#[test]
fn exactly_once_also_while_the_pool_is_dropped_in_the_middle() {
    for_each_driver(|builder| {
        for seed in 0..40_u64 {
            let pool = builder().threads(2).build().unwrap();
            let (captures, outputs) = (Tally::new(), Tally::new());
            let spawned = AtomicUsize::new(0);
            thread::scope(|scope| {
                let threads = (0..3)
                    .map(|thread| {
                        let (pool, captures, outputs) = (pool.clone(), &captures, &outputs);
                        let spawned = &spawned;
                        scope.spawn(move || {
                            let mut random = Random(seed * 77 + thread);
                            let mut kept = Vec::new();
                            for _ in 0..100 {
                                let (capture, outputs) = (captures.make(), outputs.clone());
                                let stays = random.below(3) == 0;
                                kept.push(pool.spawn(async move || {
                                    let _capture = capture;
                                    support::yield_now().await;
                                    if stays {
                                        pending::<()>().await;
                                    }
                                    outputs.make()
                                }));
                                spawned.fetch_add(1, Ordering::SeqCst);
                            }
                            if thread % 2 == 0 {
                                kept.iter().step_by(2).for_each(|handle| handle.abort());
                            }
                            drop(pool);
                            for handle in kept {
                                match block_on(handle) {
                                    Ok(_) | Err(JoinError::RuntimeGone | JoinError::Cancelled) => {}
                                    Err(other) => panic!("{other:?}"),
                                }
                            }
                        })
                    })
                    .collect::<Vec<_>>();
                if seed % 2 == 0 {
                    let half = seed as usize * 5;
                    eventually("half of it", || spawned.load(Ordering::SeqCst) > half);
                    let mut shutdown = pool.shutdown();
                    _ = poll_once(&mut shutdown, Waker::noop());
                    drop(shutdown);
                }
                drop(pool);
                for thread in threads {
                    thread.join().unwrap();
                }
            });
            eventually("captures", || captures.alive() == 0);
            eventually("outputs", || outputs.alive() == 0);
        }
    });
}
