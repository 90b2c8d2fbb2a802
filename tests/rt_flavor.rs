//! Which runtime's things work here, asked in contexts inside of contexts.

mod rt_support;
mod support;

use std::thread;

use landbridge::{
    CompioPool, TokioHandleExt,
    context::{self, InTokioExt, OnThread},
    rt::{
        Flavor::{self, Compio, Tokio},
        spawn_local,
    },
    test_util,
};
use rt_support::everywhere;
use support::{block_on, drivers, watchdog};
use tokio::runtime::Handle;

fn compio_runtime() -> compio::runtime::Runtime {
    compio::runtime::Runtime::new().unwrap()
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

async fn here() -> Option<Flavor> {
    Flavor::current()
}

/// A library asks in a task, and in the future that is blocked on.
#[test]
fn each_runtime_is_known_by_its_tasks() {
    everywhere(async || {
        let flavor = Flavor::current().unwrap();
        let compio = compio::runtime::Runtime::try_with_current(|_| ()).is_ok();
        assert_eq!(flavor, if compio { Compio } else { Tokio });
        assert_eq!(spawn_local(here()).await.unwrap(), Some(flavor));
    });
    test_util::both(async || {
        if Flavor::current() == Some(Tokio) {
            assert_eq!(tokio::spawn(here()).await.unwrap(), Some(Tokio));
        } else {
            let task = compio::runtime::spawn(here());
            assert_eq!(task.await.unwrap(), Some(Compio));
        }
    });
}

/// The thread is Compio's: there Tokio's context only lends what Tokio has.
#[test]
fn tokios_context_on_a_compio_thread_makes_no_difference() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle();
    compio_runtime().block_on(async {
        let both = async {
            assert!(Handle::try_current().is_ok());
            Flavor::current()
        };
        assert_eq!(both.in_tokio(handle).await, Some(Compio));
        assert_eq!(context::with(handle, Flavor::current), Some(Compio));
        assert_eq!(here().await, Some(Compio));
    });
    let _entered = tokio.enter();
    assert_eq!(compio_runtime().block_on(here()), Some(Compio));
    for driver in drivers() {
        let builder = CompioPool::builder().threads(1).driver(driver);
        let pool = builder.tokio(handle.clone()).build().unwrap();
        let flavor = block_on(pool.run(async || {
            assert!(Handle::try_current().is_ok());
            Flavor::current()
        }));
        assert_eq!(flavor.unwrap(), Some(Compio));
    }
}

/// Nobody's runtime runs there but the one whose context was lent.
#[test]
fn tokios_context_on_a_plain_thread_makes_it_tokio() {
    let tokio = tokio_runtime();
    let handle = tokio.handle();
    assert_eq!(Flavor::current(), None);
    assert_eq!(block_on(here().in_tokio(handle)), Some(Tokio));
    assert_eq!(context::with(handle, Flavor::current), Some(Tokio));
    assert_eq!(block_on(here()), None);
}

/// What stays on a thread has that thread's runtime, whoever asks for `Send`.
#[test]
fn what_stays_on_its_thread_has_that_threads_runtime() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    compio_runtime().block_on(async {
        assert_eq!(OnThread::new(here()).await, Some(Compio));
        let both = OnThread::new(here().in_tokio(tokio.handle()));
        assert_eq!(both.await, Some(Compio));
    });
    let current = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert_eq!(current.block_on(OnThread::new(here())), Some(Tokio));
}

/// A crossing is a change of runtime, there and back.
#[test]
fn work_that_crosses_is_asked_on_the_other_side() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle().clone();
    for driver in drivers() {
        let pool = CompioPool::builder().threads(1).driver(driver).build();
        let pool = pool.unwrap();
        let handle = handle.clone();
        let there_and_back = tokio.block_on(async {
            let before = Flavor::current();
            let across = pool.run(async move || (here().await, handle.run(here()).await.unwrap()));
            (before, across.await.unwrap(), Flavor::current())
        });
        assert_eq!(
            there_and_back,
            (Some(Tokio), (Some(Compio), Some(Tokio)), Some(Tokio))
        );
        // Its threads for what blocks are nobody's, and Tokio's are Tokio's.
        assert_eq!(block_on(pool.run_blocking(Flavor::current)).unwrap(), None);
    }
    let blocking = tokio.block_on(async {
        let inside = || {
            let inner = Handle::current().block_on(here());
            (Flavor::current(), inner, compio_runtime().block_on(here()))
        };
        tokio::task::spawn_blocking(inside).await.unwrap()
    });
    assert_eq!(blocking, (Some(Tokio), Some(Tokio), Some(Compio)));
}

/// Neither's reactor is there for another executor's tasks, unless it is inside of one.
#[test]
fn another_executor_is_what_it_is_inside_of() {
    let _watchdog = watchdog();
    assert_eq!(block_on(here()), None);
    assert_eq!(
        compio_runtime().block_on(async { block_on(here()) }),
        Some(Compio)
    );
    assert_eq!(
        tokio_runtime().block_on(async { block_on(here()) }),
        Some(Tokio)
    );
    let elsewhere = compio_runtime().block_on(async {
        let thread = thread::spawn(Flavor::current);
        thread.join().unwrap()
    });
    assert_eq!(elsewhere, None);
}

/// The context ends with what it was set for, also when that ends early.
#[test]
fn a_runtime_that_has_ended_is_not_there_any_more() {
    let _watchdog = watchdog();
    let panicked = std::panic::catch_unwind(|| {
        compio_runtime().block_on(async { panic!("in `block_on`") });
    });
    assert!(panicked.is_err());
    assert_eq!(Flavor::current(), None);
    let compio = compio_runtime();
    assert_eq!(Flavor::current(), None, "made, not driven");
    assert_eq!(compio.enter(Flavor::current), Some(Compio));
    drop(compio);
    tokio_runtime().block_on(async { assert_eq!(compio_runtime().block_on(here()), Some(Compio)) });
    assert_eq!(Flavor::current(), None);
}

/// A destructor of a variable of the thread may ask, when there is nothing left to look at.
#[test]
fn asking_while_the_thread_ends_is_no_panic() {
    struct Asks(std::sync::mpsc::Sender<Option<Flavor>>);

    impl Drop for Asks {
        fn drop(&mut self) {
            _ = self.0.send(Flavor::current());
        }
    }

    thread_local! {
        static ASKS: std::cell::RefCell<Option<Asks>> = const { std::cell::RefCell::new(None) };
    }

    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        ASKS.set(Some(Asks(tell)));
        assert_eq!(tokio_runtime().block_on(here()), Some(Tokio));
        assert_eq!(compio_runtime().block_on(here()), Some(Compio));
    })
    .join()
    .unwrap();
    assert_eq!(told.recv(), Ok(None));
}
