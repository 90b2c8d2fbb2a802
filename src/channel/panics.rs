//! Other people's code that panics must not cost anybody else a message or a wake-up.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    task::Waker,
    thread,
};

/// Drops every value, also when some of them panic; the first panic goes on afterwards.
pub(super) fn drop_all<T>(values: impl Iterator<Item = T>) {
    let mut first = None;
    for value in values {
        if mem::needs_drop::<T>()
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value)))
        {
            first.get_or_insert(panic);
        }
    }
    // Already unwinding: a second panic would abort the process.
    if let Some(panic) = first
        && !thread::panicking()
    {
        resume_unwind(panic);
    }
}

/// Wakes the other side. Its waker's panic is not this side's to carry: the panic hook has seen it,
/// and the message in hand goes on.
pub(super) fn wake(waker: Waker) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        // A payload may panic again when dropped.
        mem::forget(panic);
    }
}
