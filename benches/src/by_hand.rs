//! What one writes by hand when a Compio thread that one owns is to be called from Tokio: a loop over a
//! flume channel as that runtime's main future, with a oneshot for each answer.

use std::{pin::Pin, thread};

use tokio::sync::oneshot;

use crate::{
    Config,
    spawn::{Cpus, on_tokio, round_trips},
    threads::pin_to,
};

type Local = Pin<Box<dyn Future<Output = u64>>>;
type Job = Box<dyn FnOnce() -> Local + Send>;

/// A Compio thread that takes closures from a channel and runs them side by side.
#[derive(Clone, Debug)]
pub struct Loop {
    jobs: flume::Sender<(Job, oneshot::Sender<u64>)>,
}

impl Loop {
    /// Starts the thread.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(cpus: Cpus) -> Self {
        let (jobs, inbox) = flume::unbounded::<(Job, oneshot::Sender<u64>)>();
        on_compio(cpus, async move {
            while let Ok((job, reply)) = inbox.recv_async().await {
                compio::runtime::spawn(async move {
                    let _ = reply.send(job().await);
                })
                .detach();
            }
        });
        Self { jobs }
    }

    /// A crossing, which is under way once this returns.
    ///
    /// # Panics
    /// When the thread is gone.
    pub fn send(&self) -> impl Future<Output = u64> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(|| Box::pin(async { 1 }));
        assert!(self.jobs.send((job, reply)).is_ok());
        async move { answer.await.expect("an answer") }
    }
}

/// A Compio thread that owns an object and answers requests to it, one after the other.
#[derive(Clone, Debug)]
pub struct Owner {
    requests: flume::Sender<(u64, oneshot::Sender<u64>)>,
}

impl Owner {
    /// Starts the thread; the object is a counter.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(cpus: Cpus) -> Self {
        let (requests, inbox) = flume::unbounded::<(u64, oneshot::Sender<u64>)>();
        on_compio(cpus, async move {
            let mut object = 0_u64;
            while let Ok((request, reply)) = inbox.recv_async().await {
                object += request;
                let _ = reply.send(u64::from(object > 0));
            }
        });
        Self { requests }
    }

    /// A request, which is under way once this returns.
    ///
    /// # Panics
    /// When the thread is gone.
    pub fn call(&self) -> impl Future<Output = u64> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        assert!(self.requests.send((1, reply)).is_ok());
        async move { answer.await.expect("an answer") }
    }
}

/// Beside a round trip to a runtime of the user's own. Microseconds of wall time.
pub fn loop_round_trips(config: &Config, cpus: Cpus) -> f64 {
    let peer = Loop::start(cpus);
    on_tokio(
        cpus,
        round_trips(config.operations(10_000), move || peer.send()),
    )
}

/// Beside a call of a hosted object. Microseconds of wall time.
pub fn owner_round_trips(config: &Config, cpus: Cpus) -> f64 {
    let peer = Owner::start(cpus);
    on_tokio(
        cpus,
        round_trips(config.operations(10_000), move || peer.call()),
    )
}

/// Runs `main` as the main future of a Compio runtime with its defaults, on a thread of its own that
/// ends with it.
fn on_compio(cpus: Cpus, main: impl Future<Output = ()> + Send + 'static) {
    thread::spawn(move || {
        if cpus == Cpus::Apart {
            pin_to(Cpus::COMPIO);
        }
        let runtime = compio::runtime::Runtime::new().expect("a Compio runtime starts");
        runtime.block_on(main);
    });
}
