//! Which handles may cross threads is part of the API, and changes without a compiler error here.

use landbridge::channel::{
    Builder, SendError, TryRecvError, TrySendError, Wait,
    spsc::{Permit, Receiver, Sender},
};

type NotSend = std::rc::Rc<u32>;
/// `Send`, but not `Sync`.
type NotSync = std::cell::Cell<u32>;

/// True if `$type` has the trait: an inherent constant hides one of a blanket trait.
macro_rules! has {
    ($type:ty: $($bound:tt)+) => {{
        #[allow(dead_code, reason = "used where the bound does not hold")]
        trait Otherwise {
            const HAS: bool = false;
        }
        impl<T: ?Sized> Otherwise for T {}
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "used where the bound holds")]
        impl<T: ?Sized + $($bound)+> Probe<T> {
            const HAS: bool = true;
        }
        Probe::<$type>::HAS
    }};
}

/// A message is handed from thread to thread, never shared, so `Send` is what it needs.
#[test]
fn handles_cross_threads_if_and_only_if_their_messages_are_send() {
    const {
        assert!(has!(Sender<u32>: Send));
        assert!(has!(Sender<u32>: Sync));
        assert!(has!(Receiver<u32>: Send));
        assert!(has!(Receiver<u32>: Sync));
        assert!(has!(Permit<'static, u32>: Send));
        assert!(has!(Sender<NotSync>: Send));
        assert!(has!(Sender<NotSync>: Sync));
        assert!(has!(Receiver<NotSync>: Send));
        assert!(has!(Receiver<NotSync>: Sync));
        assert!(!has!(Sender<NotSend>: Send));
        assert!(!has!(Sender<NotSend>: Sync));
        assert!(!has!(Receiver<NotSend>: Send));
        assert!(!has!(Receiver<NotSend>: Sync));
        assert!(!has!(Permit<'static, NotSend>: Send));
    }
}

/// A stream that is not `Unpin` is a nuisance to poll; nothing here is pinned.
#[test]
fn handles_are_unpin_whatever_their_messages_are() {
    type NotUnpin = std::marker::PhantomPinned;
    const {
        assert!(has!(Sender<NotUnpin>: Unpin));
        assert!(has!(Receiver<NotUnpin>: Unpin));
        assert!(has!(Permit<'static, NotUnpin>: Unpin));
    }
}

/// Options and errors are plain values.
#[test]
fn options_and_errors_cross_threads() {
    const {
        assert!(has!(Builder: Send));
        assert!(has!(Builder: Sync));
        assert!(has!(Wait: Send));
        assert!(has!(Wait: Sync));
        assert!(has!(SendError<u32>: Send));
        assert!(has!(TrySendError<u32>: Send));
        assert!(has!(TryRecvError: Send));
        assert!(has!(SendError<NotSend>: std::error::Error));
    }
}

/// Tokio spawns only futures that are `Send`.
#[test]
fn the_futures_are_send_if_the_messages_are() {
    fn is_send<T: Send>(_: T) {}
    let (mut tx, mut rx) = landbridge::channel::spsc::<NotSync>(1);
    is_send(tx.send(NotSync::new(1)));
    is_send(tx.reserve());
    is_send(tx.closed());
    is_send(rx.recv());
}
