//! Whether anybody else uses an object of Compio's.
#![expect(
    unsafe_code,
    reason = "Compio counts who uses a descriptor, tells nobody, and makes its objects of descriptors only \
              by unsafe calls"
)]

use std::mem::{self, ManuallyDrop};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;

use compio::driver::{SharedFd, ToSharedFd};

/// The descriptor, if `object` is the only one that uses it: no clone, no operation in flight, no poller.
///
/// Compio says whether a [`SharedFd`] is the only one, but not beside the object that it came from, and makes
/// no object of a `SharedFd` again. So the object must be gone for the question and there for the answer.
pub(super) fn take<S, D>(object: S) -> Result<OwnedFd, S>
where
    S: ToSharedFd<D>,
    D: Into<OwnedFd>,
{
    let shared = ManuallyDrop::new(object.to_shared_fd());
    if !ptr::eq::<D>(&raw const **shared, &raw const *object.to_shared_fd()) {
        // Not one descriptor that is counted: nothing of what follows would hold.
        drop(ManuallyDrop::into_inner(shared));
        return Err(object);
    }
    // SAFETY: a `SharedFd` is a counted pointer (`Rc`, or `Arc` with Compio's feature `sync`). Two counts are
    // ours, that of `object` and that of `shared`; this gives one back, once. Both point to the same place
    // (checked above), which the other count keeps alive. From here on exactly one of `object` and `shared` is
    // used or dropped and the other forgotten, in each arm below.
    drop::<SharedFd<D>>(unsafe { ptr::read(&*shared) });
    match ManuallyDrop::into_inner(shared).try_unwrap() {
        Ok(descriptor) => {
            // Its pointer dangles now. Beside it, it owns nothing.
            mem::forget(object);
            Ok(descriptor.into())
        }
        Err(shared) => {
            mem::forget(shared);
            Err(object)
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
