//! Everything that holds for a channel with one sender holds for one with many: the same tests, with the
//! one in the place of the other. (Not of batches: with one sender a batch is published as one.)

#![cfg(not(landbridge_loom))]
#![allow(unused_mut, reason = "these senders need no `&mut`")]
#![allow(
    clippy::duplicate_mod,
    reason = "each of the files below has its helpers"
)]

extern crate landbridge as ours;
/// What the tests below take for the crate.
extern crate self as landbridge;

#[allow(unused_imports, reason = "what the tests below need of it")]
pub(crate) use ours::*;

pub(crate) mod channel {
    pub(crate) use ours::channel::{
        SendError, TryRecvError, TrySendError, Wait, Weight, WeightBuilder, mesh, mpsc,
        mpsc::{self as spsc, Receiver, Sender},
        pipe, unbounded,
    };

    pub(crate) fn spsc<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        ours::channel::mpsc(capacity)
    }

    pub(crate) fn builder() -> Builder {
        Builder(ours::channel::builder())
    }

    #[derive(Debug)]
    pub(crate) struct Builder(ours::channel::Builder);

    impl Builder {
        pub(crate) fn capacity(self, messages: usize) -> Self {
            Self(self.0.capacity(messages))
        }

        pub(crate) fn bytes(self, bytes: usize) -> WeightBuilder {
            self.0.bytes(bytes)
        }

        pub(crate) fn wait(self, wait: Wait) -> Self {
            Self(self.0.wait(wait))
        }

        pub(crate) fn spsc<T>(self) -> (Sender<T>, Receiver<T>) {
            self.0.mpsc()
        }
    }
}

#[path = "channel_cancel.rs"]
mod cancel;
#[path = "channel_close.rs"]
mod close;
#[path = "channel_model.rs"]
mod model;
#[path = "channel_neighbours.rs"]
mod neighbours;
#[path = "channel_runtimes.rs"]
mod runtimes;
