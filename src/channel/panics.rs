//! Other people's code that panics must not cost anybody else a message or a wake-up.

use std::{
    any::Any,
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

/// Wakes the other side. Its waker's panic is not this side's to carry: the panic hook has seen it,
/// and the message in hand goes on.
pub(super) fn wake(waker: Waker) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        discard(panic);
    }
}

/// A payload is a value like any other, and may panic when dropped.
fn discard(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        mem::forget(again);
    }
}
