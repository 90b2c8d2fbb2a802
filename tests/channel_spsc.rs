//! What only a channel with one sender promises.

#![cfg(not(landbridge_loom))]

use landbridge::channel;

/// Values without a size take no memory, and their channel takes no time to make.
#[test]
fn a_channel_of_nothing_may_hold_any_number() {
    let (mut tx, mut rx) = channel::spsc(usize::MAX / 32);
    for _ in 0..3 {
        tx.try_send(()).unwrap();
    }
    assert_eq!((tx.len(), tx.capacity()), (3, usize::MAX / 32));
    drop(tx);
    assert_eq!(std::iter::from_fn(|| rx.try_recv().ok()).count(), 3);
}
