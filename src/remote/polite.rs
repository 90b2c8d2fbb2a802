//! Calls that fail, or are done, without having waited, again and again, must not keep a task's neighbours waiting.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

/// What `future` comes to; if it did not have to wait for that, the neighbours have their turn first.
pub(super) async fn politely<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut waited = false;
    let output = poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        waited |= polled.is_pending();
        polled
    })
    .await;
    if !waited {
        yield_now().await;
    }
    output
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
