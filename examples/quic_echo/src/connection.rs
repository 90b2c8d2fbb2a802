//! One connection, its streams and its datagrams. COPY: the file; `echo` and `datagrams` are the service.

use std::{cell::Cell, iter::Sum, net::SocketAddr, rc::Rc};

use bytes::Bytes;
use compio_quic::{
    ClosedStream, Connection, ConnectionError, ReadError, RecvStream, SendDatagramError,
    SendStream, StoppedError, WriteError,
};
use landbridge::{
    channel::mpsc,
    rt::spawn_local,
    time::{Elapsed, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::config::{Limits, code};

/// As much of a stream is taken at a time.
const CHUNK: usize = 64 << 10;
/// What a connection is told when the server drains, on a stream of its own.
pub(crate) const GOODBYE: &[u8] = b"going away\n";

/// What the connections of a worker share.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    /// No more streams.
    pub(crate) drain: CancellationToken,
    /// No more time.
    pub(crate) cut: CancellationToken,
    pub(crate) counters: Counters,
    pub(crate) ended: mpsc::Sender<Ended>,
}

/// A connection that is no more, or came to nothing.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) peer: SocketAddr,
    /// The handshake was done.
    pub(crate) established: bool,
    pub(crate) why: ConnectionError,
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    /// Streams that are open now.
    pub(crate) streams_open: u64,
    pub(crate) accepted: u64,
    /// Of those that were accepted.
    pub(crate) ended: u64,
    /// Of those that have ended: their peers have vanished.
    pub(crate) lost: u64,
    /// Too many of them, or while the server was drained.
    pub(crate) refused: u64,
    /// Had to show that their addresses are their own.
    pub(crate) retried: u64,
    /// Handshakes that came to nothing.
    pub(crate) failed: u64,
    pub(crate) streams: u64,
    pub(crate) streams_failed: u64,
    pub(crate) bytes: u64,
    pub(crate) datagrams: u64,
    /// Datagrams that the client cannot be sent.
    pub(crate) datagrams_dropped: u64,
}

impl Sum for Stats {
    fn sum<I: Iterator<Item = Self>>(stats: I) -> Self {
        stats.fold(Self::default(), |a, b| Self {
            streams_open: a.streams_open + b.streams_open,
            accepted: a.accepted + b.accepted,
            ended: a.ended + b.ended,
            lost: a.lost + b.lost,
            refused: a.refused + b.refused,
            retried: a.retried + b.retried,
            failed: a.failed + b.failed,
            streams: a.streams + b.streams,
            streams_failed: a.streams_failed + b.streams_failed,
            bytes: a.bytes + b.bytes,
            datagrams: a.datagrams + b.datagrams,
            datagrams_dropped: a.datagrams_dropped + b.datagrams_dropped,
        })
    }
}

/// Counted on one thread: no atomics.
#[derive(Default)]
pub(crate) struct Counters(Cell<Stats>);

impl Counters {
    pub(crate) fn get(&self) -> Stats {
        self.0.get()
    }

    pub(crate) fn add(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.0.get();
        change(&mut stats);
        self.0.set(stats);
    }

    pub(crate) fn ended(&self, established: bool, why: &ConnectionError) {
        self.add(|stats| {
            if established {
                stats.ended += 1;
                stats.lost += u64::from(matches!(why, ConnectionError::TimedOut));
            } else {
                stats.failed += 1;
            }
        });
    }
}

/// Why a stream has failed. None of them is the connection's end, except `Lost`.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("the client sent more than it may")]
    TooLarge,
    #[error("it took too long")]
    TooSlow(#[from] Elapsed),
    #[error("reading: {0}")]
    Read(#[from] ReadError),
    #[error("writing: {0}")]
    Write(#[from] WriteError),
    #[error("the client does not want the answer")]
    Stopped,
    #[error("it was closed already")]
    Closed(#[from] ClosedStream),
    #[error("{0}")]
    Lost(#[from] StoppedError),
}

/// Serves until the connection ends, and all that belongs to it; why it did.
///
/// Streams and datagrams are waited for in tasks of their own. compio-quic 0.8.2 keeps a waker for each *poll* of
/// `accept_bi`, `recv_datagram` and their like until one comes: side by side in one task, each wake-up of the one
/// would leave a waker with the other, for ever if the client sends none. And no `closed()` in a `select!`: a
/// `closed()` that is dropped takes the task along that drives the connection.
pub(crate) async fn serve(connection: Connection, shared: &Rc<Shared>) -> ConnectionError {
    let under_way = TaskTracker::new();
    let datagrams = spawn_local(datagrams(connection.clone(), Rc::clone(shared)));
    let streams = accept(connection.clone(), Rc::clone(shared), under_way.clone());
    let mut streams = spawn_local(streams);

    let ended = tokio::select! {
        ended = &mut streams => Some(ended),
        () = shared.drain.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            under_way.close();
            let finish = async {
                tokio::select! {
                    biased;
                    // QUIC has no word for it, so this is the protocol's; HTTP/3 has a frame. A client that leaves no
                    // room for it is not waited for.
                    _ = say_goodbye(&connection) => under_way.wait().await,
                    () = under_way.wait() => {}
                }
            };
            shared.cut.run_until_cancelled(finish).await;
            // Dropping it would not do: while there are streams, compio-quic goes on.
            connection.close(code::GOING_AWAY, b"server ends");
            streams.await
        }
    };
    // Their connection has ended, and so they do.
    under_way.close();
    under_way.wait().await;
    _ = datagrams.await;
    // A task that was cancelled has had no end of its own; then this is cut off, too.
    ended.unwrap_or(ConnectionError::LocallyClosed)
}

async fn say_goodbye(connection: &Connection) -> Result<(), StreamError> {
    // Not `open_uni_wait`: a client that takes no such stream shall not hold this up.
    let Ok(mut stream) = connection.open_uni() else {
        return Ok(());
    };
    stream
        .write_all_chunks(&mut [Bytes::from_static(GOODBYE)])
        .await?;
    Ok(stream.finish()?)
}

async fn accept(
    connection: Connection,
    shared: Rc<Shared>,
    under_way: TaskTracker,
) -> ConnectionError {
    loop {
        match connection.accept_bi().await {
            Ok((mut send, mut recv)) if shared.drain.is_cancelled() => {
                give_up(&mut send, &mut recv, code::GOING_AWAY);
            }
            Ok((send, recv)) => {
                let stream = serve_stream(send, recv, Rc::clone(&shared));
                drop(spawn_local(under_way.track_future(stream)));
            }
            Err(error) => return error,
        }
    }
}

async fn serve_stream(mut send: SendStream, mut recv: RecvStream, shared: Rc<Shared>) {
    let _open = Open::new(&shared.counters);
    let echo = echo(&mut send, &mut recv, &shared);
    let echoed = match timeout(shared.limits.stream_time, echo).await {
        Ok(echoed) => echoed,
        Err(elapsed) => Err(elapsed.into()),
    };
    if let Err(error) = echoed {
        shared.counters.add(|stats| stats.streams_failed += 1);
        match error {
            StreamError::TooLarge => give_up(&mut send, &mut recv, code::TOO_LARGE),
            StreamError::TooSlow(_) => give_up(&mut send, &mut recv, code::TOO_SLOW),
            // The client knows.
            _ => {}
        }
    }
}

/// The service: back it goes, as it comes. Nothing is read before what came earlier could be written.
async fn echo(
    send: &mut SendStream,
    recv: &mut RecvStream,
    shared: &Shared,
) -> Result<(), StreamError> {
    let mut received = 0;
    // Not `read_to_end`: it takes whatever the client sends.
    while let Some(chunk) = recv.read_chunk(CHUNK, true).await? {
        received += chunk.bytes.len() as u64;
        if received > shared.limits.message {
            return Err(StreamError::TooLarge);
        }
        let len = chunk.bytes.len() as u64;
        send.write_all_chunks(&mut [chunk.bytes]).await?;
        shared.counters.add(|stats| stats.bytes += len);
    }
    send.finish()?;
    // Until the client has it all: who closes the connection before takes the rest along.
    match send.stopped().await? {
        None => Ok(()),
        Some(_) => Err(StreamError::Stopped),
    }
}

/// Both directions; the client gets the reason. A stream that has ended already stays as it is.
fn give_up(send: &mut SendStream, recv: &mut RecvStream, code: compio_quic::VarInt) {
    _ = recv.stop(code);
    _ = send.reset(code);
}

/// The other service.
async fn datagrams(connection: Connection, shared: Rc<Shared>) {
    while let Ok(datagram) = connection.recv_datagram().await {
        match connection.send_datagram(datagram) {
            Ok(()) => shared.counters.add(|stats| stats.datagrams += 1),
            Err(SendDatagramError::ConnectionLost(_)) => return,
            // The way to the client may be narrower than the way from it.
            Err(_) => shared.counters.add(|stats| stats.datagrams_dropped += 1),
        }
    }
}

/// A stream that is open, however it ends.
struct Open<'a>(&'a Counters);

impl<'a> Open<'a> {
    fn new(counters: &'a Counters) -> Self {
        counters.add(|stats| {
            stats.streams_open += 1;
            stats.streams += 1;
        });
        Self(counters)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.add(|stats| stats.streams_open -= 1);
    }
}
