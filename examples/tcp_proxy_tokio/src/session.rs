//! What has to be said of a connection, however it ends. COPY: the file.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use crate::{
    balance::Lease,
    count::Counted,
    log::{End, Record},
    proxy::Shared,
};

/// A connection from the moment it is accepted. Dropped, it is counted no more and its line is in the log: its task
/// may be cancelled at any `.await`.
#[derive(Debug)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    client: SocketAddr,
    started: Instant,
    end: End,
    lease: Option<Lease>,
    _open: Counted,
}

impl Session {
    pub(crate) fn new(shared: &Arc<Shared>, client: SocketAddr) -> Self {
        Self {
            _open: shared.open.one_more(),
            shared: Arc::clone(shared),
            client,
            started: Instant::now(),
            end: End::CutOff,
            lease: None,
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn goes_to(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    pub(crate) fn ends(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.log.push(Record {
            client: self.client,
            backend: self.lease.as_ref().map(|lease| lease.backend().addr()),
            took: self.started.elapsed(),
            end: self.end,
        });
    }
}
