//! Runs a case to its end, or finds out that nobody will ever be woken.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use compio::driver::{DriverType, ProactorBuilder};
use compio::runtime::RuntimeBuilder;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a case without I/O of the kernel's, on a runtime of its own.
///
/// # Panics
///
/// When the case waits though nothing can happen any more: a wake was lost.
pub fn alone<T>(case: impl Future<Output = T>) -> T {
    let mut proactor = ProactorBuilder::new();
    proactor.driver_type(DriverType::Poll);
    let runtime = RuntimeBuilder::new()
        .with_proactor(proactor)
        .build()
        .unwrap();
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(flag.clone());
    let woken = || flag.0.swap(false, Ordering::Relaxed);
    runtime.enter(|| {
        let mut case = pin!(case);
        let mut idle = 0;
        loop {
            if woken() {
                idle = 0;
                if let Poll::Ready(output) = case.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return output;
                }
            }
            // Twice more, since a task may have been woken by a drop.
            if !runtime.run() && !flag.0.load(Ordering::Relaxed) {
                idle += 1;
                assert!(idle < 3, "somebody waits, and nobody will wake him");
                runtime.poll_with(Some(Duration::ZERO));
            }
        }
    })
}
