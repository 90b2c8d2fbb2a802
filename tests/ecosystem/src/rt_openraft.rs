//! openraft's own tests of a runtime, over this crate's `rt`, `time` and `channel`.
//!
//! openraft runs on any runtime for which somebody implements its `AsyncRuntime`: tasks, timers, clocks,
//! channels. It publishes the suite that its own implementations have to pass, and does not know of this
//! crate. [`Over`](super::rt_openraft_runtime::Over) implements the trait once, naming no runtime; here
//! the suite runs over it on each.

use std::panic::{catch_unwind, resume_unwind};

use landbridge::CompioPool;
use openraft_rt::{AsyncRuntime, testing::Suite};

#[cfg(unix)]
use crate::rt_openraft_runtime::Dual;
use crate::{
    rt_openraft_runtime::{
        AttachedCompio, Compio, Over, Place, TokioCurrentThread, TokioManyThreads,
    },
    support::{block_on, drivers, has_io_uring, watchdog},
};

/// The suite has one bound that is the machine's and nobody else's: a sleep of 50 ms is over in 200.
const MACHINE_STALLED: &str = "assertion failed: diff < Duration::from_millis(200)";

/// All of the suite; once more where the machine stalled.
fn suite<P: Place>() {
    let _watchdog = watchdog();
    for attempt in 1.. {
        let Err(panic) = catch_unwind(Suite::<Over<P>>::test_all) else {
            return;
        };
        let stalled = panic.downcast_ref::<&str>() == Some(&MACHINE_STALLED);
        if !stalled || attempt == 10 {
            resume_unwind(panic);
        }
    }
}

/// A library for any runtime that openraft's users know works on Compio.
#[test]
fn openrafts_suite_passes_on_compio() {
    suite::<Compio<false>>();
    if has_io_uring() {
        suite::<Compio<true>>();
    }
}

/// There its tasks are polled by landbridge's executor, as on a pool's worker.
#[test]
fn openrafts_suite_passes_on_an_attached_compio() {
    suite::<AttachedCompio<false>>();
    if has_io_uring() {
        suite::<AttachedCompio<true>>();
    }
}

/// Where both runtimes are, one of the two timers and one kind of task has to be chosen.
#[cfg(unix)]
#[test]
fn openrafts_suite_passes_on_a_dual_runtime() {
    suite::<Dual<false>>();
    if has_io_uring() {
        suite::<Dual<true>>();
    }
}

/// The other side of the move: the same code, unchanged.
#[test]
fn openrafts_suite_passes_on_tokio() {
    suite::<TokioCurrentThread>();
    suite::<TokioManyThreads>();
}

/// A worker has a loop of its own, and nobody's `block_on` can drive it: so the tests one by one, all that
/// the suite makes public. (The others are of `select` and of a receiver that peeks, which are openraft's.)
#[test]
fn openrafts_tests_pass_in_a_pools_job() {
    let _watchdog = watchdog();
    for driver in drivers() {
        let pool = CompioPool::builder().threads(1).driver(driver).build();
        let pool = pool.unwrap();
        block_on(pool.run(one_by_one::<Over<Compio<false>>>)).unwrap();
        block_on(pool.shutdown());
        let worker = &pool.metrics().workers[0];
        assert!(worker.completed > 100, "its tasks were the pool's");
    }
}

async fn one_by_one<Rt: AsyncRuntime>() {
    Suite::<Rt>::test_spawn_join_handle().await;
    Suite::<Rt>::test_thread_rng().await;
    Suite::<Rt>::test_sleep().await;
    Suite::<Rt>::test_instant().await;
    Suite::<Rt>::test_instant_arithmetic().await;
    Suite::<Rt>::test_instant_saturating_duration_since().await;
    Suite::<Rt>::test_instant_ord().await;
    Suite::<Rt>::test_sleep_until().await;
    Suite::<Rt>::test_timeout().await;
    Suite::<Rt>::test_timeout_at().await;
    Suite::<Rt>::test_mpsc_recv_empty().await;
    Suite::<Rt>::test_mpsc_recv_channel_closed().await;
    Suite::<Rt>::test_mpsc_weak_sender_wont_prevent_channel_close().await;
    Suite::<Rt>::test_mpsc_weak_sender_upgrade().await;
    Suite::<Rt>::test_mpsc_send().await;
    Suite::<Rt>::test_mpsc_send_to_closed_channel().await;
    Suite::<Rt>::test_mpsc_backpressure().await;
    Suite::<Rt>::test_watch_init_value().await;
    Suite::<Rt>::test_watch_overwrite_init_value().await;
    Suite::<Rt>::test_watch_send_error_no_receiver().await;
    Suite::<Rt>::test_watch_send_if_modified().await;
    Suite::<Rt>::test_watch_wait_until_ge().await;
    Suite::<Rt>::test_watch_wait_until().await;
    Suite::<Rt>::test_watch_changed_marks_as_seen().await;
    Suite::<Rt>::test_watch_borrow_and_update_marks_seen().await;
    Suite::<Rt>::test_watch_changed_returns_immediately_when_unseen().await;
    Suite::<Rt>::test_watch_multiple_borrow_then_changed().await;
    Suite::<Rt>::test_watch_wait_loop_pattern().await;
    Suite::<Rt>::test_watch_multiple_receivers().await;
    Suite::<Rt>::test_watch_subscribe().await;
    Suite::<Rt>::test_watch_send_if_different().await;
    Suite::<Rt>::test_watch_send_if_greater().await;
    Suite::<Rt>::test_oneshot_drop_tx().await;
    Suite::<Rt>::test_oneshot().await;
    Suite::<Rt>::test_oneshot_send_from_another_task().await;
    Suite::<Rt>::test_oneshot_send_to_dropped_rx().await;
    Suite::<Rt>::test_mutex().await;
    Suite::<Rt>::test_mutex_contention().await;
    Suite::<Rt>::test_mutex_lock_owned().await;
    Suite::<Rt>::test_task_local().await;
    Suite::<Rt>::test_task_local_on_completion_drop().await;
    Suite::<Rt>::test_task_local_take_value().await;
    Suite::<Rt>::test_task_local_poll_after_take_value().await;
    Suite::<Rt>::test_task_local_get_value().await;
}
