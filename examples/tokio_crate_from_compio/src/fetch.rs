//! What the gateway needs reqwest for, and the two ways to it from a Compio task.

use std::time::Duration;

use bytes::Bytes;
use landbridge::{JoinError, TokioHandleExt, context::InTokioExt};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use tokio::runtime::Handle;

/// How long the server may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("not a path: it begins with one `/`")]
    Path,
    #[error("the server says {0}")]
    Status(StatusCode),
    #[error("the server does not answer: {}", root(.0))]
    Server(#[source] reqwest::Error),
    /// Not the request's fault: its task has panicked, or the Tokio runtime is gone.
    #[error("not done on Tokio: {0}")]
    Crossing(#[from] JoinError),
}

/// What is at the bottom of it; the rest says "error sending request".
fn root(error: &reqwest::Error) -> String {
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Fetches objects from an HTTP server. Clones share their connections to it.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    client: Client,
    server: Url,
    tokio: Handle,
}

impl Fetcher {
    /// Needs no context yet: the client's connections are made by its requests.
    pub(crate) fn new(server: Url, tokio: Handle) -> reqwest::Result<Self> {
        let client = Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        Ok(Self {
            client,
            server,
            tokio,
        })
    }

    /// COPY: the request as a task of Tokio's, awaited here. It is `Send` and owns what it needs. Dropping this
    /// future aborts it.
    pub(crate) async fn by_run(&self, path: &str) -> Result<Bytes, FetchError> {
        let request = self.request(path)?;
        // The outer error is the crossing's, the inner one the request's.
        self.tokio.run(body(request)).await?
    }

    /// COPY: the request as a part of this Compio task, in Tokio's context, where it may borrow and need not
    /// be `Send`. The `async` block is what makes it in the context: reqwest starts its timer in `send`.
    ///
    /// reqwest drives its connections in tasks that it starts on Tokio's threads, whoever polls the request.
    pub(crate) async fn in_tokio(&self, path: &str) -> Result<Bytes, FetchError> {
        let request = self.request(path)?;
        async { body(request).await }.in_tokio(&self.tokio).await
    }

    /// On Tokio, as any program for Tokio has it.
    pub(crate) async fn on_tokio(&self, path: &str) -> Result<Bytes, FetchError> {
        body(self.request(path)?).await
    }

    pub(crate) fn tokio(&self) -> &Handle {
        &self.tokio
    }

    fn request(&self, path: &str) -> Result<RequestBuilder, FetchError> {
        // `//host` would be another server.
        if !path.starts_with('/') || path.starts_with("//") || path.contains('\\') {
            return Err(FetchError::Path);
        }
        let url = self.server.join(path).map_err(|_| FetchError::Path)?;
        Ok(self.client.get(url))
    }
}

/// Small objects: a gateway for large ones has `TokioHandleExt::run_stream` around `bytes_stream()`.
async fn body(request: RequestBuilder) -> Result<Bytes, FetchError> {
    let answer = request.send().await.map_err(FetchError::Server)?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    answer.bytes().await.map_err(FetchError::Server)
}
