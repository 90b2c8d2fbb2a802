//! What is done on the caller's thread without waiting, and never twice as much in a row.
//!
//! A task that only reads what is in memory would never wait, and so neither a timeout around it nor its
//! neighbours would ever have their turn. What it has done is counted by the thread and not by the file or
//! the task: a task may open a file for each read, and a thread's neighbours do not mind whose fault it is.

use std::{
    cell::Cell,
    future::poll_fn,
    task::{Context, Poll},
};

/// So many bytes are copied in a row before the neighbours get their turn: about 100 µs.
const IN_A_ROW: usize = 512 << 10;

/// What a call costs at least, however little it brings: so 128 of them in a row.
const AT_LEAST: usize = 4 << 10;

thread_local! {
    /// Bytes since the neighbours last had their turn.
    static SPENT: Cell<usize> = const { Cell::new(0) };
}

/// `Pending`, with a wake-up on its way, when it is the neighbours' turn.
pub(super) fn poll_turn(cx: &Context<'_>) -> Poll<()> {
    if SPENT.get() < IN_A_ROW {
        return Poll::Ready(());
    }
    SPENT.set(0);
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Waits until it is the caller's turn, if it is the neighbours'.
pub(super) async fn turn() {
    poll_fn(|cx| poll_turn(cx)).await;
}

/// So many bytes were copied here and now.
pub(super) fn spend(bytes: usize) {
    SPENT.set(SPENT.get().saturating_add(bytes.max(AT_LEAST)));
}
