//! Signals that are sent to the process stay away from the pool's threads.
//!
//! A handler that runs on a worker would interrupt its system calls and run on its stack, in the
//! middle of a job. A new thread inherits its maker's mask, so the mask is set before the thread is
//! made: there is no moment in which the thread could be chosen.

/// Starts threads, by `start`, that signals sent to the process do not reach. The caller's own mask is
/// as before when this returns or unwinds.
///
/// Signals that a thread brings upon itself (`SIGSEGV`, `SIGFPE`, `SIGABRT`, ...) stay as they are: they
/// can go nowhere else, and blocked they would end the process without a handler's being called.
pub(super) fn kept_away<R>(start: impl FnOnce() -> R) -> R {
    #[cfg(unix)]
    let _blocked = mask::Blocked::new();
    start()
}

#[cfg(unix)]
mod mask {
    #![expect(unsafe_code, reason = "std has no signal masks")]

    use std::{mem::MaybeUninit, ptr};

    use libc::{SIG_BLOCK, SIG_SETMASK, c_int, sigset_t};

    /// What a thread brings upon itself.
    const SYNCHRONOUS: [c_int; 7] = [
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGSEGV,
        libc::SIGSYS,
        libc::SIGTRAP,
    ];

    /// The calling thread's signals are blocked; gives it its mask back when dropped.
    pub(super) struct Blocked {
        before: sigset_t,
        /// A mask belongs to its thread.
        _stays: std::marker::PhantomData<*const ()>,
    }

    impl Blocked {
        pub(super) fn new() -> Self {
            Self {
                before: change(SIG_BLOCK, &all_but(&SYNCHRONOUS)),
                _stays: std::marker::PhantomData,
            }
        }
    }

    impl Drop for Blocked {
        fn drop(&mut self) {
            change(SIG_SETMASK, &self.before);
        }
    }

    /// Changes the calling thread's mask and returns what it was.
    fn change(how: c_int, set: &sigset_t) -> sigset_t {
        let mut before = MaybeUninit::<sigset_t>::uninit();
        // SAFETY: `set` is initialised and `before` is room for a set; both outlive the call.
        let failed = unsafe { libc::pthread_sigmask(how, ptr::from_ref(set), before.as_mut_ptr()) };
        // It fails for a `how` that does not exist, and for nothing else (POSIX).
        assert_eq!(failed, 0, "pthread_sigmask takes {how}");
        // SAFETY: the call has succeeded, and so has written it.
        unsafe { before.assume_init() }
    }

    fn all_but(signals: &[c_int]) -> sigset_t {
        let mut set = MaybeUninit::<sigset_t>::uninit();
        // SAFETY: it is room for a set. It cannot fail for a valid pointer.
        unsafe { libc::sigfillset(set.as_mut_ptr()) };
        // SAFETY: `sigfillset` has initialised it.
        let mut set = unsafe { set.assume_init() };
        for &signal in signals {
            // SAFETY: the set is initialised, and the numbers are the platform's own.
            unsafe { libc::sigdelset(&raw mut set, signal) };
        }
        set
    }
}
