//! The storage by itself, spoken to by a client that keeps no time of its own.

use std::{future::Future, path::Path, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, channel::mpsc, future::BoxFuture, stream};
use hyper::{
    Request as HttpRequest, Response as HttpResponse, body::Incoming, client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use landbridge::Driver;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::{Code, Request, Status, body::Body};

use crate::{
    deadline::Deadline,
    proto::{
        GetRequest, PutEnd, PutHead, PutRequest, StatRequest, StatusRequest, put_request::Part,
        storage_client::StorageClient,
    },
    server::{Config, Server, ServerError},
};

/// tonic's own client ends a call at its deadline; hyper's connection does not.
#[derive(Clone)]
struct Patient(http2::SendRequest<Body>);

impl tonic::codegen::Service<HttpRequest<Body>> for Patient {
    type Response = HttpResponse<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, hyper::Result<HttpResponse<Incoming>>>;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

type Client = StorageClient<Patient>;

async fn connect(config: &Config) -> Client {
    let socket = UnixStream::connect(&config.socket).await.unwrap();
    let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await;
    let (sender, connection) = shaken.unwrap();
    tokio::spawn(connection);
    StorageClient::with_origin(Patient(sender), "http://localhost".parse().unwrap())
}

/// On each driver, with a server in a directory of its own. A hang is a failure.
async fn everywhere<F: Future>(test: impl Fn(Server, Config, TempDir) -> F) {
    for driver in [Driver::Auto, Driver::Polling] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("socket"), dir.path().join("data"));
        config.driver = driver;
        config.threads = Some(2);
        config.limits.object = 1000;
        let server = Server::start(&config).await.unwrap();
        let done = tokio::time::timeout(Duration::from_secs(30), test(server, config, dir)).await;
        done.expect("it ends");
    }
}

fn part(part: Part) -> PutRequest {
    PutRequest { part: Some(part) }
}

fn head(name: &str) -> PutRequest {
    part(Part::Head(PutHead {
        name: name.to_owned(),
        precondition: None,
    }))
}

fn chunk(length: usize) -> PutRequest {
    part(Part::Chunk(vec![7; length].into()))
}

fn end(length: u64) -> PutRequest {
    part(Part::End(PutEnd { length }))
}

fn files(config: &Config, sub: &str) -> usize {
    let dir: &Path = &config.dir;
    std::fs::read_dir(dir.join(sub)).unwrap().count()
}

async fn status(client: &mut Client) -> crate::proto::StatusReply {
    client.status(StatusRequest {}).await.unwrap().into_inner()
}

/// An upload that goes on: what is held back of it, and its answer to come.
async fn hold(
    client: &Client,
    request: impl FnOnce(mpsc::Receiver<PutRequest>) -> Request<mpsc::Receiver<PutRequest>>,
) -> (
    mpsc::Sender<PutRequest>,
    tokio::task::JoinHandle<Result<(), Status>>,
) {
    let (mut messages, incoming) = mpsc::channel(4);
    messages.send(head("held")).await.unwrap();
    messages.send(chunk(10)).await.unwrap();
    let (request, mut calling) = (request(incoming), client.clone());
    let answer = tokio::spawn(async move { calling.put(request).await.map(drop) });
    let mut asking = client.clone();
    while status(&mut asking).await.in_flight == 0 {}
    (messages, answer)
}

/// The deadline is the storage's business, too: a caller that forgets its call must not hold a place for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_call_over_there() {
    everywhere(async |server, config, _dir| {
        let mut client = connect(&config).await;
        let deadline = Deadline::after(Duration::from_millis(60));
        let (_messages, answer) = hold(&client, |messages| deadline.carry(messages)).await;
        let refused = answer.await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::DeadlineExceeded);
        let said = status(&mut client).await;
        assert_eq!(
            (said.in_flight, said.uploads_undone, said.deadlines_exceeded),
            (0, 1, 1)
        );
        assert_eq!(files(&config, "incoming"), 0);

        let late = Deadline::after(Duration::ZERO).carry(GetRequest {
            name: "none".to_owned(),
        });
        // What is there at once may still be said.
        let code = client.get(late).await.map(drop).unwrap_err().code();
        assert!(matches!(code, Code::DeadlineExceeded | Code::NotFound));
        let mut wrong = Request::new(StatRequest {
            name: "none".to_owned(),
        });
        wrong
            .metadata_mut()
            .insert("grpc-timeout", "soon".parse().unwrap());
        assert_eq!(
            client.stat(wrong).await.unwrap_err().code(),
            Code::InvalidArgument
        );
        drop(client);
        assert!(server.drain(Duration::from_secs(10)).await.unwrap());
    })
    .await;
}

/// A front whose client goes away in mid-body can only end its messages; that must never be an object.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_its_end_is_no_object() {
    everywhere(async |server, config, _dir| {
        let mut client = connect(&config).await;
        let name = || "x".to_owned();
        for (messages, code) in [
            (vec![head("x"), chunk(10)], Code::Aborted),
            (vec![head("x")], Code::Aborted),
            (vec![], Code::InvalidArgument),
            (vec![chunk(10), end(10)], Code::InvalidArgument),
            (vec![head("x"), chunk(10), end(11)], Code::InvalidArgument),
            (vec![head("x"), head("x"), end(0)], Code::InvalidArgument),
            (vec![head("../x"), end(0)], Code::InvalidArgument),
            (
                vec![head("x"), chunk(600), chunk(600), end(1200)],
                Code::OutOfRange,
            ),
        ] {
            let said = format!("{messages:?}");
            let refused = client.put(stream::iter(messages)).await.unwrap_err();
            assert_eq!(refused.code(), code, "{said}: {refused}");
            let there = client.stat(StatRequest { name: name() }).await.unwrap_err();
            assert_eq!(there.code(), Code::NotFound);
            assert_eq!(files(&config, "incoming") + files(&config, "objects"), 0);
        }
        let stored = client
            .put(stream::iter([head("x"), chunk(1000), end(1000)]))
            .await;
        assert!(!stored.unwrap().into_inner().replaced);
        let mut replies = client
            .get(GetRequest { name: name() })
            .await
            .unwrap()
            .into_inner();
        let mut bytes = Bytes::new();
        while let Some(reply) = replies.message().await.unwrap() {
            if let Some(crate::proto::get_reply::Part::Chunk(chunk)) = reply.part {
                bytes = chunk;
            }
        }
        assert_eq!(bytes, vec![7; 1000]);
        drop((client, replies));
        assert!(server.drain(Duration::from_secs(10)).await.unwrap());
    })
    .await;
}

/// However a caller goes away, its upload goes with it, and so does its place.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_with_its_caller() {
    everywhere(async |server, config, _dir| {
        let mut watching = connect(&config).await;
        for (n, whole) in [(1, false), (2, true)] {
            let client = connect(&config).await;
            let (messages, answer) = hold(&client, Request::new).await;
            // The call alone, or the connection with it.
            answer.abort();
            assert!(answer.await.unwrap_err().is_cancelled());
            if whole {
                drop(client);
            }
            loop {
                let said = status(&mut watching).await;
                if (said.uploads_undone, said.in_flight) == (n, 0) {
                    break;
                }
            }
            assert_eq!(files(&config, "incoming"), 0);
            drop(messages);
        }
        drop(watching);
        assert!(server.drain(Duration::from_secs(10)).await.unwrap());
    })
    .await;
}

/// After the grace nobody holds up the end; what was cut off is taken back before it.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_cut_off_and_taken_back() {
    everywhere(async |server, config, _dir| {
        let client = connect(&config).await;
        let (_messages, answer) = hold(&client, Request::new).await;
        assert!(!server.drain(Duration::from_millis(20)).await.unwrap());
        assert!(answer.await.unwrap().is_err());
        assert_eq!(files(&config, "incoming"), 0);
        assert!(!config.socket.exists());
    })
    .await;
}

/// Two processes on one directory would take each other's uploads for left-overs; and a second one that is refused
/// must not take the first one's socket with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_storage_is_refused_and_does_no_harm() {
    everywhere(async |server, config, _dir| {
        let second = Server::start(&config).await.map(drop);
        assert!(matches!(second, Err(ServerError::Open(..))));
        let mut client = connect(&config).await;
        status(&mut client).await;
        drop(client);
        assert!(server.drain(Duration::from_secs(10)).await.unwrap());
        // Nor does a socket that was left behind keep out the next one.
        std::os::unix::net::UnixListener::bind(&config.socket).unwrap();
        let next = Server::start(&config).await.unwrap();
        status(&mut connect(&config).await).await;
        assert!(next.drain(Duration::from_secs(10)).await.unwrap());
    })
    .await;
}
