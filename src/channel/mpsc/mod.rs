//! Many senders, one receiver: see [`channel::mpsc`](super::mpsc()).

#[cfg(all(test, landbridge_loom))]
mod loom_mpsc;
mod permit;
mod receiver;
mod ring;
mod room;
mod sender;
mod sink;
mod waiters;

use super::{Look, Wait, budget::Budget, wait::SharedLook};

pub use permit::{OwnedPermit, Permit};
pub use receiver::Receiver;
pub use sender::{Sender, WeakSender};
pub use sink::SendSink;

pub(super) fn channel<T>(
    capacity: usize,
    send_wait: Wait,
    recv_wait: Wait,
) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = ring::ring(capacity, 0);
    (
        Sender {
            producer,
            look: SharedLook::new(send_wait),
            budget: Budget::new(),
        },
        Receiver {
            consumer,
            look: Look::new(recv_wait),
            budget: Budget::new(),
        },
    )
}
