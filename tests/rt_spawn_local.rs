//! Tasks that stay on their thread, on either runtime.

mod rt_support;
mod support;

use std::{
    cell::{Cell, RefCell},
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::mpsc,
    thread,
};

use futures::channel::oneshot;
use landbridge::{
    CompioHandle,
    error::JoinError,
    rt::{LocalJoinHandle, spawn_local, yield_now},
};
use rt_support::everywhere;
use support::{OnDrop, block_on, watchdog};

/// What it is for: neither the future nor the output is `Send`.
#[test]
fn a_local_task_brings_back_what_is_not_send() {
    everywhere(async || {
        let here = thread::current().id();
        let shared = Rc::new(Cell::new(1));
        let inner = Rc::clone(&shared);
        let task = spawn_local(async move {
            yield_now().await;
            assert_eq!(thread::current().id(), here);
            inner.set(2);
            inner
        });
        assert!(!task.is_finished());
        let back = task.await.unwrap();
        assert!(Rc::ptr_eq(&back, &shared));
        assert_eq!(shared.get(), 2);
    });
}

/// Compio's own handle would cancel here.
#[test]
fn dropping_the_handle_lets_the_task_go_on() {
    everywhere(async || {
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        drop(spawn_local(async move {
            may_go_on.await.unwrap();
            done.send(()).unwrap();
        }));
        yield_now().await;
        go_on.send(()).unwrap();
        is_done.await.unwrap();
    });
}

/// Compio ends the process for some of these.
#[test]
fn a_panic_anywhere_stays_in_the_task() {
    everywhere(async || {
        let panics: LocalJoinHandle<()> = spawn_local(async { panic!("in the future") });
        let Err(JoinError::Panicked(panic)) = panics.await else {
            panic!("it panicked");
        };
        assert_eq!(panic.message().as_deref(), Some("in the future"));
        let in_drop = spawn_local(async {
            let _panics = OnDrop::new(|| panic!("in a destructor"));
        });
        assert!(matches!(in_drop.await, Err(JoinError::Panicked(_))));
        let in_abort = spawn_local(async {
            let _panics = OnDrop::new(|| panic!("in a cancelled future"));
            pending::<()>().await;
        });
        yield_now().await;
        assert!(matches!(
            in_abort.cancel().await,
            Err(JoinError::Panicked(_))
        ));
        // Of an output that nobody takes: dropped by the task, and by the handle.
        let by_the_task = spawn_local(async { OnDrop::new(|| panic!("in an output")) });
        drop(by_the_task);
        yield_now().await;
        let by_the_handle = spawn_local(async { OnDrop::new(|| panic!("in an output")) });
        while !by_the_handle.is_finished() {
            yield_now().await;
        }
        drop(by_the_handle);
        assert_eq!(spawn_local(async { 42 }).await.unwrap(), 42);
    });
}

/// `cancel` promises that the future is gone.
#[test]
fn a_cancelled_task_has_been_dropped() {
    everywhere(async || {
        for begun in [true, false] {
            let dropped = Rc::new(Cell::new(false));
            let seen = Rc::clone(&dropped);
            let on_drop = OnDrop::new(move || seen.set(true));
            let task = spawn_local(async move {
                let _on_drop = on_drop;
                pending::<()>().await;
            });
            if begun {
                yield_now().await;
            }
            assert!(!dropped.get());
            assert!(matches!(task.cancel().await, Err(JoinError::Cancelled)));
            assert!(dropped.get());
        }
        let done = spawn_local(async { 42 });
        while !done.is_finished() {
            yield_now().await;
        }
        assert_eq!(done.cancel().await.unwrap(), 42, "it was too late");
    });
}

/// Never a hang: the task's runtime ends and somebody still has the handle.
#[test]
fn a_handle_that_outlives_the_runtime_says_so() {
    async fn endless(keep: &RefCell<Option<LocalJoinHandle<()>>>) {
        *keep.borrow_mut() = Some(spawn_local(pending::<()>()));
        yield_now().await;
    }

    let _watchdog = watchdog();
    for attach in [false, true] {
        let keep = RefCell::new(None);
        compio::runtime::Runtime::new().unwrap().block_on(async {
            if attach {
                CompioHandle::attach().unwrap();
            }
            endless(&keep).await;
        });
        let task = keep.take().unwrap();
        assert!(matches!(block_on(task), Err(JoinError::RuntimeGone)));
    }
    let keep = RefCell::new(None);
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&tokio, endless(&keep));
    let task = keep.take().unwrap();
    assert!(matches!(block_on(task), Err(JoinError::RuntimeGone)));
}

/// Where Compio's own `spawn` would lose the work.
#[test]
fn a_pools_shutdown_waits_for_local_tasks() {
    support::for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let (done, is_done) = mpsc::channel();
        block_on(pool.run(async move || {
            drop(spawn_local(async move {
                may_go_on.await.unwrap();
                done.send(()).unwrap();
            }));
        }))
        .unwrap();
        let mut shutdown = pool.shutdown();
        let waker = std::task::Waker::noop();
        assert!(support::poll_once(&mut shutdown, waker).is_pending());
        go_on.send(()).unwrap();
        block_on(shutdown);
        is_done.try_recv().unwrap();
        let metrics = pool.metrics();
        assert_eq!(metrics.workers[0].completed, 2);
        assert_eq!(metrics.workers[0].in_flight, 0);
    });
}

/// A task of the pool's own is counted as what it was.
#[test]
fn the_pools_metrics_tell_how_local_tasks_ended() {
    support::for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        block_on(pool.run(async || {
            spawn_local(async {}).await.unwrap();
            assert!(spawn_local(async { panic!("counted") }).await.is_err());
            assert!(spawn_local(pending::<()>()).cancel().await.is_err());
        }))
        .unwrap();
        let worker = &pool.metrics().workers[0];
        assert_eq!(
            (worker.completed, worker.panicked, worker.cancelled),
            (2, 1, 1)
        );
    });
}

/// The rule everywhere: Compio if its context is set, else Tokio.
#[test]
fn compio_is_chosen_where_both_contexts_are_set() {
    let _watchdog = watchdog();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _tokio = tokio.enter();
    compio::runtime::Runtime::new().unwrap().block_on(async {
        // On Tokio it would panic: there is no `LocalSet`.
        assert_eq!(spawn_local(async { 42 }).await.unwrap(), 42);
    });
}

/// There is nothing to run it on.
#[test]
fn without_a_runtime_it_panics() {
    let panicked = catch_unwind(AssertUnwindSafe(|| drop(spawn_local(async {}))));
    let message = *panicked.unwrap_err().downcast::<&'static str>().unwrap();
    assert!(message.contains("needs the context"), "{message}");
}
