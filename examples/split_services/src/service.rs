//! The storage as gRPC speaks it, on Compio. COPY: the shape of `put` and `get`.
//!
//! tonic asks for futures and streams that are `Send`. Those that work on Compio's files are not; but nobody sends
//! them: the connection's tasks are all on its worker. [`OnThread`] is what says so.

use std::{
    future::Future,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use landbridge::{context::OnThread, rt::spawn_local};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    deadline::Deadline,
    proto::{
        self, DeleteReply, DeleteRequest, GetReply, GetRequest, PutHead, PutReply, PutRequest,
        StatRequest, StatusReply, StatusRequest, get_reply, precondition::Must as WireMust,
        put_request::Part, storage_server::Storage,
    },
    store::{Meta, Must, Name, Object, Store, StoreError, Upload},
};

/// How much is read from a file, and sent, at once.
const CHUNK: usize = 256 * 1024;
/// When a caller that was refused may come again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One service for all workers: each call works on the worker that has its connection.
#[derive(Clone)]
pub(crate) struct Service {
    store: Arc<Store>,
    shared: Arc<Shared>,
}

struct Shared {
    driver: String,
    deadlines: AtomicU64,
    connections: Vec<AtomicU64>,
}

impl Shared {
    fn count<T>(&self, done: &Result<T, Status>) {
        if matches!(done, Err(status) if status.code() == Code::DeadlineExceeded) {
            self.deadlines.fetch_add(1, Relaxed);
        }
    }
}

impl Service {
    pub(crate) fn new(store: Store, driver: String, workers: usize) -> Self {
        Self {
            store: Arc::new(store),
            shared: Arc::new(Shared {
                driver,
                deadlines: AtomicU64::new(0),
                connections: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            }),
        }
    }

    pub(crate) fn has_connection(&self, worker: usize) {
        if let Some(connections) = self.shared.connections.get(worker) {
            connections.fetch_add(1, Relaxed);
        }
    }

    /// Every call comes through here: it stays on this thread, and ends at its deadline.
    fn call<T: 'static, F>(
        &self,
        deadline: Deadline,
        work: F,
    ) -> impl Future<Output = Result<T, Status>> + Send + use<T, F>
    where
        F: Future<Output = Result<T, Status>> + 'static,
    {
        let shared = Arc::clone(&self.shared);
        OnThread::new(async move {
            let done = deadline.bound(work).await;
            shared.count(&done);
            done
        })
    }

    /// COPY: a stream in. The job is a task of its own: tonic drops a call whose caller has gone, and an upload is to
    /// be taken back then, or, if it is being given its name, to come to its end.
    async fn upload(
        self,
        messages: Streaming<PutRequest>,
        deadline: Deadline,
    ) -> Result<PutReply, Status> {
        let job = spawn_local(async move {
            let permit = self.store.begin()?;
            let taken = self.store.receive(messages, deadline).await;
            drop(permit);
            self.shared.count(&taken);
            taken
        });
        job.await
            .unwrap_or_else(|error| Err(Status::internal(error.to_string())))
    }
}

impl Store {
    async fn receive(
        self: &Arc<Self>,
        mut messages: Streaming<PutRequest>,
        deadline: Deadline,
    ) -> Result<PutReply, Status> {
        let (name, must) = match deadline
            .bound(messages.message())
            .await?
            .and_then(|m| m.part)
        {
            Some(Part::Head(PutHead { name, precondition })) => {
                (Name::from_str(&name)?, must(precondition))
            }
            _ => return Err(Status::invalid_argument("the head comes first")),
        };
        self.check(&name, must).await?;
        let mut upload = self.upload().await?;
        // What waits for the disk is not dropped in mid-write: so the deadline is for the waiting, and is looked at
        // between the writes.
        match fill(&mut upload, &mut messages, deadline).await {
            Ok(()) => {
                let (meta, replaced) = upload.commit(&name, must).await?;
                Ok(PutReply {
                    meta: Some(meta.into()),
                    replaced,
                })
            }
            Err(status) => {
                upload.undo().await;
                Err(status)
            }
        }
    }
}

async fn fill(
    upload: &mut Upload,
    messages: &mut Streaming<PutRequest>,
    deadline: Deadline,
) -> Result<(), Status> {
    loop {
        if deadline.has_passed() {
            return Err(Deadline::exceeded());
        }
        match deadline.bound(messages.message()).await?.map(|m| m.part) {
            Some(Some(Part::Chunk(chunk))) => upload.write(chunk).await?,
            Some(Some(Part::End(end))) if end.length == upload.length() => return Ok(()),
            Some(_) => return Err(Status::invalid_argument("chunks, then their sum")),
            None => return Err(Status::aborted("the upload was broken off")),
        }
    }
}

#[tonic::async_trait]
impl Storage for Service {
    async fn put(
        &self,
        request: Request<Streaming<PutRequest>>,
    ) -> Result<Response<PutReply>, Status> {
        let deadline = Deadline::of(request.metadata())?;
        // The job knows its deadline itself.
        let job = self.clone().upload(request.into_inner(), deadline);
        OnThread::new(job).await.map(Response::new)
    }

    type GetStream = BoxStream<'static, Result<GetReply, Status>>;

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let deadline = Deadline::of(request.metadata())?;
        let Self { store, shared } = self.clone();
        let opened = async move {
            let permit = store.begin()?;
            let name = Name::from_str(&request.into_inner().name)?;
            let object = store.get(&name).await?;
            let head = GetReply {
                part: Some(get_reply::Part::Head(object.meta.into())),
            };
            // COPY: a stream out: a chunk is read when the one before has gone, for as long as the deadline lets it.
            let chunks = stream::try_unfold((object, permit), move |(mut object, permit)| {
                let shared = Arc::clone(&shared);
                async move {
                    let chunk = deadline.bound(next(&mut object)).await;
                    shared.count(&chunk);
                    Ok(chunk?.map(|chunk| (chunk, (object, permit))))
                }
            });
            let replies = stream::iter([Ok(head)]).chain(chunks);
            Ok(OnThread::new(replies).boxed())
        };
        self.call(deadline, opened).await.map(Response::new)
    }

    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<proto::Meta>, Status> {
        let deadline = Deadline::of(request.metadata())?;
        let store = Arc::clone(&self.store);
        let asked = async move {
            let _permit = store.begin()?;
            let name = Name::from_str(&request.into_inner().name)?;
            Ok(store.stat(&name).await?.into())
        };
        self.call(deadline, asked).await.map(Response::new)
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteReply>, Status> {
        let deadline = Deadline::of(request.metadata())?;
        let store = Arc::clone(&self.store);
        // What has begun to change the disk goes on, whether the caller waits for it or not.
        let job = spawn_local(async move {
            let _permit = store.begin()?;
            let DeleteRequest { name, precondition } = request.into_inner();
            store
                .delete(&Name::from_str(&name)?, must(precondition))
                .await?;
            Ok(DeleteReply {})
        });
        let job = async move {
            job.await
                .unwrap_or_else(|error| Err(Status::internal(error.to_string())))
        };
        self.call(deadline, job).await.map(Response::new)
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let Self { store, shared } = self;
        Ok(Response::new(StatusReply {
            driver: shared.driver.clone(),
            in_flight: store.in_flight() as u64,
            uploads_undone: store.undone.load(Relaxed),
            deadlines_exceeded: shared.deadlines.load(Relaxed),
            connections: shared
                .connections
                .iter()
                .map(|count| count.load(Relaxed))
                .collect(),
        }))
    }
}

async fn next(object: &mut Object) -> Result<Option<GetReply>, Status> {
    let chunk = object.next(CHUNK).await?;
    Ok((!chunk.is_empty()).then_some(GetReply {
        part: Some(get_reply::Part::Chunk(chunk)),
    }))
}

fn must(precondition: Option<proto::Precondition>) -> Must {
    match precondition.and_then(|precondition| precondition.must) {
        None => Must::Anything,
        Some(WireMust::BeGeneration(generation)) => Must::Be(generation),
        Some(WireMust::Exist(_)) => Must::Exist,
        Some(WireMust::NotExist(_)) => Must::NotExist,
    }
}

impl From<Meta> for proto::Meta {
    fn from(Meta { length, generation }: Meta) -> Self {
        Self { length, generation }
    }
}

/// COPY: the one place where what goes wrong in the storage becomes a code. `storage.proto` lists them.
impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        let said = error.to_string();
        let code = match error {
            StoreError::Name => Code::InvalidArgument,
            StoreError::NotFound => Code::NotFound,
            StoreError::Precondition => Code::FailedPrecondition,
            StoreError::TooLarge { .. } => Code::OutOfRange,
            StoreError::Damaged => Code::DataLoss,
            StoreError::Io(_) => Code::Internal,
            StoreError::Busy | StoreError::Full => {
                let later = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
                return Self::with_error_details(Code::ResourceExhausted, said, later);
            }
        };
        Self::new(code, said)
    }
}
