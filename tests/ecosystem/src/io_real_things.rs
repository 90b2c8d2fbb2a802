//! Crates for Tokio's traits, as they are, over Compio's sockets.

use crate::io_support::{on_each_driver, pattern};
use crate::support::{socket_pair, watchdog};
use bytes::Bytes;
use compio::net::{TcpListener, TcpStream, UnixStream};
use futures::{SinkExt, StreamExt};
use landbridge::{io::IntoTokioIo, rt::spawn_local};
use tokio_tungstenite::{
    WebSocketStream, accept_async, client_async,
    tungstenite::{Message, protocol::Role},
};
use tokio_util::codec::{Framed, FramedParts, LengthDelimitedCodec, LinesCodec};

type Io = <TcpStream as IntoTokioIo>::Io;

async fn sockets() -> (Io, Io) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (
        client.unwrap().into_tokio_io(),
        server.unwrap().0.into_tokio_io(),
    )
}

fn unix_sockets() -> (
    <UnixStream as IntoTokioIo>::Io,
    <UnixStream as IntoTokioIo>::Io,
) {
    let (one, other) = socket_pair();
    (
        UnixStream::from_std(one).unwrap().into_tokio_io(),
        UnixStream::from_std(other).unwrap().into_tokio_io(),
    )
}

/// A WebSocket is read and written at once, flushes for each message, and closes from both ends.
#[test]
fn a_websocket_echoes_messages_of_every_size_and_closes() {
    let _watchdog = watchdog();
    on_each_driver(|| async {
        let (near, far) = sockets().await;
        let server = spawn_local(async {
            let mut socket = accept_async(far).await.unwrap();
            while let Some(message) = socket.next().await {
                let message = message.unwrap();
                if message.is_text() || message.is_binary() {
                    socket.send(message).await.unwrap();
                }
            }
        });
        let (mut socket, _) = client_async("ws://localhost/", near).await.unwrap();
        for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            let message = Message::binary(pattern(size));
            socket.send(message.clone()).await.unwrap();
            assert!(socket.next().await.unwrap().unwrap() == message);
        }
        socket
            .send(Message::Ping(Bytes::from("there?")))
            .await
            .unwrap();
        let pong = socket.next().await.unwrap().unwrap();
        assert_eq!(pong, Message::Pong(Bytes::from("there?")));
        socket.close(None).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap().is_close());
        assert!(socket.next().await.is_none());
        server.await.unwrap();
    });
}

/// Both ends send before either reads; each half is a task's own.
#[test]
fn the_halves_of_a_websocket_work_from_different_tasks() {
    const MESSAGES: usize = 500;

    let _watchdog = watchdog();
    on_each_driver(|| async {
        let (near, far) = unix_sockets();
        let ends = [(near, Role::Client), (far, Role::Server)].map(|(io, role)| {
            spawn_local(async move {
                let socket = WebSocketStream::from_raw_socket(io, role, None).await;
                let (mut sink, stream) = socket.split();
                let send = spawn_local(async move {
                    for i in 0..MESSAGES {
                        let message = Message::text(format!("{i} {}", "x".repeat(i)));
                        sink.feed(message).await.unwrap();
                    }
                    sink.flush().await.unwrap();
                    sink
                });
                let mut got = stream.take(MESSAGES).enumerate();
                while let Some((i, message)) = got.next().await {
                    let text = message.unwrap().into_text().unwrap();
                    assert!(text.starts_with(&format!("{i} ")));
                }
                drop(send.await.unwrap());
            })
        });
        for end in ends {
            end.await.unwrap();
        }
    });
}

/// Framed reads ahead and writes behind: what it has is still there when the stream is taken back.
#[test]
fn frames_keep_their_bounds_and_the_codec_can_be_changed() {
    let _watchdog = watchdog();
    on_each_driver(|| async {
        let (near, far) = sockets().await;
        let server = spawn_local(async move {
            // Lines first, then frames with their length, as many protocols begin.
            let mut lines = Framed::new(far, LinesCodec::new());
            assert_eq!(lines.next().await.unwrap().unwrap(), "frames, please");
            lines.send("granted").await.unwrap();
            let parts = lines.into_parts();
            let mut changed = FramedParts::new::<Bytes>(parts.io, LengthDelimitedCodec::new());
            changed.read_buf = parts.read_buf;
            changed.write_buf = parts.write_buf;
            let mut frames = Framed::from_parts(changed);
            while let Some(frame) = frames.next().await {
                frames.feed(frame.unwrap().freeze()).await.unwrap();
            }
            SinkExt::<Bytes>::close(&mut frames).await.unwrap();
        });
        let mut lines = Framed::new(near, LinesCodec::new());
        lines.send("frames, please").await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap(), "granted");
        let io = lines.into_inner();
        let mut frames = Framed::new(io, LengthDelimitedCodec::new());
        let sizes = [0, 1, 1000, 8191, 8192, 8193, 300_000];
        for size in sizes {
            frames.send(Bytes::from(pattern(size))).await.unwrap();
        }
        SinkExt::<Bytes>::close(&mut frames).await.unwrap();
        for size in sizes {
            let echoed = frames.next().await.unwrap().unwrap();
            assert!(echoed == pattern(size));
        }
        assert!(frames.next().await.is_none());
        server.await.unwrap();
    });
}
