//! What the two TCP proxies promise, checked from outside: through sockets, the configuration file and the access
//! log. Both pass the same checks, which is the proof that the move from Tokio to Compio has changed nothing.

mod backend;
pub mod checks;
mod demo;
mod fleet;

use std::{future::Future, net::SocketAddr, path::Path, time::Duration};

pub use demo::{Plan, demonstrate};

/// What any of it may fail with.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A proxy, as far as the suite knows it.
#[expect(async_fn_in_trait, reason = "for two programs, on one task each")]
pub trait Subject: Sized {
    /// One that serves by that file.
    async fn start(file: &Path) -> Result<Self, Error>;

    /// Where it listens.
    fn addr(&self) -> SocketAddr;

    /// What it says of itself.
    fn status(&self) -> Status;

    /// Has it read that file.
    ///
    /// # Errors
    ///
    /// Why everything stays as it was.
    fn reload(&self, file: &Path) -> Result<(), Error>;

    /// Has it read that file at each SIGHUP, from when it calls `ready`.
    async fn reload_on_hangup(&self, file: &Path, ready: impl FnOnce() + Send);

    /// Ends it.
    async fn stop(self) -> Stopped;
}

/// What a proxy says of itself.
#[derive(Clone, Debug)]
pub struct Status {
    /// Connections of clients.
    pub open: usize,
    /// In the configuration's order.
    pub backends: Vec<BackendStatus>,
}

/// What a proxy says of a backend.
#[derive(Clone, Copy, Debug)]
pub struct BackendStatus {
    /// Where it is.
    pub addr: SocketAddr,
    /// Connections to it.
    pub open: usize,
    /// Whether it is given any.
    pub up: bool,
}

/// How a proxy ended.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Connections that took too long.
    pub cut_off: usize,
    /// After that.
    pub status: Status,
}

/// What may hang is given up after a minute: far more than any check takes.
///
/// # Panics
///
/// Then.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), work).await {
        Ok(done) => done,
        Err(_) => panic!("it hangs"),
    }
}

/// Gives `$then` the subject and the names of all checks.
#[macro_export]
#[doc(hidden)]
macro_rules! each_check {
    ($($then:ident)::+, $subject:ty) => {
        $($then)::+! {
            $subject:
            weights_are_honoured,
            a_backend_that_is_down_gets_nothing_and_comes_back,
            a_dead_backend_costs_no_connection,
            without_a_backend_the_client_is_reset,
            connections_above_the_limit_wait_their_turn,
            a_client_that_has_ended_is_still_answered_in_full,
            what_was_sent_arrives_though_the_proxy_is_done,
            a_backend_that_has_ended_is_still_sent_everything,
            a_reset_is_passed_on_as_a_reset,
            counts_are_right_after_resets,
            a_reload_changes_what_comes_and_not_what_is_there,
            a_reload_changes_the_limit,
            sighup_reads_the_file_again,
            a_wrong_configuration_is_refused_by_its_line,
            a_wrong_reload_leaves_everything_as_it_was,
            shutdown_lets_connections_finish,
            shutdown_cuts_off_what_takes_too_long_and_counts_it,
            the_log_is_written_when_it_has_enough_lines,
            the_log_is_written_after_its_delay_though_nothing_more_comes,
            what_is_left_of_the_log_is_written_at_the_end,
        }
    };
}

/// A test for each check.
#[macro_export]
macro_rules! tests {
    ($subject:ty) => {
        $crate::each_check! { tcp_proxy_suite::tests, $subject }
    };
    ($subject:ty: $($check:ident,)*) => {
        $(
            #[doc = concat!("`tcp_proxy_suite::checks::", stringify!($check), "` says why.")]
            #[tokio::test(flavor = "multi_thread")]
            async fn $check() {
                $crate::within($crate::checks::$check::<$subject>()).await;
            }
        )*
    };
}
