//! One test body on every runtime: the same behaviour before and after the move.

use std::thread;

use compio::{
    driver::{DriverType, ProactorBuilder},
    runtime::Runtime,
};

use crate::CompioHandle;

/// Runs a test body on every runtime and driver that this platform has.
///
/// That is: Tokio with several threads, Tokio on the current thread; and for each driver of Compio's (io_uring, on Linux
/// and unless it is refused, and polling; on Windows the completion port) a Compio runtime, one that is
/// [attached](crate::CompioHandle::attach), and with the feature `net`, on Unix, a
/// [`DualRuntime`](crate::context::DualRuntime).
///
/// For code that moves from one runtime to another, or serves both: "this test must pass on both sides of the move". Take
/// a test of it that drives a runtime (`#[tokio::test]`, `block_on`), make its body the argument, and keep it while
/// the code moves: a body that needs more than the runtimes have in common fails on the side that lacks it.
///
/// # Where it runs
///
/// On the calling thread, once for each, one after the other, each time on a runtime of its own. A body may use what both
/// runtimes have: this crate's channels, handles and [`time`](crate::time), `futures`, `tokio::sync`; and
/// [`rt::spawn_local`](crate::rt::spawn_local), in a `LocalSet` on Tokio as ever.
///
/// # Panics
///
/// When the body panics, after saying on standard error where it was running; or when a runtime
/// cannot be set up.
///
/// # Examples
///
/// ```
/// use landbridge::{CompioPool, test_util::both};
///
/// let pool = CompioPool::builder().threads(1).build()?;
/// both(async || {
///     assert_eq!(pool.run(async || 42).await.unwrap(), 42);
/// });
/// # Ok::<(), landbridge::error::BuildError>(())
/// ```
///
/// What was tied to one runtime, and is not any more:
///
/// ```
/// use std::time::Duration;
///
/// use landbridge::{test_util::both, time};
///
/// /// Asks again until there is an answer. It was `tokio::time::sleep`.
/// async fn answer(mut asked: u32) -> u32 {
///     while asked < 3 {
///         time::sleep(Duration::from_millis(1)).await;
///         asked += 1;
///     }
///     asked
/// }
///
/// both(async || {
///     assert_eq!(answer(1).await, 3);
/// });
/// ```
pub fn both(test: impl AsyncFn()) {
    on_tokio(&test);
    for (driver, kind) in compio_drivers() {
        on(&format!("Compio, {driver}"), || {
            compio_runtime(kind).block_on(test());
        });
        on(&format!("Compio, {driver}, attached"), || {
            let runtime = compio_runtime(kind);
            runtime
                .enter(CompioHandle::attach)
                .expect("an attached runtime");
            runtime.block_on(test());
        });
        #[cfg(all(feature = "net", unix))]
        on(&format!("DualRuntime, {driver}"), || {
            crate::context::DualRuntime::builder()
                .proactor(move |proactor| {
                    proactor.driver_type(kind);
                })
                .build()
                .expect("a dual runtime")
                .block_on(test());
        });
    }
}

fn on_tokio(test: &impl AsyncFn()) {
    let kinds = [
        (
            "Tokio, multi-thread",
            tokio::runtime::Builder::new_multi_thread(),
        ),
        (
            "Tokio, current thread",
            tokio::runtime::Builder::new_current_thread(),
        ),
    ];
    for (name, mut builder) in kinds {
        let runtime = builder.enable_all().build().expect("a Tokio runtime");
        on(name, || runtime.block_on(test()));
    }
}

fn compio_runtime(driver: DriverType) -> Runtime {
    Runtime::builder()
        .with_proactor(ProactorBuilder::new().driver_type(driver).clone())
        .build()
        .expect("a Compio runtime")
}

fn compio_drivers() -> Vec<(&'static str, DriverType)> {
    if cfg!(windows) {
        return vec![("completion port", DriverType::IOCP)];
    }
    let mut drivers = vec![("polling", DriverType::Poll)];
    let ring = ProactorBuilder::new()
        .driver_type(DriverType::IoUring)
        .clone();
    if cfg!(target_os = "linux") && ring.build().is_ok() {
        drivers.insert(0, ("io_uring", DriverType::IoUring));
    }
    drivers
}

/// Calls `test`; says where, if it panics.
fn on<F: FnOnce()>(name: &str, test: F) {
    struct Where<'a>(&'a str);

    impl Drop for Where<'_> {
        fn drop(&mut self) {
            if thread::panicking() {
                eprintln!("while running on {}", self.0);
            }
        }
    }

    let _where = Where(name);
    test();
}
