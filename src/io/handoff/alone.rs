//! Whether anybody else uses an object of Compio's.
#![expect(
    unsafe_code,
    reason = "Compio counts who uses a descriptor, tells nobody, and makes its objects of descriptors only \
              by unsafe calls"
)]

use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;

use compio::driver::{SharedFd, ToSharedFd};

/// The descriptor, if `object` is the only one that uses it: no clone, no operation in flight, no poller.
///
/// Compio says whether a [`SharedFd`] is the only one, but not beside the object that it came from, and makes
/// no object of a `SharedFd` again. So the object must be gone for the question and there for the answer: for
/// that time one count too many is given back.
///
/// What this stands on, of Compio's (`compio-driver` 0.12, `compio-net` 0.12, `compio-fs` 0.12):
///
/// 1. A `SharedFd` is a counted pointer and nothing else: a copy of its bits that is dropped in its place gives
///    back the one count that it has, and `try_unwrap` refuses while there is another.
/// 2. Each object has one count, of its own: one for it, one more for each clone.
/// 3. Beside it, the objects handed over own nothing that must be freed.
///
/// A refusal needs the first alone. The size of a `SharedFd` is checked here, whenever this is compiled. The
/// first two are checked by behaviour, in safe code, for each kind of object: see the tests below.
pub(super) fn take<S, D>(object: S) -> Result<OwnedFd, S>
where
    S: ToSharedFd<D>,
    D: Into<OwnedFd>,
{
    const {
        assert!(
            size_of::<SharedFd<D>>() == size_of::<*const D>(),
            "this version of compio-driver has more than a counted pointer in its `SharedFd`: the hand-off of \
             Compio's objects is not for it",
        );
    }
    let shared = ManuallyDrop::new(object.to_shared_fd());
    if !ptr::eq::<D>(&raw const **shared, &raw const *object.to_shared_fd()) {
        // Not one descriptor that is counted: nothing of what follows would hold.
        drop(ManuallyDrop::into_inner(shared));
        return Err(object);
    }
    // If the answer is yes, its pointer dangles: from here on it is not so much as moved, unless it is no.
    let object = ManuallyDrop::new(object);
    // SAFETY: `shared` is a counted pointer (1 above), valid for reads, and its count and that of `object` (2) are
    // both of the place that it points to (checked above). Of the two, one is given back here; the other keeps the
    // place alive. From here on there is one count for `shared` and `object` together, and one of them that is used
    // or dropped: in the first arm below `shared` is consumed and `object` never touched again, in the second
    // `shared` is put away untouched and `object` has its count as before.
    drop::<SharedFd<D>>(unsafe { ptr::read(&*shared) });
    match ManuallyDrop::into_inner(shared).try_unwrap() {
        Ok(descriptor) => Ok(descriptor.into()),
        Err(shared) => {
            let _kept = ManuallyDrop::new(shared);
            Err(ManuallyDrop::into_inner(object))
        }
    }
}

/// An object of Compio's, of what [`take`] gave or what is otherwise ours.
pub(super) fn give<S: FromRawFd>(descriptor: OwnedFd) -> S {
    // SAFETY: the descriptor is open and owned by nobody else, and of the kind that `S` is for (the callers,
    // who had it from an object of that kind). Compio asks that it be attached to the runtime's driver, which
    // on Unix takes nothing: io_uring and polling drivers attach no descriptor.
    unsafe { S::from_raw_fd(descriptor.into_raw_fd()) }
}

/// Whether Compio still counts as [`take`] says, asked in safe code: a `SharedFd` that is dropped and leaves one
/// behind wakes whoever waits to be the only one.
#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    /// Set when a count of an object's has become one, for the first time.
    #[derive(Default)]
    struct OneIsLeft(AtomicBool);

    impl OneIsLeft {
        fn of<D>(object: &impl ToSharedFd<D>) -> Arc<Self> {
            let left = Arc::new(Self::default());
            let waker = Arc::clone(&left).into();
            // Its own count goes without a word when it is dropped, and that it waits stays.
            let waiting = pin!(object.to_shared_fd().take());
            let said = waiting.poll(&mut Context::from_waker(&waker));
            assert!(said.is_pending());
            left
        }

        fn is_so(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for OneIsLeft {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Of any descriptor: nothing is done with it.
    fn new<S: FromRawFd>() -> S {
        give(std::io::pipe().unwrap().0.into())
    }

    fn counts_as_it_is_thought_to<S, D>()
    where
        S: ToSharedFd<D> + FromRawFd + Clone,
        D: Into<OwnedFd>,
    {
        let object: S = new();
        let one_is_left = OneIsLeft::of(&object);
        drop(object.to_shared_fd());
        assert!(one_is_left.is_so(), "more than one for an object");
        assert!(take(object).is_ok());

        let object: S = new();
        let one_is_left = OneIsLeft::of(&object);
        let clone = object.clone();
        drop(object.to_shared_fd());
        assert!(!one_is_left.is_so(), "one for an object and its clone");
        let object = take(object).expect_err("there is a clone");
        let object = take(object).expect_err("there still is");
        drop(object.to_shared_fd());
        assert!(!one_is_left.is_so(), "a refusal took one");
        drop(clone);
        assert!(one_is_left.is_so(), "a refusal left one");
        assert!(take(object).is_ok());

        let object: S = new();
        let one_is_left = OneIsLeft::of(&object);
        let operation = object.to_shared_fd();
        let object = take(object).expect_err("there is an operation");
        assert!(!one_is_left.is_so(), "none for an operation");
        drop(operation);
        assert!(one_is_left.is_so(), "a refusal left one");
        assert!(take(object).is_ok());
    }

    /// `take` is undefined behaviour with a Compio that counts otherwise: whoever takes a new one has to be told.
    #[test]
    fn each_object_of_compios_has_one_count_of_its_own() {
        #[cfg(feature = "net")]
        {
            counts_as_it_is_thought_to::<compio::net::TcpStream, _>();
            counts_as_it_is_thought_to::<compio::net::TcpListener, _>();
            counts_as_it_is_thought_to::<compio::net::UdpSocket, _>();
            counts_as_it_is_thought_to::<compio::net::UnixStream, _>();
            counts_as_it_is_thought_to::<compio::net::UnixListener, _>();
        }
        #[cfg(feature = "fs")]
        {
            counts_as_it_is_thought_to::<compio::fs::File, _>();
            counts_as_it_is_thought_to::<compio::fs::pipe::Receiver, _>();
            counts_as_it_is_thought_to::<compio::fs::pipe::Sender, _>();
        }
    }
}
