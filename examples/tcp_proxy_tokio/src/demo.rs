//! What the suite asks of a proxy, answered by this one. Nothing in here is for copying.

use std::{io::Write, net::SocketAddr, path::Path};

use tcp_proxy_suite::{self as suite, Plan, Subject};

use crate::{
    Error,
    config::Config,
    proxy::{Proxy, Status},
};

/// Runs everything; the last line that it writes is `ok: ...`.
pub(crate) async fn run(plan: Plan, out: &mut (impl Write + Send)) -> Result<(), Error> {
    suite::demonstrate::<Proxy>(plan, out).await
}

impl Subject for Proxy {
    async fn start(file: &Path) -> Result<Self, Error> {
        Ok(Self::start(Config::read(file)?).await?)
    }

    fn addr(&self) -> SocketAddr {
        self.addr()
    }

    fn status(&self) -> suite::Status {
        self.status().into()
    }

    fn reload(&self, file: &Path) -> Result<(), Error> {
        Ok(self.reload(file)?)
    }

    async fn reload_on_hangup(&self, file: &Path, ready: impl FnOnce() + Send) {
        match self.reload_on_hangup(file) {
            Ok(reloads) => {
                ready();
                reloads.await;
            }
            Err(error) => eprintln!("no signals: {error}"),
        }
    }

    async fn stop(self) -> suite::Stopped {
        let stopped = self.stop().await;
        suite::Stopped {
            cut_off: stopped.cut_off,
            status: stopped.status.into(),
        }
    }
}

impl From<Status> for suite::Status {
    fn from(status: Status) -> Self {
        let backend = |it: &crate::proxy::BackendStatus| suite::BackendStatus {
            addr: it.addr,
            open: it.open,
            up: it.up,
        };
        Self {
            open: status.open,
            backends: status.backends.iter().map(backend).collect(),
        }
    }
}
