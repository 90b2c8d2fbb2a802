//! Which backends are up. COPY: the file.

use std::{io, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{
    net::TcpStream,
    select,
    sync::watch,
    time::{sleep, timeout},
};

use crate::{balance::Backend, proxy::Settings};

/// Connects to each backend in each interval, for ever. It takes backends back that the connections themselves
/// have found down, too.
pub(crate) async fn check(mut settings: watch::Receiver<Arc<Settings>>) {
    loop {
        let now = settings.borrow_and_update().clone();
        let backends = now.balance.backends();
        join_all(backends.iter().map(|it| one(it, now.config.connect))).await;
        select! {
            () = sleep(now.config.health.interval) => {}
            // Another interval, other backends.
            Ok(()) = settings.changed() => {}
        }
    }
}

async fn one(backend: &Backend, limit: Duration) {
    match timeout(limit, TcpStream::connect(backend.addr())).await {
        Ok(Ok(_)) => backend.set_up(),
        Ok(Err(error)) => blame(backend, &error),
        Err(late) => backend.set_down(&late),
    }
}

/// What went wrong is the backend's fault, unless it is this machine that lacks something.
pub(crate) fn blame(backend: &Backend, error: &io::Error) {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable,
        TimedOut,
    };

    if let ConnectionAborted | ConnectionRefused | ConnectionReset | HostUnreachable
    | NetworkUnreachable | TimedOut = error.kind()
    {
        backend.set_down(error);
    } else {
        eprintln!("backend {} was not asked: {error}", backend.addr());
    }
}
