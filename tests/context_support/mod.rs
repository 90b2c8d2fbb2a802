//! What the tests of Tokio's context on Compio share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::{any::Any, future::Future};

use compio::{
    driver::{DriverType, ProactorBuilder},
    runtime::Runtime,
};
use landbridge::{CompioPool, Driver};
use tokio::runtime::{self, Handle};

use crate::support::{block_on, drivers, watchdog};

pub fn tokio_runtime() -> runtime::Runtime {
    runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// One body on Compio as it is and on a pool's worker, each on every driver; with the handle of a Tokio runtime
/// whose context is nowhere there.
pub fn everywhere<T, F>(test: T)
where
    T: Fn(Handle) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    for driver in drivers() {
        let body = async |handle| {
            assert!(Handle::try_current().is_err());
            test(handle).await;
            assert!(Handle::try_current().is_err());
        };
        compio_runtime(driver).block_on(body(tokio.handle().clone()));

        let pool = CompioPool::builder().threads(1).driver(driver).build();
        let pool = pool.unwrap();
        let (handle, test) = (tokio.handle().clone(), test.clone());
        block_on(pool.run(move || test(handle))).unwrap();
        block_on(pool.shutdown());
    }
}

pub fn compio_runtime(driver: Driver) -> Runtime {
    let driver = match driver {
        Driver::Polling => DriverType::Poll,
        _ => DriverType::IoUring,
    };
    let mut proactor = ProactorBuilder::new();
    proactor.driver_type(driver);
    Runtime::builder().with_proactor(proactor).build().unwrap()
}

/// What a panic said.
pub fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .expect("a text")
}
