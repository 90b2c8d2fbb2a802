//! The front's way to the storage: gRPC over its Unix socket, by tonic on Tokio. COPY: the file.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{deadline::Deadline, proto::storage_client::StorageClient, server::SERVICE};

#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the path of the socket is not UTF-8")]
    Path,
    #[error("not a socket's path: {0}")]
    Endpoint(#[from] tonic::transport::Error),
}

/// Connections to one storage process; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    channels: Vec<Channel>,
    turn: AtomicUsize,
}

impl Link {
    /// Connects when it is first used, and again whenever a connection has ended: until then, every call says
    /// `UNAVAILABLE`, and none waits.
    ///
    /// All calls of a connection are one worker's of the storage, so there should be as many as it has workers.
    pub(crate) fn new(socket: &Path, connections: usize) -> Result<Self, LinkError> {
        let socket = socket.to_str().ok_or(LinkError::Path)?;
        let endpoint = Endpoint::from_shared(format!("unix:{socket}"))?;
        let channels = (0..connections.max(1))
            .map(|_| endpoint.connect_lazy())
            .collect();
        Ok(Self(Arc::new(Inner {
            channels,
            turn: AtomicUsize::new(0),
        })))
    }

    pub(crate) fn storage(&self) -> StorageClient<Channel> {
        StorageClient::new(self.channel())
    }

    fn channel(&self) -> Channel {
        let turn = self.0.turn.fetch_add(1, Relaxed);
        self.0.channels[turn % self.0.channels.len()].clone()
    }

    /// Whether the storage takes calls.
    pub(crate) async fn is_serving(&self, within: Duration) -> Result<bool, Status> {
        let deadline = Deadline::after(within);
        let mut health = HealthClient::new(self.channel());
        let asked = deadline.carry(HealthCheckRequest {
            service: SERVICE.to_owned(),
        });
        let said = call(deadline, health.check(asked)).await?;
        Ok(said.into_inner().status() == ServingStatus::Serving)
    }
}

/// COPY: a call of tonic's client, with codes that can be trusted.
///
/// What the storage says comes as it is. What happens on the way there has a source, and codes of several kinds,
/// `UNKNOWN` for a peer that was killed among them: that is `UNAVAILABLE`. And a client's own timer says `CANCELLED`,
/// and does not run while it connects.
pub(crate) async fn call<T>(
    deadline: Deadline,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    deadline
        .bound(call)
        .await
        .map_err(|status| said(deadline, status))
}

/// As [`call`], for what comes out of a stream.
pub(crate) fn said(deadline: Deadline, status: Status) -> Status {
    if status.code() == Code::Cancelled && deadline.has_passed() {
        Deadline::exceeded()
    } else if std::error::Error::source(&status).is_some() {
        Status::unavailable(format!("the storage is not there: {}", status.message()))
    } else {
        status
    }
}
