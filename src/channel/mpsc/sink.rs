use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::Sink;

use super::{Sender, permit::spend, room::Place};
use crate::error::SendError;

/// A [`Sink`] that sends into a channel; made by [`Sender::into_sink`].
///
/// A message is in the channel as soon as it has been sent: there is nothing to flush. `poll_ready` keeps
/// room for one message, as a permit does, until it is sent or the sink is closed or dropped. Closing the
/// sink drops its sender.
pub struct SendSink<T> {
    /// `None` once the sink is closed.
    sender: Option<Sender<T>>,
    place: Place,
    /// A unit of room is this sink's.
    ready: bool,
}

impl<T> SendSink<T> {
    pub(super) fn new(sender: Sender<T>) -> Self {
        Self {
            sender: Some(sender),
            place: None,
            ready: false,
        }
    }

    fn end(&mut self) {
        if let Some(sender) = self.sender.take() {
            let room = sender.producer.room();
            room.leave(&mut self.place);
            if std::mem::take(&mut self.ready) {
                room.give(1);
            }
        }
    }
}

// The messages are not in here.
impl<T> Unpin for SendSink<T> {}

impl<T> Sink<T> for SendSink<T> {
    type Error = SendError<()>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let this = self.get_mut();
        let Some(sender) = &this.sender else {
            return Poll::Ready(Err(SendError(())));
        };
        if !this.ready {
            ready!(sender.poll_reserve(&mut this.place, &sender.look, cx))?;
            this.ready = true;
        }
        Poll::Ready(Ok(()))
    }

    /// # Panics
    ///
    /// Panics if the sink was not ready.
    fn start_send(self: Pin<&mut Self>, value: T) -> Result<(), Self::Error> {
        let this = self.get_mut();
        let Some(sender) = &this.sender else {
            return Err(SendError(()));
        };
        assert!(
            std::mem::take(&mut this.ready),
            "`start_send` comes after a `poll_ready` that said `Ok`"
        );
        spend(sender, value).map_err(|_| SendError(()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.get_mut().end();
        Poll::Ready(Ok(()))
    }
}

impl<T> Drop for SendSink<T> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<T> fmt::Debug for SendSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendSink")
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}
