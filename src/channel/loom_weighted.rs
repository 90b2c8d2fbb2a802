//! Models of the bound by weight: who gets room, who is woken, and what becomes of those who leave.
//!
//! Each has been seen to fail: `docs/loom.md` has the mutations.

use std::{future::poll_fn, task::Poll};

use loom::{future::block_on, sync::Arc, thread};

use super::{
    loom_support::{Counted, counted, poll_and_drop},
    room::{Refused, Room, Turn},
};
use crate::channel::{self, Weight};

/// Waits for room, in any way that a channel does.
async fn take(room: &Room, weight: usize) -> Result<(), Refused> {
    let mut turn = Turn::new(room, weight);
    poll_fn(|cx| {
        if !turn.is_queued()
            && let Ok(()) = room.try_take(weight)
        {
            return Poll::Ready(Ok(()));
        }
        turn.poll(cx)
    })
    .await
}

/// Room that is given back goes to who waits for it: no wake-up is lost, and none of it.
#[test]
fn a_sender_that_waits_gets_the_room_that_is_given_back() {
    loom::model(|| {
        let room = Arc::new(Room::new(3));
        assert_eq!(room.try_take(3), Ok(()));
        let waits = {
            let room = room.clone();
            thread::spawn(move || block_on(take(&room, 2)))
        };
        // Not enough by itself.
        room.give(1);
        room.give(2);
        assert_eq!(waits.join().unwrap(), Ok(()));
        assert_eq!(room.taken(), 2);
        // Nobody waits any more, so there is no flag in the way.
        assert_eq!(room.try_take(1), Ok(()));
    });
}

/// Never is more taken than the bound, by whichever way, and in the end nothing is.
#[test]
fn no_more_is_taken_than_the_bound() {
    loom::model(|| {
        let room = Arc::new(Room::new(2));
        let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let takes = |weight: usize| {
            let (room, taken) = (room.clone(), taken.clone());
            move || {
                use std::sync::atomic::Ordering::SeqCst;
                block_on(take(&room, weight)).unwrap();
                assert!(taken.fetch_add(weight, SeqCst) + weight <= 2);
                thread::yield_now();
                taken.fetch_sub(weight, SeqCst);
                room.give(weight);
            }
        };
        let other = thread::spawn(takes(2));
        takes(1)();
        takes(2)();
        other.join().unwrap();
        assert_eq!(room.taken(), 0);
        assert_eq!(room.try_take(2), Ok(()));
    });
}

/// Who gives up passes on what it was given, and its turn: a light one behind a heavy one is let in.
#[test]
fn a_sender_that_gives_up_strands_nobody() {
    loom::model(|| {
        let room = Arc::new(Room::new(2));
        assert_eq!(room.try_take(1), Ok(()));
        let gives_up = {
            let room = room.clone();
            thread::spawn(move || {
                if let Poll::Ready(taken) = poll_and_drop(take(&room, 2)) {
                    assert_eq!(taken, Ok(()));
                    room.give(2);
                }
            })
        };
        let waits = {
            let room = room.clone();
            thread::spawn(move || block_on(take(&room, 1)))
        };
        gives_up.join().unwrap();
        // One unit has been free all the time, so nothing must be given back for this.
        assert_eq!(waits.join().unwrap(), Ok(()));
        assert_eq!(room.taken(), 2);
    });
}

/// The same where the room comes as it gives up.
#[test]
fn room_that_is_handed_to_one_who_gives_up_is_passed_on() {
    loom::model(|| {
        let room = Arc::new(Room::new(1));
        assert_eq!(room.try_take(1), Ok(()));
        let gives_up = {
            let room = room.clone();
            thread::spawn(move || {
                if poll_and_drop(take(&room, 1)).is_ready() {
                    room.give(1);
                }
            })
        };
        let waits = {
            let room = room.clone();
            thread::spawn(move || block_on(take(&room, 1)))
        };
        room.give(1);
        gives_up.join().unwrap();
        assert_eq!(waits.join().unwrap(), Ok(()));
        assert_eq!(room.taken(), 1);
    });
}

/// A close wakes everybody who waits, and nobody begins to wait after it.
#[test]
fn a_close_wakes_everybody_who_waits() {
    loom::model(|| {
        let room = Arc::new(Room::new(1));
        assert_eq!(room.try_take(1), Ok(()));
        let waits = |room: Arc<Room>| move || block_on(take(&room, 1));
        let others = [
            thread::spawn(waits(room.clone())),
            thread::spawn(waits(room.clone())),
        ];
        room.close();
        for other in others {
            assert_eq!(other.join().unwrap(), Err(Refused::Closed));
        }
    });
}

impl Weight for Counted {
    fn weight(&self) -> usize {
        2
    }
}

/// The whole channel: messages that never fit together pass one after the other, with both ends asleep
/// in between.
#[test]
fn messages_that_do_not_fit_together_pass_one_by_one() {
    loom::model(|| {
        let ([first, second], drops) = counted();
        // Each is heavier than half the bound, and is admitted when the other is gone.
        let (tx, mut rx) = channel::builder().bytes(3).mpsc();
        let sender = thread::spawn(move || {
            block_on(async {
                assert!(tx.send(first).await.is_ok());
                assert!(tx.send(second).await.is_ok());
            });
        });
        block_on(async {
            assert_eq!(rx.recv().await.map(|value| value.0), Some(0));
            assert_eq!(rx.recv().await.map(|value| value.0), Some(1));
            assert!(rx.recv().await.is_none());
        });
        sender.join().unwrap();
        assert_eq!(rx.weight(), 0);
        drops.assert_all_once();
    });
}

/// A receiver that goes wakes the sender that waits for room, which has its value to give back.
#[test]
fn a_receiver_that_is_dropped_wakes_a_sender_that_waits() {
    loom::model(|| {
        let ([first, second], drops) = counted();
        // Each is heavier than the whole bound: alone, it is admitted.
        let (tx, rx) = channel::builder().bytes(1).mpsc();
        assert!(tx.try_send(first).is_ok());
        let sender = thread::spawn(move || {
            let refused = block_on(tx.send(second));
            assert!(refused.is_err_and(|error| error.0.0 == 1));
            tx
        });
        drop(rx);
        let tx = sender.join().unwrap();
        drops.assert_all_once();
        drop(tx);
    });
}

/// What a permit has is somebody else's when it is dropped, and the rest of it when it is used.
#[test]
fn a_permit_gives_back_what_it_does_not_use() {
    for used in [false, true] {
        loom::model(move || {
            let ([first, second], drops) = counted();
            let (tx, mut rx) = channel::builder().bytes(4).mpsc();
            let permit = tx.try_reserve(4).unwrap();
            let other = tx.clone();
            let sender = thread::spawn(move || assert!(block_on(other.send(second)).is_ok()));
            if used {
                assert!(permit.send(first).is_ok());
            } else {
                drop((permit, first));
            }
            // Both fit, so nothing must be received for that.
            sender.join().unwrap();
            assert_eq!(rx.weight(), if used { 4 } else { 2 });
            while rx.try_recv().is_ok() {}
            assert_eq!(rx.weight(), 0);
            drops.assert_all_once();
            drop(tx);
        });
    }
}
