//! tonic on Compio's threads: a server of its `Routes`, and its client, over hyper's HTTP/2.
//!
//! The messages are plain bytes, so that nothing has to be generated.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    hyper_support::{drive, everywhere, io, sockets},
    plain_codec::Plain,
};
use bytes::Bytes;
use compio::net::{TcpListener, TcpStream};
use futures::{
    Stream, StreamExt,
    channel::mpsc,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use hyper::{Request, Response, Uri, body::Incoming, client::conn::http2, http::uri::PathAndQuery};
use hyper_util::{
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use landbridge::{context::OnThread, hyper::LocalExecutor};
use tonic::{
    Code, Status, Streaming,
    body::Body,
    client::Grpc,
    server::{self, NamedService},
    service::Routes,
    transport::Endpoint,
};
use tower::Service;

/// Shouts what it is told; by hand what tonic's generator would write.
#[derive(Clone)]
struct Shout;

impl NamedService for Shout {
    const NAME: &'static str = "test.Shout";
}

fn shout(message: &Bytes) -> Result<Bytes, Status> {
    if message.is_empty() {
        return Err(Status::invalid_argument("nothing to shout"));
    }
    Ok(message.to_ascii_uppercase().into())
}

impl Service<tonic::Request<Bytes>> for Shout {
    type Response = tonic::Response<Bytes>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        ready(shout(request.get_ref()).map(tonic::Response::new))
    }
}

impl Service<tonic::Request<Streaming<Bytes>>> for Shout {
    type Response = tonic::Response<BoxStream<'static, Result<Bytes, Status>>>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let shouted = request.into_inner().map(|message| shout(&message?)).boxed();
        ready(Ok(tonic::Response::new(shouted)))
    }
}

impl Service<Request<Body>> for Shout {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = server::Grpc::new(Plain);
            Ok(match request.uri().path() {
                "/test.Shout/Once" => grpc.unary(Self, request).await,
                "/test.Shout/Stream" => grpc.streaming(Self, request).await,
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

/// What tonic's client sends its requests through: hyper's connection, which stays on its thread.
#[derive(Clone)]
struct Channel(http2::SendRequest<Body>);

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

async fn connect(socket: TcpStream) -> Grpc<Channel> {
    let shaken = http2::handshake(LocalExecutor, io(socket)).await;
    let (sender, connection) = shaken.unwrap();
    drop(drive(connection));
    let origin = "http://localhost".parse().unwrap();
    Grpc::with_origin(Channel(sender), origin)
}

async fn serve(socket: TcpStream) {
    let routes = Routes::new(Shout).prepare().into_axum_router();
    let builder = auto::Builder::new(LocalExecutor).http2_only();
    let service = TowerToHyperService::new(routes);
    builder.serve_connection(io(socket), service).await.unwrap();
}

async fn once(client: &mut Grpc<Channel>, message: &str) -> Result<Bytes, Status> {
    client.ready().await.unwrap();
    let message = tonic::Request::new(Bytes::from(message.to_owned()));
    let path = PathAndQuery::from_static("/test.Shout/Once");
    let response = client.unary(message, path, Plain).await?;
    Ok(response.into_inner())
}

async fn stream(
    client: &mut Grpc<Channel>,
    messages: impl Stream<Item = Bytes> + Send + 'static,
) -> Streaming<Bytes> {
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Shout/Stream");
    let response = client.streaming(tonic::Request::new(messages), path, Plain);
    response.await.unwrap().into_inner()
}

/// A service's errors travel too, in trailers.
#[test]
fn unary_calls_are_answered_and_refused() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let server = drive(serve(far));
        let mut client = connect(near).await;
        for _ in 0..3 {
            assert_eq!(once(&mut client, "hello").await.unwrap(), "HELLO");
            let refused = once(&mut client, "").await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert_eq!(refused.message(), "nothing to shout");
        }
        let path = PathAndQuery::from_static("/test.Shout/Never");
        client.ready().await.unwrap();
        let request = tonic::Request::new(Bytes::new());
        let unknown = client.unary(request, path, Plain).await.unwrap_err();
        assert_eq!(unknown.code(), Code::Unimplemented);
        drop(client);
        server.await.unwrap();
    });
}

/// Each answer comes before the next question: neither direction waits for the other's end.
#[test]
fn a_bidirectional_stream_goes_back_and_forth() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let server = drive(serve(far));
        let mut client = connect(near).await;
        let (mut ask, questions) = mpsc::channel(1);
        let mut answers = stream(&mut client, questions).await;
        for question in 0..100 {
            let text = format!("question {question}");
            ask.try_send(Bytes::from(text.clone())).unwrap();
            let answer = answers.next().await.unwrap().unwrap();
            assert_eq!(answer, text.to_ascii_uppercase());
        }
        // A call of its own beside it.
        assert_eq!(once(&mut client, "beside").await.unwrap(), "BESIDE");
        ask.try_send(Bytes::new()).unwrap();
        let refused = answers.next().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        drop((ask, answers, client));
        server.await.unwrap();
    });
}

/// Past every window of flow control.
#[test]
fn a_stream_of_large_messages_keeps_their_order() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let server = drive(serve(far));
        let mut client = connect(near).await;
        let message = |i: u8| Bytes::from(vec![b'a' + i % 26; 100_000 + usize::from(i)]);
        let answers = stream(&mut client, stream::iter((0..40).map(message))).await;
        let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
        assert_eq!(answers.len(), 40);
        for (i, answer) in (0..40).zip(answers) {
            assert!(answer == message(i).to_ascii_uppercase());
        }
        drop(client);
        server.await.unwrap();
    });
}

/// tonic's own client asks for `Send` of its connector's future and of the stream; both stay on their thread, and so
/// does what it starts. When its connection has ended it makes another.
#[test]
fn tonics_channel_connects_again_over_sockets_that_stay_on_their_thread() {
    everywhere(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = tower::service_fn(move |_: Uri| {
            OnThread::new(async move {
                let socket = TcpStream::connect(address).await?;
                std::io::Result::Ok(OnThread::new(io(socket)))
            })
        });
        let endpoint = Endpoint::from_static("http://localhost").executor(LocalExecutor);
        let mut client = Grpc::new(endpoint.connect_with_connector_lazy(connect));
        for again in [false, true] {
            let accepting = async {
                let (socket, _) = listener.accept().await.unwrap();
                let routes = Routes::new(Shout).prepare().into_axum_router();
                let builder = auto::Builder::new(LocalExecutor).http2_only();
                let service = TowerToHyperService::new(routes);
                let connection = builder.serve_connection(io(socket), service);
                let graceful = GracefulShutdown::new();
                let served = drive(graceful.watch(connection.into_owned()));
                (served, graceful)
            };
            let asking = async {
                loop {
                    client.ready().await.unwrap();
                    let message = tonic::Request::new(Bytes::from("hello"));
                    let path = PathAndQuery::from_static("/test.Shout/Once");
                    match client.unary(message, path, Plain).await {
                        Ok(answer) => break answer,
                        // It had not heard yet that its connection has ended.
                        Err(status) => assert!(again, "{status}"),
                    }
                }
            };
            let ((served, graceful), answer) = tokio::join!(accepting, asking);
            assert_eq!(answer.into_inner(), "HELLO");
            graceful.shutdown().await;
            served.await.unwrap().unwrap();
        }
    });
}
