use std::{fmt, io, rc::Rc};

use compio::driver::ProactorBuilder;
use tokio::runtime::RuntimeFlavor;

use super::{
    DualRuntime,
    turn::{self, Turns},
};
use crate::pool::{Driver, EVENT_INTERVAL, compio_runtime};

type TuneProactor = Box<dyn Fn(&mut ProactorBuilder)>;
type TuneTokio = Box<dyn FnOnce(&mut tokio::runtime::Builder)>;

/// Configures and builds a [`DualRuntime`]; from [`DualRuntime::builder`].
///
/// # Examples
///
/// ```
/// use landbridge::{Driver, context::DualRuntime};
///
/// let dual = DualRuntime::builder()
///     .driver(Driver::Polling)
///     .event_interval(31)
///     .tokio(|tokio| {
///         tokio.max_blocking_threads(4);
///     })
///     .build()?;
/// assert_eq!(dual.block_on(async { 42 }), 42);
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct DualBuilder {
    driver: Driver,
    proactor: Option<TuneProactor>,
    event_interval: usize,
    tokio: Option<TuneTokio>,
}

impl DualBuilder {
    pub(super) fn new() -> Self {
        Self {
            driver: Driver::default(),
            proactor: None,
            event_interval: EVENT_INTERVAL,
            tokio: None,
        }
    }

    /// What drives Compio's I/O.
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = driver;
        self
    }

    /// Has a word on how Compio's driver is set up. Called for each driver that is tried.
    ///
    /// `defer_taskrun` is switched off again: such a ring does not tell who sleeps elsewhere, in Tokio's driver here,
    /// that something has completed.
    pub fn proactor(mut self, tune: impl Fn(&mut ProactorBuilder) + 'static) -> Self {
        self.proactor = Some(Box::new(tune));
        self
    }

    /// How many tasks of either runtime are polled between two looks at the other and at the drivers, while there
    /// are tasks; 61 by default, and at least 1.
    pub fn event_interval(mut self, polls: usize) -> Self {
        self.event_interval = polls.max(1);
        self
    }

    /// Has a word on how Tokio is set up; its I/O and its time are enabled already.
    ///
    /// The hooks `on_thread_park` and `on_thread_unpark` are the runtime's own: those set here are not called.
    pub fn tokio(mut self, tune: impl FnOnce(&mut tokio::runtime::Builder) + 'static) -> Self {
        self.tokio = Some(Box::new(tune));
        self
    }

    /// Sets both runtimes up; no thread is started.
    ///
    /// # Errors
    ///
    /// What the operating system says, if it refuses a driver; for Compio's, the last that was tried.
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the closure for Tokio has put another kind of builder in its place.
    ///
    /// # Panics
    ///
    /// When a closure that was given to the builder panics, or makes a runtime panic.
    pub fn build(self) -> io::Result<DualRuntime> {
        let Self {
            driver,
            proactor,
            event_interval,
            tokio: tune,
        } = self;
        let (kind, compio) = compio_runtime(driver, event_interval, |builder| {
            if let Some(tune) = &proactor {
                tune(builder);
            }
            builder.defer_taskrun(false);
        })?;
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder
            .enable_all()
            .event_interval(u32::try_from(event_interval).unwrap_or(u32::MAX));
        if let Some(tune) = tune {
            tune(&mut builder);
        }
        let tokio = builder
            .on_thread_park(turn::on_park)
            .on_thread_unpark(turn::on_unpark)
            .build()?;
        if tokio.handle().runtime_flavor() != RuntimeFlavor::CurrentThread {
            tokio.shutdown_background();
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a `DualRuntime` is one thread: its Tokio runtime is of the flavour `current_thread`",
            ));
        }
        let turns = {
            let _context = tokio.enter();
            Turns::new(compio, kind, event_interval)?
        };
        tokio.spawn(turn::pump());
        Ok(DualRuntime::from_parts(tokio, Rc::new(turns)))
    }
}

impl fmt::Debug for DualBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DualBuilder")
            .field("driver", &self.driver)
            .field("event_interval", &self.event_interval)
            .finish_non_exhaustive()
    }
}
