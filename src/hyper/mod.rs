//! What hyper asks of a runtime, on Compio.

mod executor;
mod timer;

pub use executor::LocalExecutor;
pub use timer::CompioTimer;
