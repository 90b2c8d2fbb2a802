//! What `tracing` is told of a crossing; without the feature nothing, and there is nothing of it.
//!
//! Two spans for each job, both made by the caller at the crossing and entered whenever the job's future
//! is polled or dropped. One belongs to the program: a child of the span that the caller was in, so that
//! what the job reports is found under the request that asked for it. The other is what Tokio makes for
//! a task of its own, which is how a console knows tasks.

#[cfg(not(feature = "tracing"))]
pub(super) use off::{Trace, across};
#[cfg(feature = "tracing")]
pub(super) use on::{Trace, across};

#[cfg(feature = "tracing")]
mod on {
    use std::{
        future::Future,
        panic::Location,
        sync::atomic::{AtomicU64, Ordering},
    };

    use tracing::{Instrument, Span, field::Empty, instrument::Instrumented};

    use crate::{
        pool::Shared,
        unwind::{catch, discard, swallow},
    };

    /// The two spans of a job, for as long as it is not over. A subscriber is foreign code: where it
    /// panics, the job goes without.
    #[derive(Debug, Default)]
    pub(in crate::spawn) struct Trace {
        /// Target `tokio::task`.
        task: Option<Span>,
        /// Target `landbridge::cross`; none for a job that stays on its thread.
        cross: Option<Span>,
    }

    impl Trace {
        /// Called where the crossing begins, in the caller's span; `size` is the future's, in bytes.
        pub(in crate::spawn) fn crossing(
            home: &Shared,
            origin: &'static Location<'static>,
            size: usize,
        ) -> Self {
            let mut trace = Self::local(origin, size);
            swallow(|| {
                trace.cross = Some(tracing::info_span!(
                    target: "landbridge::cross",
                    "cross",
                    worker = home.index,
                    loc.file = origin.file(),
                    loc.line = origin.line(),
                    loc.col = origin.column(),
                ));
            });
            trace
        }

        /// Of a job that does not cross.
        pub(in crate::spawn) fn local(origin: &'static Location<'static>, size: usize) -> Self {
            /// Apart from Tokio's own numbers: a console tells tasks by their spans, people by this.
            static NEXT: AtomicU64 = AtomicU64::new(1);

            let mut trace = Self::default();
            swallow(|| {
                // As in Tokio's `util::trace::task`, names and all.
                trace.task = Some(tracing::trace_span!(
                    target: "tokio::task",
                    parent: None,
                    "runtime.spawn",
                    kind = %"compio",
                    task.name = %"",
                    task.id = NEXT.fetch_add(1, Ordering::Relaxed),
                    original_size.bytes = Empty,
                    size.bytes = size,
                    loc.file = origin.file(),
                    loc.line = origin.line(),
                    loc.col = origin.column(),
                ));
            });
            trace
        }

        /// Of a job that is nobody's work.
        pub(in crate::spawn) fn none() -> Self {
            Self::default()
        }

        /// Runs `work` in the spans.
        pub(in crate::spawn) fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
            let enter = |span: &Option<Span>| span.as_ref().map(|span| span.clone().entered());
            let entered = catch(|| (enter(&self.task), enter(&self.cross)));
            let _entered = entered.map_err(discard);
            work()
        }

        /// Closes the spans: the job is over.
        pub(in crate::spawn) fn close(&mut self) {
            let Self { task, cross } = std::mem::take(self);
            swallow(|| drop(cross));
            swallow(|| drop(task));
        }
    }

    /// Work that crosses to Tokio, which makes the other span itself.
    pub(in crate::spawn) fn across<F: Future>(future: F) -> Instrumented<F> {
        let span = tracing::info_span!(target: "landbridge::cross", "cross");
        future.instrument(span)
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use std::panic::Location;

    use crate::pool::Shared;

    /// No spans.
    #[derive(Debug)]
    pub(in crate::spawn) struct Trace;

    impl Trace {
        pub(in crate::spawn) fn crossing(
            _: &Shared,
            _: &'static Location<'static>,
            _: usize,
        ) -> Self {
            Self
        }

        pub(in crate::spawn) fn local(_: &'static Location<'static>, _: usize) -> Self {
            Self
        }

        pub(in crate::spawn) fn none() -> Self {
            Self
        }

        pub(in crate::spawn) fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
            work()
        }

        pub(in crate::spawn) fn close(&mut self) {}
    }

    pub(in crate::spawn) fn across<F>(future: F) -> F {
        future
    }
}
