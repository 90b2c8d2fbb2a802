//! For libraries that serve both runtimes.

use std::future::Future;

/// Starts `future` on this thread; it goes on by itself.
pub(crate) fn spawn_local_detached(future: impl Future<Output = ()> + 'static) {
    compio::runtime::spawn(future).detach();
}
