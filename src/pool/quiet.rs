//! Waiting until the kernel is done with every buffer.
//!
//! On io_uring: cancel every request there is, then submit a no-op marked `IOSQE_IO_DRAIN`. The
//! kernel does not start a drained request before all earlier ones have completed
//! (`io_uring_enter(2)`), so its completion proves that no request holds a buffer any more: direct
//! I/O that cannot be cancelled included.
//!
//! On the other drivers the kernel never writes into a buffer on its own: an operation runs in a call
//! that this thread makes, or on a blocking thread that owns the buffer until it is done.

use compio::runtime::Runtime;

/// Whether the driver may be dropped. Called inside the runtime's context, once its tasks are gone.
pub(crate) fn wait_until_quiet(runtime: &Runtime) -> bool {
    #[cfg(target_os = "linux")]
    if runtime.driver_type().is_iouring() {
        return ring::wait_until_quiet(runtime);
    }
    runtime.poll_with(Some(std::time::Duration::ZERO));
    true
}

#[cfg(target_os = "linux")]
mod ring {
    #![expect(
        unsafe_code,
        reason = "Compio takes operations of one's own through an unsafe trait"
    )]

    use std::{
        future::Future,
        io,
        pin::pin,
        task::{Context, Poll, Waker},
        time::{Duration, Instant},
    };

    use compio::{
        buf::BufResult,
        driver::{Decision, IourOpCode, OpEntry, PollOpCode},
        runtime::Runtime,
    };
    use io_uring::{opcode, squeue::Flags, types::CancelBuilder};

    /// How long the kernel may take to let go of uncancellable requests before the ring is leaked.
    /// A disk that is alive answers within seconds; a network mount may never.
    const PATIENCE: Duration = Duration::from_secs(10);
    const EINVAL: i32 = 22;

    pub(super) fn wait_until_quiet(runtime: &Runtime) -> bool {
        // "No such request" is an answer too. A kernel that does not know the flag (before 5.19) says
        // EINVAL; the driver's own notification request would then hold up the drain for ever.
        match complete(runtime, Request::CancelAll) {
            Some(Err(error)) if error.raw_os_error() == Some(EINVAL) => false,
            Some(_) => complete(runtime, Request::Drain).is_some_and(|drained| drained.is_ok()),
            None => false,
        }
    }

    /// What became of `request`, if it completed in time.
    fn complete(runtime: &Runtime, request: Request) -> Option<io::Result<usize>> {
        let deadline = Instant::now() + PATIENCE;
        let mut operation = pin!(runtime.submit(request));
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match operation.as_mut().poll(&mut cx) {
                Poll::Ready(BufResult(result, _)) => return Some(result),
                Poll::Pending if Instant::now() >= deadline => return None,
                // Whatever completes wakes this up; the bound is for the deadline.
                Poll::Pending => runtime.poll_with(Some(Duration::from_millis(10))),
            }
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Request {
        /// Asks for the cancellation of every request in the ring.
        CancelAll,
        /// Completes after every earlier request.
        Drain,
    }

    // SAFETY: the entries point to no memory.
    unsafe impl IourOpCode for Request {
        type Control = ();

        fn create_entry(&mut self, (): &mut ()) -> OpEntry {
            match self {
                Self::CancelAll => opcode::AsyncCancel2::new(CancelBuilder::any()).build(),
                Self::Drain => opcode::Nop::new().build().flags(Flags::IO_DRAIN),
            }
            .into()
        }
    }

    // SAFETY: it never waits for a descriptor.
    unsafe impl PollOpCode for Request {
        type Control = ();

        fn pre_submit(&mut self, (): &mut ()) -> io::Result<Decision> {
            Ok(Decision::Completed(0))
        }

        fn operate(&mut self, (): &mut ()) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(0))
        }
    }
}
