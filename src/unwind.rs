//! Panics that must not get past a certain line.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    task::Waker,
    thread,
};

/// Runs `f`; its panic, if it panics, is returned.
///
/// For calls into a user's code between which and the panic nothing of ours is left half done.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Runs `f`; a panic of it ends here. The panic hook has reported it.
pub(crate) fn swallow(f: impl FnOnce()) {
    if let Err(payload) = catch(f) {
        discard(payload);
    }
}

/// Wakes whoever waits; a panic of his waker ends here, since it is not for this side to carry.
///
/// Compio ends the process when a thread that is unwinding wakes one of its own tasks (`docs/upstream.md`), which an
/// ordinary panic on Tokio's side does whenever a destructor closes something. Another thread does it then, if there is
/// one to be had.
pub(crate) fn wake(waker: Waker) {
    swallow(|| {
        if !thread::panicking() {
            return waker.wake();
        }
        let other = waker.clone();
        let helper = thread::Builder::new().name("landbridge-wake".to_owned());
        if helper.spawn(move || swallow(|| other.wake())).is_err() {
            waker.wake();
        }
    });
}

/// Drops a panic's payload, whose own destructor may panic too.
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch(|| drop(payload)) {
        // A third attempt could go on for ever.
        mem::forget(second);
    }
}

/// Drops every value, also when some of them panic; the first panic goes on afterwards.
pub(crate) fn drop_all<T>(values: impl Iterator<Item = T>) {
    let mut first = None;
    for value in values {
        if mem::needs_drop::<T>()
            && let Err(panic) = catch(|| drop(value))
        {
            match &first {
                None => first = Some(panic),
                Some(_) => discard(panic),
            }
        }
    }
    match first {
        // Already unwinding: a second panic would abort the process.
        Some(panic) if thread::panicking() => discard(panic),
        Some(panic) => resume_unwind(panic),
        None => {}
    }
}
