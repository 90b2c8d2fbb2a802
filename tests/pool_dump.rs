//! What a pool says about itself when it can do nothing else any more.

mod support;

use std::{
    future::pending,
    task::Waker,
    time::{Duration, Instant},
};

use landbridge::{
    CompioPool, JoinHandle, Wait,
    pool::{Activity, WorkerDump},
};
use support::{assert_lives, block_on, eventually, for_each_driver, hold, poll_once};

fn one(pool: &CompioPool) -> WorkerDump {
    let mut workers = pool.dump().workers;
    assert_eq!(workers.len(), 1);
    workers.remove(0)
}

fn begun(pool: &CompioPool) -> usize {
    one(pool).begun.iter().map(|origin| origin.count).sum()
}

fn endless(pool: &CompioPool, n: usize) -> Vec<JoinHandle<()>> {
    (0..n)
        .map(|_| pool.spawn(async || pending::<()>().await))
        .collect()
}

/// The day it is for: a job blocks its thread, and somebody must find out which.
#[test]
fn a_blocked_worker_is_seen_with_its_job_and_all_that_waits_for_it() {
    for_each_driver(|builder| {
        let before = Instant::now();
        let pool = builder().build().unwrap();
        let mut first_begun = None;
        let mut waiting = Vec::new();
        for n in 1..=3 {
            waiting.push(pool.spawn(async || pending::<()>().await));
            eventually("it waits", || begun(&pool) == n);
            first_begun.get_or_insert_with(Instant::now);
            assert_lives(&builder().build().unwrap());
        }
        let line = line!() - 5;
        let others = endless(&pool, 2);
        eventually("they wait", || begun(&pool) == 5);
        let release = hold(&pool);
        let queued = endless(&pool, 4);

        let age = first_begun.unwrap().elapsed();
        let dump = pool.dump();
        let seen = Instant::now();
        let worker = &dump.workers[0];
        let Activity::Running { origin } = worker.activity else {
            panic!("{worker:?}");
        };
        assert!(origin.file().ends_with("support/mod.rs"), "{origin}");
        assert_eq!((worker.in_flight, worker.queued), (10, 4));
        let counts = worker.begun.iter().map(|origin| origin.count);
        assert_eq!(counts.collect::<Vec<_>>(), [3, 2, 1]);
        let first = worker.begun[0];
        assert_eq!((first.origin.file(), first.origin.line()), (file!(), line));
        assert_ne!(worker.begun[1].origin.line(), line);
        assert_eq!(worker.begun[2].origin, origin);
        // They were begun one after the other.
        assert!(first.oldest >= worker.begun[1].oldest);
        assert!(worker.begun[1].oldest >= worker.since);
        assert!(worker.since > Duration::ZERO);
        assert_eq!(dump.oldest(), Some(first.oldest));
        assert!(first.oldest >= age && first.oldest <= before.elapsed());

        // Not the clock of the worker, which stands still.
        let again = Instant::now();
        let later = one(&pool);
        assert!(later.since >= worker.since + (again - seen));
        assert!(later.begun[0].oldest >= first.oldest + (again - seen));

        let said = dump.to_string();
        for part in [
            format!("running the job from {origin} for"),
            "10 in flight, 4 queued".to_owned(),
            format!("3 from {}:{line}:", file!()),
        ] {
            assert!(said.contains(&part), "{part:?} is not in\n{said}");
        }

        drop(release);
        for handle in waiting.into_iter().chain(others).chain(queued) {
            assert!(block_on(handle.cancel()).is_err());
        }
        assert_eq!(begun(&pool), 0);
    });
}

/// The other states, so that nobody looks for a blocked job where there is none.
#[test]
fn a_worker_that_rests_is_asleep_and_one_that_is_gone_has_ended() {
    for_each_driver(|builder| {
        let pool = builder().idle(Wait::Park).build().unwrap();
        assert_lives(&pool);
        eventually("it sleeps", || one(&pool).activity == Activity::Asleep);
        assert_eq!(pool.dump().oldest(), None);
        assert!(pool.dump().to_string().contains("asleep for"));
        block_on(pool.shutdown());
        assert_eq!(one(&pool).activity, Activity::Ended);
    });
}

/// A pool that is full looks idle from inside: what waits for a place must be in the picture.
#[test]
fn what_waits_for_a_place_is_seen() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(2).build().unwrap();
        let jobs = endless(&pool, 5);
        let mut caller = pool.run(async || ());
        assert!(poll_once(&mut caller, Waker::noop()).is_pending());
        eventually("two are begun", || begun(&pool) == 2);
        let dump = pool.dump();
        assert_eq!((dump.pending, dump.waiting), (3, 1));
        assert_eq!((dump.workers[0].in_flight, dump.workers[0].queued), (5, 3));
        let said = dump.to_string();
        assert!(said.contains("pending: 3, callers waiting: 1"), "{said}");
        drop((caller, jobs));
    });
}

/// A watchdog may itself be a job; it must not wait for its own worker.
#[test]
fn a_job_may_dump_its_own_pool() {
    for_each_driver(|builder| {
        // It never sleeps, so that nothing but the job itself has it look at the clock.
        let idle = Wait::Spin(Duration::from_secs(3_600));
        let pool = builder().idle(idle).build().unwrap();
        let inner = pool.clone();
        assert_lives(&builder().build().unwrap());
        let before = Instant::now();
        let line = line!() + 1;
        let dump = block_on(pool.run(async move || inner.dump())).unwrap();
        let Activity::Running { origin } = dump.workers[0].activity else {
            panic!("{dump}");
        };
        assert_eq!((origin.file(), origin.line()), (file!(), line));
        assert!(dump.workers[0].since <= before.elapsed(), "{dump}");
    });
}

/// What was started past the pool blocks its thread too; no job must be blamed for it.
#[test]
fn a_task_of_compios_own_that_blocks_is_no_job_that_runs() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (blocked, is_blocked) = std::sync::mpsc::channel();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let job = pool.spawn(async move || {
            compio::runtime::spawn(async move {
                blocked.send(()).unwrap();
                _ = wait.recv();
            })
            .await
        });
        is_blocked.recv().unwrap();
        let worker = one(&pool);
        assert_eq!(worker.activity, Activity::Awake, "{worker}");
        assert_eq!(worker.begun.len(), 1);
        drop(release);
        block_on(job).unwrap().unwrap();
    });
}

/// A registry is read a piece at a time: none may be left out or come twice.
#[test]
fn every_job_of_many_is_counted_once() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let mut jobs = endless(&pool, 1_500);
        eventually("they are begun", || begun(&pool) == 1_500);
        // Holes.
        for job in jobs.drain(100..700) {
            assert!(block_on(job.cancel()).is_err());
        }
        let worker = one(&pool);
        assert_eq!(worker.begun.len(), 1);
        assert_eq!(worker.begun[0].count, 900);
        assert_eq!((worker.in_flight, worker.queued), (900, 0));
        drop(jobs);
    });
}

/// A destructor can block its thread as well as a poll can.
#[test]
fn a_blocking_destructor_is_seen_as_its_job() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (dropping, is_dropping) = std::sync::mpsc::channel();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let line = line!() + 1;
        let job = pool.spawn(async move || {
            let _blocks = support::OnDrop::new(move || {
                dropping.send(()).unwrap();
                _ = wait.recv();
            });
            pending::<()>().await;
        });
        eventually("it is begun", || begun(&pool) == 1);
        job.abort();
        is_dropping.recv().unwrap();
        let worker = one(&pool);
        let Activity::Running { origin } = worker.activity else {
            panic!("{worker}");
        };
        assert_eq!(origin.line(), line);
        drop(release);
        assert!(block_on(job).is_err());
    });
}
