//! Ends of channels that are dropped by a thread that panics, beside tasks of Compio's own.

mod support;

use std::{future::Future, thread};

use compio::{buf::BufResult, io::AsyncRead as _, runtime::Runtime};
use landbridge::channel;
use support::in_child;

/// Has a task of Compio's own wait for what `wait` does, and drops `end` while its thread unwinds.
fn unwinds<E: Send + 'static, F: Future<Output = bool> + 'static>(end: E, wait: F) {
    Runtime::new().unwrap().block_on(async {
        let waits = compio::runtime::spawn(wait);
        // It has come to wait.
        for _ in 0..3 {
            landbridge::rt::yield_now().await;
        }
        let unwinds = thread::spawn(move || {
            let _end = end;
            panic!("an ordinary panic");
        });
        assert!(waits.await.unwrap());
        assert!(unwinds.join().is_err());
    });
}

/// Compio ends the process when a thread that unwinds wakes a task of Compio's (`docs/upstream.md`). A panic in a task
/// of Tokio's, which drops a sender, is nothing unusual.
#[test]
fn an_end_that_is_dropped_by_a_panic_wakes_compios_own_tasks() {
    in_child(
        "an_end_that_is_dropped_by_a_panic_wakes_compios_own_tasks",
        || {
            let (sender, mut receiver) = channel::spsc::<u8>(1);
            unwinds(sender, async move { receiver.recv().await.is_none() });

            let (mut sender, receiver) = channel::spsc::<u8>(1);
            sender.try_send(1).unwrap();
            unwinds(receiver, async move { sender.send(2).await.is_err() });

            let (sender, mut receiver) = channel::mpsc::<u8>(1);
            unwinds(sender, async move { receiver.recv().await.is_none() });

            let (sender, receiver) = channel::mpsc::<u8>(1);
            sender.try_send(1).unwrap();
            unwinds(receiver, async move { sender.send(2).await.is_err() });

            let (sender, mut receiver) = channel::unbounded::<u8>();
            unwinds(sender, async move { receiver.recv().await.is_none() });

            let (writer, mut reader) = channel::pipe(16);
            unwinds(writer, async move {
                let BufResult(read, _) = reader.read(Vec::with_capacity(1)).await;
                matches!(read, Ok(0))
            });
        },
    );
}
