//! What the tests of `landbridge::rt` share.

use landbridge::{CompioHandle, CompioPool, test_util};

use crate::support::{block_on, drivers, watchdog};

/// One body on every runtime there is: Tokio's two in a `LocalSet`, Compio's plain and attached, both on one
/// thread, and a pool's worker.
pub(crate) fn everywhere(test: impl AsyncFn() + Clone + Send + 'static) {
    let _watchdog = watchdog();
    test_util::both(async || {
        // A `DualRuntime` has Tokio's context too, and is driven as Compio's.
        if compio::runtime::Runtime::try_with_current(|_| ()).is_err() {
            tokio::task::LocalSet::new().run_until(test()).await;
            return;
        }
        test().await;
        // From here on its tasks are ours.
        CompioHandle::attach().unwrap();
        test().await;
    });
    for driver in drivers() {
        let pool = CompioPool::builder().threads(1).driver(driver).build();
        let test = test.clone();
        block_on(pool.unwrap().run(async move || test().await)).unwrap();
    }
}
