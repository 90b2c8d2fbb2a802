//! One test body on every runtime: the same behaviour before and after the move.

use std::thread;

use compio::driver::{DriverType, ProactorBuilder};

/// Runs a test body on every runtime and driver that this platform has.
///
/// That is: Tokio with several threads, Tokio on the current thread, Compio on io_uring (on Linux,
/// unless it is refused) and Compio on its polling driver (Windows: on its completion port).
///
/// # Where it runs
///
/// On the calling thread, once for each, one after the other. A body may use what both runtimes
/// have: this crate's channels and handles, `futures`, `tokio::sync`.
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
pub fn both(test: impl AsyncFn()) {
    let tokio = [
        (
            "Tokio, multi-thread",
            tokio::runtime::Builder::new_multi_thread(),
        ),
        (
            "Tokio, current thread",
            tokio::runtime::Builder::new_current_thread(),
        ),
    ];
    for (name, mut builder) in tokio {
        let runtime = builder.enable_all().build().expect("a Tokio runtime");
        on(name, || runtime.block_on(test()));
    }
    for (name, driver) in compio_drivers() {
        let runtime = compio::runtime::Runtime::builder()
            .with_proactor(ProactorBuilder::new().driver_type(driver).clone())
            .build()
            .expect("a Compio runtime");
        on(name, || runtime.block_on(test()));
    }
}

fn compio_drivers() -> Vec<(&'static str, DriverType)> {
    if cfg!(windows) {
        return vec![("Compio, completion port", DriverType::IOCP)];
    }
    let mut drivers = vec![("Compio, polling", DriverType::Poll)];
    let ring = ProactorBuilder::new()
        .driver_type(DriverType::IoUring)
        .clone();
    if cfg!(target_os = "linux") && ring.build().is_ok() {
        drivers.insert(0, ("Compio, io_uring", DriverType::IoUring));
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
