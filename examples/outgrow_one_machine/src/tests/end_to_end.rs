//! The demonstration, smaller.

use std::time::Duration;

use crate::demo::{self, Plan};

async fn demonstrate(redis: &'static str) -> String {
    let plan = Plan {
        files: 60,
        longest: 400_000,
        lease: Duration::from_millis(500),
        rounds: 1,
        jobs: 20,
        redis,
        timeout: Duration::from_secs(55),
    };
    let mut out = Vec::new();
    let result = demo::run(&plan, &mut out).await;
    let out = String::from_utf8(out).unwrap();
    result.unwrap_or_else(|error| panic!("{error}, after:\n{out}"));
    assert!(out.lines().last().unwrap().starts_with("ok: "), "{out}");
    out
}

/// The main job. Where Redis is not installed, it says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_demonstration_ends_with_ok() {
    println!("{}", demonstrate("redis-server").await);
}

/// On a fresh machine there is no Redis: the first half is shown all the same, and what is not shown is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_redis_the_rest_is_shown_and_the_gap_is_told() {
    let out = demonstrate("there-is-no-such-redis-server").await;
    assert!(out.contains("Redis: skipped, there is no "), "{out}");
}
