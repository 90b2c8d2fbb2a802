//! What the stream promises when workers come late, or never.

use std::{
    future::Future,
    path::Path,
    time::{Duration, Instant},
};

use landbridge::{CompioPool, Driver, rt::yield_now};
use redis::{aio::MultiplexedConnection, cmd};
use tokio::{runtime::Handle, sync::watch};

use crate::{
    demo::process::Redis,
    job::{Job, Verdict},
    queue::{Consumer, Producer, Taken},
    streams::{Config, Feeder, Lease, MOST_BEGINNINGS, Worker},
    work::crew,
};

/// The workers' ends live on a Compio worker, on each driver, as they do in the program. Nothing, with a note, where
/// Redis is not installed. A hang is a failure.
async fn with_redis<F: Future<Output = ()> + 'static>(
    lease: Duration,
    test: impl Fn(Config, Handle) -> F + Clone + Send + 'static,
) {
    for driver in [Driver::Auto, Driver::Polling] {
        let dir = tempfile::tempdir().unwrap();
        let Some(redis) = Redis::start("redis-server", dir.path()).await.unwrap() else {
            return eprintln!("skipped: Redis is not installed");
        };
        let mut config = Config::new(&*redis.url);
        config.lease = lease;
        let pool = CompioPool::builder()
            .threads(1)
            .driver(driver)
            .build()
            .unwrap();
        let (test, tokio) = (test.clone(), Handle::current());
        let run = pool.run(move || test(config, tokio));
        tokio::time::timeout(Duration::from_secs(30), run)
            .await
            .expect("it ends")
            .unwrap();
        pool.shutdown().await;
    }
}

fn job(path: &str) -> Job {
    Job {
        path: path.to_owned(),
        sha256: "0".repeat(64),
    }
}

fn worker(config: &Config, name: &str, tokio: &Handle) -> Worker {
    Worker::new(config.clone(), name.to_owned(), tokio.clone()).unwrap()
}

async fn take(worker: &mut Worker) -> Lease {
    loop {
        match worker.take().await.unwrap() {
            Taken::Job(_, lease) => return lease,
            Taken::NothingYet => {}
            Taken::End => panic!("a stream has no end"),
        }
    }
}

/// A connection that is not a worker's.
async fn own(config: &Config, tokio: &Handle) -> MultiplexedConnection {
    let client = redis::Client::open(&*config.url).unwrap();
    let made = async move { client.get_multiplexed_async_connection().await.unwrap() };
    tokio.spawn(made).await.unwrap()
}

/// A worker that died holds its job for a lease, and no longer; one that only was slow is told so, and what it brings
/// after the other's verdict changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_that_is_left_is_somebody_elses_and_acknowledged_once() {
    with_redis(Duration::from_millis(40), async |config, tokio| {
        let mut feeder = Feeder::new(config.clone(), tokio.clone()).unwrap();
        feeder.put(vec![job("a")]).await.unwrap();
        let (mut slow, mut other) = (
            worker(&config, "slow", &tokio),
            worker(&config, "other", &tokio),
        );
        let his = take(&mut slow).await;
        let taken = take(&mut other).await;
        assert!(!slow.keep(&his).await.unwrap());
        assert!(other.keep(&taken).await.unwrap());
        assert!(other.done(&taken, &Verdict::Damaged).await.unwrap());
        assert!(!slow.done(&his, &Verdict::Intact).await.unwrap());
        // And nobody begins what is done.
        assert!(!other.keep(&taken).await.unwrap());
        let verdicts = feeder.verdicts(1).await.unwrap();
        assert_eq!(verdicts["a"], Verdict::Damaged);
    })
    .await;
}

/// A long job needs no long lease: each sign of life begins it anew, and is not taken for a new beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_sign_of_life_begins_the_lease_anew() {
    with_redis(Duration::from_secs(60), async |config, tokio| {
        let mut feeder = Feeder::new(config.clone(), tokio.clone()).unwrap();
        feeder.put(vec![job("a")]).await.unwrap();
        let mut worker = worker(&config, "one", &tokio);
        let lease = take(&mut worker).await;
        let mut own = own(&config, &tokio).await;
        let mut idle = async || {
            let mut pending = cmd("XPENDING");
            pending
                .arg(config.jobs())
                .arg("workers")
                .arg("-")
                .arg("+")
                .arg(1);
            let asked = pending.query_async(&mut own);
            let all: Vec<(String, String, u64, u64)> =
                landbridge::context::in_tokio(&tokio, asked).await.unwrap();
            (Duration::from_millis(all[0].2), all[0].3)
        };
        let long = Duration::from_millis(50);
        while idle().await.0 < long {
            yield_now().await;
        }
        let kept = Instant::now();
        assert!(worker.keep(&lease).await.unwrap());
        let (idle, beginnings) = idle().await;
        // Redis counts in milliseconds.
        assert!(
            idle <= kept.elapsed() + Duration::from_millis(2),
            "{idle:?}"
        );
        assert_eq!(beginnings, 1);
        assert!(worker.done(&lease, &Verdict::Intact).await.unwrap());
    })
    .await;
}

/// A job that kills whoever has it would go round for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_that_ends_its_workers_is_given_up() {
    with_redis(Duration::from_millis(1), async |config, tokio| {
        let mut feeder = Feeder::new(config.clone(), tokio.clone()).unwrap();
        feeder.put(vec![job("bad")]).await.unwrap();
        for n in 0..MOST_BEGINNINGS {
            take(&mut worker(&config, &format!("victim-{n}"), &tokio)).await;
        }
        let mut last = worker(&config, "last", &tokio);
        loop {
            match last.take().await.unwrap() {
                Taken::NothingYet => {}
                other => panic!("{other:?}"),
            }
            let mut own = own(&config, &tokio).await;
            let mut left = cmd("XLEN");
            left.arg(config.jobs());
            let left = left.query_async::<usize>(&mut own);
            if landbridge::context::in_tokio(&tokio, left).await.unwrap() == 0 {
                break;
            }
        }
        assert_eq!(feeder.verdicts(1).await.unwrap()["bad"], Verdict::GivenUp);
    })
    .await;
}

/// Connections break, and entries are not what they should be; the workers go on, and every job has its verdict.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn workers_go_on_over_broken_connections_and_foreign_entries() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start("redis-server", dir.path()).await.unwrap() else {
        return eprintln!("skipped: Redis is not installed");
    };
    let mut config = Config::new(&*redis.url);
    config.lease = Duration::from_millis(100);
    let tokio = Handle::current();
    let pool = CompioPool::builder().threads(2).build().unwrap();
    let (stop, stopped) = watch::channel(false);
    let crew = {
        let (config, tokio) = (config.clone(), tokio.clone());
        crew(&pool, Path::new("/"), stopped, move |index| {
            Worker::new(config.clone(), format!("{index}"), tokio.clone())
        })
    };
    let feeding = async {
        let mut own = own(&config, &tokio).await;
        let mut feeder = Feeder::new(config.clone(), tokio.clone()).unwrap();
        for n in 0..10 {
            // The feeder's connection was cut, too.
            while let Err(error) = feeder.put(vec![job(&format!("none-{n}"))]).await {
                assert!(error.is_temporary(), "{error}");
            }
            () = cmd("XADD")
                .arg(config.jobs())
                .arg("*")
                .arg("what")
                .arg("is this?")
                .query_async(&mut own)
                .await
                .unwrap();
            // Of those that wait for a job, too.
            let kill = cmd("CLIENT")
                .arg("KILL")
                .arg("TYPE")
                .arg("normal")
                .arg("SKIPME")
                .arg("yes")
                .to_owned();
            let killed: usize = kill.query_async(&mut own).await.unwrap();
            if n == 0 {
                assert!(killed > 0);
            }
        }
        let verdicts = feeder.verdicts(10).await.unwrap();
        assert!(
            verdicts
                .values()
                .all(|verdict| matches!(verdict, Verdict::Unreadable(_)))
        );
        while cmd("XLEN")
            .arg(config.jobs())
            .query_async::<usize>(&mut own)
            .await
            .unwrap()
            > 0
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stop.send_replace(true);
    };
    let both = async { tokio::join!(crew, feeding) };
    let (crew, ()) = tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .expect("it ends");
    let tally = crew.unwrap();
    // A verdict whose answer was lost on the way is counted by nobody, or told to be late.
    assert!(tally.done <= 20);
    pool.shutdown().await;
}
