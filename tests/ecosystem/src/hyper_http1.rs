//! hyper's HTTP/1, both sides of it on a Compio thread, over Compio's sockets.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use crate::hyper_support::{collect, drive, echo, everywhere, get, io, say_path, sockets};
use crate::io_support::pattern;
use bytes::Bytes;
use compio::net::TcpStream;
use futures::{StreamExt, channel::mpsc, future::poll_fn};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Frame, Incoming},
    client::conn::http1 as client,
    server::conn::http1 as server,
    service::service_fn,
};
use landbridge::{hyper::CompioTimer, io::IntoTokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn connect(socket: TcpStream) -> client::SendRequest<Full<Bytes>> {
    let (sender, connection) = client::handshake(io(socket)).await.unwrap();
    drop(drive(connection));
    sender
}

/// The service is not `Send`: nothing of the server leaves its thread.
#[test]
fn one_connection_serves_one_request_after_the_other() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let served = Rc::new(Cell::new(0));
        let count = Rc::clone(&served);
        let service = service_fn(move |request| {
            count.set(count.get() + 1);
            say_path(request)
        });
        let server = drive(server::Builder::new().serve_connection(io(far), service));
        let mut client = connect(near).await;
        for request in 1..=20 {
            client.ready().await.unwrap();
            let path = format!("/{request}");
            let response = client.send_request(get(&path)).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(collect(response).await, path);
            assert_eq!(served.get(), request);
        }
        drop(client);
        server.await.unwrap().unwrap();
    });
}

/// Requests that are there already are answered in their order, however they are cut.
#[test]
fn pipelined_requests_are_answered_in_order() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let mut builder = server::Builder::new();
        builder.pipeline_flush(true);
        let server = drive(builder.serve_connection(io(far), service_fn(say_path)));
        let mut client = near.into_tokio_io();
        let mut requests = String::new();
        for request in 0..50 {
            requests += &format!("GET /{request} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        }
        requests += "GET /last HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        // In two pieces, cut within a request.
        let (first, second) = requests.as_bytes().split_at(1000);
        client.write_all(first).await.unwrap();
        crate::io_support::settle().await;
        client.write_all(second).await.unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        let said: Vec<_> = answers
            .lines()
            .filter(|line| line.starts_with('/'))
            .collect();
        // A body has no line's end; the next status line follows it.
        let mut expected: Vec<_> = (0..50).map(|i| format!("/{i}HTTP/1.1 200 OK")).collect();
        expected.push("/last".to_owned());
        assert_eq!(said, expected);
        server.await.unwrap().unwrap();
    });
}

/// Both directions are full at once: whoever waits for one must not stop the other.
#[test]
fn a_large_body_is_echoed_while_it_is_sent() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let server = drive(server::Builder::new().serve_connection(io(far), service_fn(echo)));
        let (mut client, connection) = client::handshake(io(near)).await.unwrap();
        drop(drive(connection));

        let sent = Bytes::from(pattern(4 << 20));
        let body = sent.clone();
        let pieces = futures::stream::iter((0..64).map(move |i| {
            let piece = body.slice(i << 16..(i + 1) << 16);
            Ok::<_, Infallible>(Frame::data(piece))
        }));
        let request = Request::post("/").header("host", "localhost");
        let request = request.body(StreamBody::new(pieces)).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert!(collect(response).await == sent);
        drop(client);
        server.await.unwrap().unwrap();
    });
}

/// A response whose body comes bit by bit reaches the client bit by bit.
#[test]
fn each_piece_of_a_body_arrives_before_the_next_is_made() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let (mut pieces, body) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
        let body = RefCell::new(Some(StreamBody::new(body)));
        let service = service_fn(move |_: Request<Incoming>| {
            let body = body.take().expect("one request");
            async { Ok::<_, Infallible>(Response::new(body)) }
        });
        drop(drive(
            server::Builder::new().serve_connection(io(far), service),
        ));
        let mut client = connect(near).await;
        let mut response = client.send_request(get("/")).await.unwrap();
        for piece in ["one", "two", "three"] {
            let frame = Frame::data(Bytes::from(piece));
            pieces.try_send(Ok(frame)).unwrap();
            let frame = response.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece);
        }
        drop(pieces);
        assert!(response.frame().await.is_none());
    });
}

/// Without `Send` there is no `with_upgrades` (and with it, see `hyper_on_thread.rs`); the stream is taken back
/// from the connection instead.
#[test]
fn both_sides_get_their_stream_back_for_another_protocol() {
    async fn switch(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "shout");
        Ok(response.body(Full::default()).unwrap())
    }

    everywhere(|| async {
        let (near, far) = sockets().await;
        let server = drive(async move {
            let connection = server::Builder::new().serve_connection(io(far), service_fn(switch));
            let parts = connection.without_shutdown().await.unwrap();
            // What the client said too early is not lost.
            let mut text = parts.read_buf.to_vec();
            let mut stream = parts.io.into_inner();
            stream.read_to_end(&mut text).await.unwrap();
            text.make_ascii_uppercase();
            stream.write_all(&text).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let (mut sender, connection) = client::handshake(io(near)).await.unwrap();
        let connection = drive(connection.without_shutdown());
        let mut request = get("/");
        let headers = request.headers_mut();
        headers.insert("connection", "upgrade".parse().unwrap());
        headers.insert("upgrade", "shout".parse().unwrap());
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        drop(response);
        let parts = connection.await.unwrap().unwrap();
        assert!(parts.read_buf.is_empty());
        let mut stream = parts.io.into_inner();
        stream.write_all(b"over the bridge").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "OVER THE BRIDGE");
        server.await.unwrap();
    });
}

/// The timer's reason to be: a client that says nothing more holds a connection for ever.
#[test]
fn a_client_that_never_finishes_its_headers_is_cut_off() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let mut builder = server::Builder::new();
        builder
            .timer(CompioTimer)
            .header_read_timeout(Duration::from_millis(20));
        let server = drive(builder.serve_connection(io(far), service_fn(say_path)));
        let mut client = near.into_tokio_io();
        // One request in time, so that the sleep is set more than once.
        let request = b"GET /first HTTP/1.1\r\nhost: localhost\r\n\r\nGET /second HTT";
        client.write_all(request).await.unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        assert!(answers.contains("/first"), "{answers}");
        assert!(!answers.contains("/second"), "{answers}");
        let error = server.await.unwrap().unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
    });
}

/// The timeout is for headers: a body and its response may take their time.
#[test]
fn a_request_that_is_being_served_outlives_the_header_timeout() {
    everywhere(|| async {
        const TIMEOUT: Duration = Duration::from_millis(10);

        let (near, far) = sockets().await;
        let mut builder = server::Builder::new();
        builder.timer(CompioTimer).header_read_timeout(TIMEOUT);
        let service = service_fn(async |request| {
            compio::time::sleep(3 * TIMEOUT).await;
            say_path(request).await
        });
        drop(drive(builder.serve_connection(io(far), service)));
        let mut client = connect(near).await;
        let response = client.send_request(get("/slow")).await.unwrap();
        assert_eq!(collect(response).await, "/slow");
    });
}

/// What a deployment does: the request under way is answered, then the connection ends.
#[test]
fn a_graceful_shutdown_lets_the_request_under_way_finish() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let (arrived, mut arrivals) = mpsc::unbounded();
        let (go_on, may_go_on) = futures::channel::oneshot::channel::<()>();
        let may_go_on = RefCell::new(Some(may_go_on));
        let service = service_fn(move |request| {
            let may_go_on = may_go_on.take().expect("one request");
            let arrived = arrived.clone();
            async move {
                arrived.unbounded_send(()).unwrap();
                may_go_on.await.unwrap();
                say_path(request).await
            }
        });
        let (shut_down, is_shut_down) = futures::channel::oneshot::channel::<()>();
        let server = drive(async move {
            let connection = server::Builder::new().serve_connection(io(far), service);
            let mut connection = pin!(connection);
            let mut is_shut_down = pin!(is_shut_down);
            let mut told = false;
            poll_fn(|cx| {
                if !told && is_shut_down.as_mut().poll(cx).is_ready() {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
                connection.as_mut().poll(cx)
            })
            .await
        });
        let mut client = connect(near).await;
        let response = drive(client.send_request(get("/last")));
        arrivals.next().await.unwrap();
        shut_down.send(()).unwrap();
        crate::io_support::settle().await;
        assert!(!server.is_finished());
        go_on.send(()).unwrap();
        let response = response.await.unwrap().unwrap();
        assert_eq!(response.headers()["connection"], "close");
        assert_eq!(collect(response).await, "/last");
        server.await.unwrap().unwrap();
        assert!(client.ready().await.is_err());
    });
}

/// A request whose client goes away is dropped, not served to nobody for ever.
#[test]
fn a_client_that_goes_away_ends_the_request_that_it_made() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let (dropped, mut is_dropped) = mpsc::unbounded();
        let service = service_fn(move |_: Request<Incoming>| {
            let dropped = dropped.clone();
            let guard = crate::support::OnDrop::new(move || dropped.unbounded_send(()).unwrap());
            async move {
                let _guard = guard;
                std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
            }
        });
        let server = drive(server::Builder::new().serve_connection(io(far), service));
        let mut client = near.into_tokio_io();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        crate::io_support::settle().await;
        drop(client);
        is_dropped.next().await.unwrap();
        assert!(server.await.unwrap().is_err());
    });
}
