//! What `tracing` sees of a crossing.

mod support;

use std::{
    collections::HashMap,
    fmt,
    future::pending,
    sync::{Arc, Mutex},
};

use landbridge::{JoinError, TokioHandleExt};
use support::{block_on, for_each_driver};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

#[derive(Clone, Debug, Default)]
struct Seen {
    target: String,
    name: String,
    parent: Option<u64>,
    fields: HashMap<&'static str, String>,
    enters: usize,
    exits: usize,
    closed: bool,
}

#[derive(Debug, Default)]
struct Log {
    spans: HashMap<u64, Seen>,
    /// Each event's message, and its span with all that are around it, the innermost first.
    events: Vec<(String, Vec<String>)>,
}

impl Log {
    fn of(&self, target: &str) -> Vec<Seen> {
        let spans = self.spans.values();
        spans
            .filter(|span| span.target == target)
            .cloned()
            .collect()
    }

    fn around(&self, message: &str) -> &[String] {
        let event = self.events.iter().find(|(said, _)| said == message);
        &event.expect("it was said").1
    }
}

/// Writes down what it sees.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Log>>);

impl Recorder {
    /// What happened in `body`, on whatever thread of it.
    fn record(body: impl FnOnce(&Self)) {
        let recorder = Self::default();
        let subscriber = tracing_subscriber::registry().with(recorder.clone());
        // The workers have no subscriber of their own: what is seen of them is seen by the spans'.
        tracing::subscriber::with_default(subscriber, || body(&recorder));
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.0.lock().unwrap()
    }
}

struct Fields<'a>(&'a mut HashMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).expect("new");
        let mut seen = Seen {
            target: span.metadata().target().to_owned(),
            name: span.name().to_owned(),
            parent: span.parent().map(|parent| parent.id().into_u64()),
            ..Seen::default()
        };
        attributes.record(&mut Fields(&mut seen.fields));
        self.log().spans.insert(id.into_u64(), seen);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = HashMap::new();
        event.record(&mut Fields(&mut fields));
        let scope = context.event_scope(event).into_iter().flatten();
        let around = scope.map(|span| span.name().to_owned()).collect();
        let message = fields.remove("message").unwrap_or_default();
        self.log().events.push((message, around));
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.log().spans.get_mut(&id.into_u64()).unwrap().enters += 1;
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.log().spans.get_mut(&id.into_u64()).unwrap().exits += 1;
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.log().spans.get_mut(&id.into_u64()).unwrap().closed = true;
    }
}

/// Without it a request's story ends where its work crosses.
#[test]
fn what_a_job_reports_is_under_the_callers_span() {
    for_each_driver(|builder| {
        Recorder::record(|recorder| {
            let pool = builder().build().unwrap();
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            let report = async move || {
                // The subscriber of the thread: a program has one for all, a test has it here.
                let _here = tracing::dispatcher::set_default(&dispatch);
                tracing::info!("in the job");
            };
            let request = tracing::info_span!("request");
            // Made in one span, awaited in another: the crossing is where it is submitted.
            let run = pool.run(report);
            block_on(tracing::Instrument::instrument(run, request.clone())).unwrap();

            let log = recorder.log();
            let crossings = log.of("landbridge::cross");
            assert_eq!(crossings.len(), 1);
            let cross = &crossings[0];
            assert_eq!(cross.name, "cross");
            assert_eq!(cross.parent, request.id().map(|id| id.into_u64()));
            assert_eq!(cross.fields["worker"], "0");
            assert_eq!(cross.fields["loc.file"], format!("{:?}", file!()));
            assert_eq!(log.around("in the job"), ["cross", "request"]);
        });
    });
}

/// A parent that is set at every poll would be whoever polls; and a span that stays open, or entered, is
/// a leak in every exporter.
#[test]
fn the_spans_are_entered_for_each_poll_and_closed_before_the_result_is_there() {
    for_each_driver(|builder| {
        Recorder::record(|recorder| {
            let pool = builder().build().unwrap();
            let job = pool.spawn(async || {
                for _ in 0..3 {
                    support::yield_now().await;
                }
            });
            block_on(job).unwrap();
            let log = recorder.log();
            for target in ["landbridge::cross", "tokio::task"] {
                let spans = log.of(target);
                assert_eq!(spans.len(), 1, "{target}");
                // Four polls, and the drop.
                assert_eq!((spans[0].enters, spans[0].exits), (5, 5), "{target}");
                assert!(spans[0].closed, "{target}");
                assert_eq!(spans[0].parent, None, "{target}");
            }
        });
    });
}

/// A console knows a task by this name, this target and these fields.
#[test]
fn a_console_sees_a_task_as_tokio_would_tell_it() {
    for_each_driver(|builder| {
        Recorder::record(|recorder| {
            let pool = builder().build().unwrap();
            let line = line!() + 1;
            let jobs = [(); 2].map(|()| pool.spawn(async || [0_u8; 100].len()));
            for job in jobs {
                assert_eq!(block_on(job).unwrap(), 100);
            }
            let tasks = recorder.log().of("tokio::task");
            assert_eq!(tasks.len(), 2);
            assert_ne!(tasks[0].fields["task.id"], tasks[1].fields["task.id"]);
            for task in tasks {
                assert_eq!(task.name, "runtime.spawn");
                assert_eq!(task.fields["kind"], "compio");
                assert_eq!(task.fields["task.name"], "");
                assert!(task.fields["size.bytes"].parse::<usize>().is_ok());
                assert_eq!(task.fields["loc.file"], format!("{:?}", file!()));
                assert_eq!(task.fields["loc.line"], line.to_string());
                assert!(task.fields["loc.col"].parse::<u32>().is_ok());
            }
        });
    });
}

/// Whatever ends a job, its spans end with it.
#[test]
fn the_spans_are_closed_also_when_the_job_is_cancelled_or_panics() {
    for_each_driver(|builder| {
        Recorder::record(|recorder| {
            let pool = builder().build().unwrap();
            let panics = pool.spawn(async || -> () { std::panic::resume_unwind(Box::new(())) });
            assert!(matches!(block_on(panics), Err(JoinError::Panicked(_))));
            let endless = pool.spawn(async || pending::<()>().await);
            assert!(block_on(endless.cancel()).is_err());
            block_on(pool.shutdown());
            assert!(block_on(pool.spawn(async || ())).is_err());
            let log = recorder.log();
            assert_eq!(log.spans.len(), 6);
            for span in log.spans.values() {
                assert!(span.closed && span.enters == span.exits, "{span:?}");
            }
        });
    });
}

/// The other direction is a crossing too.
#[test]
fn work_that_crosses_to_tokio_is_under_the_callers_span() {
    let _watchdog = support::watchdog();
    Recorder::record(|recorder| {
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let request = tracing::info_span!("request");
        let run = tokio.handle().run(async move {
            let _here = tracing::dispatcher::set_default(&dispatch);
            tracing::info!("on Tokio");
        });
        block_on(tracing::Instrument::instrument(run, request)).unwrap();
        assert_eq!(recorder.log().around("on Tokio"), ["cross", "request"]);
    });
}
