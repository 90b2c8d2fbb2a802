//! Many workers, many jobs, many wakes; and nobody starves.

mod support;

use std::{
    cell::Cell,
    collections::HashSet,
    future::poll_fn,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
    thread,
};

use futures::future::join_all;
use landbridge::error::JoinError;
use proptest::prelude::*;
use support::{block_on, eventually, for_each_driver, hold, watchdog};

/// As many workers as a large machine has CPUs: each is reached, does its share, and ends.
#[test]
fn sixty_four_workers_all_work_and_all_end() {
    for_each_driver(|builder| {
        let pool = builder().threads(64).thread_name("many").build().unwrap();
        let chosen = pool
            .workers()
            .map(|worker| worker.run(async || thread::current().id()))
            .collect::<Vec<_>>();
        let places = block_on(join_all(chosen))
            .into_iter()
            .collect::<Result<HashSet<_>, JoinError>>()
            .unwrap();
        assert_eq!(places.len(), 64);
        let work = (0..6_400)
            .map(|n| pool.spawn(async move || n))
            .collect::<Vec<_>>();
        let sum: usize = work.into_iter().map(|job| block_on(job).unwrap()).sum();
        assert_eq!(sum, (0..6_400).sum());
        block_on(pool.shutdown());
        assert_eq!(pool.metrics().total(|worker| worker.completed), 6_464);
        #[cfg(target_os = "linux")]
        eventually("the threads are gone", || {
            support::threads_named("many") == 0
        });
    });
}

/// A hundred thousand jobs that all wait, as those of a large server do, and are all woken.
#[test]
fn a_hundred_thousand_jobs_may_be_outstanding() {
    const JOBS: usize = 100_000;
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (open, gate) = tokio::sync::watch::channel(false);
        let jobs = (0..JOBS)
            .map(|n| {
                let mut gate = gate.clone();
                pool.spawn(async move || {
                    gate.wait_for(|open| *open).await.expect("it opens");
                    n
                })
            })
            .collect::<Vec<_>>();
        let all_begun = || pool.metrics().total(|worker| worker.queued as u64) == 0;
        eventually("all have begun", all_begun);
        assert_eq!(
            pool.metrics().total(|worker| worker.in_flight as u64),
            JOBS as u64
        );
        open.send(true).unwrap();
        for (n, job) in jobs.into_iter().enumerate() {
            assert_eq!(block_on(job).unwrap(), n);
        }
    });
}

/// A wake may come from any thread at any time: none is lost, and however many come while the task has
/// not run, it runs once for them.
#[test]
fn a_task_woken_from_eight_threads_at_once_sees_every_wake() {
    const THREADS: usize = 8;
    const ROUNDS: u64 = 2_000;
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (waker, told) = (
            Arc::new(Mutex::new(None::<Waker>)),
            Arc::new(AtomicU64::new(0)),
        );
        let polls = Arc::new(AtomicU64::new(0));
        let job = {
            let (waker, told, polls) = (waker.clone(), told.clone(), polls.clone());
            pool.spawn(async move || {
                poll_fn(|cx| {
                    polls.fetch_add(1, Ordering::Relaxed);
                    *waker.lock().unwrap() = Some(cx.waker().clone());
                    if told.load(Ordering::Acquire) == THREADS as u64 * ROUNDS {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
            })
        };
        eventually("it waits", || waker.lock().unwrap().is_some());
        let together = Barrier::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    together.wait();
                    for _ in 0..ROUNDS {
                        told.fetch_add(1, Ordering::Release);
                        let waker = waker.lock().unwrap().clone();
                        waker.expect("it waits").wake();
                    }
                });
            }
        });
        block_on(job).unwrap();
        let most = THREADS as u64 * ROUNDS + 1;
        assert!(
            polls.load(Ordering::Relaxed) <= most,
            "never more polls than wakes"
        );
    });
}

/// A hundred thousand wakes may wait for a worker that is busy: a queue that is full would block the
/// one who wakes, which may be an async thread, or one that holds a lock.
#[test]
fn a_hundred_thousand_wakes_may_wait_for_a_busy_worker() {
    const TASKS: usize = 100_000;
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let wakers = Arc::new(Mutex::new(Vec::with_capacity(TASKS)));
        let go = Arc::new(AtomicBool::new(false));
        let jobs = (0..TASKS)
            .map(|_| {
                let (wakers, go) = (wakers.clone(), go.clone());
                pool.spawn(async move || {
                    let left_waker = Cell::new(false);
                    poll_fn(|cx| {
                        if go.load(Ordering::Acquire) {
                            return Poll::Ready(());
                        }
                        assert!(
                            !left_waker.replace(true),
                            "polled without having been woken"
                        );
                        wakers.lock().unwrap().push(cx.waker().clone());
                        Poll::Pending
                    })
                    .await;
                })
            })
            .collect::<Vec<_>>();
        eventually("all wait", || wakers.lock().unwrap().len() == TASKS);
        let release = hold(&pool);
        go.store(true, Ordering::Release);
        // Under the lock that the tasks take too.
        for waker in wakers.lock().unwrap().drain(..) {
            waker.wake();
        }
        drop(release);
        for job in jobs {
            block_on(job).unwrap();
        }
        assert_eq!(
            pool.metrics().total(|worker| worker.completed),
            TASKS as u64 + 1
        );
    });
}

/// A worker that is gone must be seen to be gone: the pool serves on, with less.
#[test]
fn the_metrics_say_which_worker_has_died() {
    struct BadWaker;

    impl std::task::Wake for BadWaker {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("in wake"));
        }
    }

    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        assert!(pool.metrics().workers.iter().all(|worker| worker.alive));
        let kept = pool
            .worker(1)
            .unwrap()
            .spawn(async || std::future::pending::<()>().await);
        let victim = pool.worker(1).unwrap().spawn(async || {
            let mut sleep = Box::pin(compio::time::sleep(std::time::Duration::from_millis(1)));
            let waker = Waker::from(Arc::new(BadWaker));
            _ = sleep
                .as_mut()
                .poll(&mut std::task::Context::from_waker(&waker));
            std::future::pending::<()>().await;
        });
        for lost in [victim, kept] {
            assert!(matches!(block_on(lost), Err(JoinError::RuntimeGone)));
        }
        let alive = |index: usize| pool.metrics().workers[index].alive;
        assert!(alive(0) && !alive(1));
        let worker = pool.worker(1).unwrap();
        assert!(worker.is_closed());
        assert!(worker.try_spawn(async || ()).unwrap_err().is_closed());
        assert_eq!(block_on(pool.run(async || 1)).unwrap(), 1);
        block_on(pool.shutdown());
        assert!(!alive(0));
    });
}

/// What comes from another thread is not held up for long by what keeps its worker busy: there is a look
/// at the inbox after 61 turns at most, Compio's own interval.
#[test]
fn jobs_inside_overtake_one_from_outside_by_one_interval_at_most() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let arrived = Arc::new(AtomicBool::new(false));
        let (ask, asked) = std::sync::mpsc::channel();
        let (answer, answered) = std::sync::mpsc::channel();
        let seen = arrived.clone();
        let greedy = pool.spawn(async move || {
            support::yield_now().await;
            // Blocks its worker until the other job is in the inbox: from here on turns are counted.
            ask.send(()).unwrap();
            answered.recv().unwrap();
            let mut turns = 0;
            while !seen.load(Ordering::Relaxed) {
                turns += 1;
                support::yield_now().await;
            }
            turns
        });
        asked.recv().unwrap();
        let late = pool.spawn(async move || arrived.store(true, Ordering::Relaxed));
        answer.send(()).unwrap();
        let turns = block_on(greedy).unwrap();
        assert!((1..=62).contains(&turns), "{turns}");
        block_on(late).unwrap();
    });
}

/// What a schedule does in one step: tasks that yield, tasks that end, wakes in between.
#[derive(Clone, Debug)]
struct Load {
    /// For each job, how often it yields before it ends.
    yields: Vec<u8>,
    workers: usize,
}

fn loads() -> impl Strategy<Value = Load> {
    (prop::collection::vec(0..20_u8, 1..200), 1..4_usize)
        .prop_map(|(yields, workers)| Load { yields, workers })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// No job starves, whatever the others do: while one waits for its turn, no other has two.
    #[test]
    fn overtaking_is_bounded(load in loads()) {
        let _watchdog = watchdog();
        let pool = landbridge::CompioPool::builder().threads(load.workers).build().unwrap();
        let home = pool.worker(0).unwrap();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let (held, is_held) = std::sync::mpsc::channel();
        drop(home.spawn(async move || {
            held.send(()).expect("the test waits");
            _ = wait.recv();
        }));
        is_held.recv().unwrap();
        // Turns taken by each job of the one worker: all are queued before the first one runs.
        let turns: Arc<Vec<AtomicUsize>> =
            Arc::new(load.yields.iter().map(|_| AtomicUsize::new(0)).collect());
        let ended: Arc<Vec<AtomicBool>> =
            Arc::new(load.yields.iter().map(|_| AtomicBool::new(false)).collect());
        let jobs: Vec<_> = load
            .yields
            .iter()
            .enumerate()
            .map(|(this, &yields)| {
                let (turns, ended) = (turns.clone(), ended.clone());
                home.spawn(async move || {
                    for _ in 0..=yields {
                        let mine = turns[this].fetch_add(1, Ordering::Relaxed) + 1;
                        for (other, theirs) in turns.iter().enumerate() {
                            let theirs = theirs.load(Ordering::Relaxed);
                            let gone = ended[other].load(Ordering::Relaxed);
                            assert!(gone || theirs + 1 >= mine, "{other} had {theirs}, {this} {mine}");
                        }
                        support::yield_now().await;
                    }
                    ended[this].store(true, Ordering::Relaxed);
                })
            })
            .collect();
        drop(release);
        for job in jobs {
            prop_assert!(block_on(job).is_ok());
        }
    }
}
