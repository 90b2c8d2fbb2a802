//! The bounded channel between the two runtimes.

pub(crate) use tokio::sync::mpsc::{Receiver, Sender, channel as bounded};
