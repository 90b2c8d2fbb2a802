//! One connection: requests in, answers out, in their order. COPY: the file.
//!
//! It reads, asks for everything that has come (that is the pipelining), and answers, before it reads again: a
//! client that sends faster than it is served finds that its socket is full. So what a connection holds is bounded
//! without anybody counting: its buffer, and [`PIPELINE`] answers.

use std::{
    io,
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use compio::{
    BufResult,
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use landbridge::time::timeout;
use redis_protocol::resp2::types::BytesFrame;
use tokio_util::sync::CancellationToken;

use crate::{
    command::{Command, CommandError, Merge, simple},
    resp,
    shard::Outcome,
    worker::{Pending, Router},
};

/// Requests that are under way at once.
const PIPELINE: usize = 256;
/// Room for a read.
const READ: usize = 16 << 10;
/// Answers are sent when there are so many bytes of them.
const FLUSH: usize = 64 << 10;
/// A larger buffer is not kept while a client has nothing to ask.
const LARGE: usize = 2 * FLUSH;
/// How long a client may take for the rest of a request, and to take its answers.
pub(crate) const STALL: Duration = Duration::from_secs(10);
/// How long, and for how many bytes, what a client has sent is read after the last answer. To close before would be
/// a reset, which takes the answer away.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_READS: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the client stopped in the midst of a request, or takes no answers")]
    Stalled,
    #[error("an answer: {0}")]
    Coding(#[from] redis_protocol::error::RedisProtocolError),
}

type Result<T, E = ConnectionError> = std::result::Result<T, E>;

/// An answer whose turn has not come.
enum Answer {
    Ready(BytesFrame),
    One(Pending),
    Many(Vec<Pending>, Merge),
}

pub(crate) struct Connection {
    socket: TcpStream,
    router: Rc<Router>,
    stall: Duration,
    input: BytesMut,
    output: BytesMut,
    /// Since when there is a part of a request in `input`.
    begun: Option<Instant>,
    /// `input` has had room for more than usual.
    grown: bool,
}

impl Connection {
    pub(crate) fn new(socket: TcpStream, router: Rc<Router>, stall: Duration) -> Self {
        Self {
            socket,
            router,
            stall,
            input: BytesMut::new(),
            output: BytesMut::new(),
            begun: None,
            grown: false,
        }
    }

    /// Until the client ends it, or breaks the protocol, or `drain`: what has been read by then is answered.
    pub(crate) async fn serve(mut self, drain: CancellationToken) -> Result<()> {
        let mut batch = Vec::new();
        loop {
            let last = self.ask(&mut batch).await;
            let asked = !batch.is_empty();
            for answer in batch.drain(..) {
                match self.answer(answer).await {
                    // One by one: together they may be a thousand times as much as the longest value.
                    BytesFrame::Array(parts) => {
                        resp::push_array(&mut self.output, parts.len());
                        for part in parts {
                            self.push(&part).await?;
                        }
                    }
                    answer => self.push(&answer).await?,
                }
            }
            self.send().await?;
            if last {
                return self.close().await;
            }
            if asked {
                self.begun = None;
            } else {
                // Less than a whole request is left.
                match drain.run_until_cancelled(self.read()).await {
                    Some(Ok(0)) => return Ok(()),
                    Some(read) => _ = read?,
                    None => return self.close().await,
                }
            }
        }
    }

    async fn push(&mut self, answer: &BytesFrame) -> Result<()> {
        resp::push(&mut self.output, answer)?;
        if self.output.len() >= FLUSH {
            self.send().await?;
        }
        Ok(())
    }

    /// Turned away, with a reason.
    pub(crate) async fn refuse(mut self, reason: &str) -> Result<()> {
        resp::push(&mut self.output, &BytesFrame::Error(reason.into()))?;
        self.send().await?;
        self.close().await
    }

    /// Asks for what has come, and says whether that was the last of it.
    async fn ask(&mut self, batch: &mut Vec<Answer>) -> bool {
        while batch.len() < PIPELINE {
            let arguments = match resp::next(&mut self.input) {
                Ok(Some(arguments)) => arguments,
                Ok(None) => return false,
                Err(error) => {
                    let text = format!("ERR Protocol error: {error}");
                    batch.push(Answer::Ready(BytesFrame::Error(text.into())));
                    return true;
                }
            };
            // Nothing was asked for.
            if arguments.is_empty() {
                continue;
            }
            self.router.home().stats().commands.fetch_add(1, Relaxed);
            let answer = match Command::parse(arguments) {
                Ok(Command::One(key, op)) => Answer::One(self.router.ask(key, op).await),
                Ok(Command::Many(keys, merge)) => {
                    let mut pending = Vec::with_capacity(keys.len());
                    for (key, op) in keys {
                        pending.push(self.router.ask(key, op).await);
                    }
                    Answer::Many(pending, merge)
                }
                Ok(Command::Say(frame)) => Answer::Ready(frame),
                Ok(Command::Info) => Answer::Ready(BytesFrame::BulkString(self.info().into())),
                Ok(Command::Size) => {
                    Answer::Ready(BytesFrame::Integer(self.sum(|stats| &stats.keys) as i64))
                }
                Ok(Command::Quit) => {
                    batch.push(Answer::Ready(simple("OK")));
                    return true;
                }
                Err(error) => {
                    let last = error == CommandError::Http;
                    let error = Answer::Ready(BytesFrame::Error(error.to_string().into()));
                    if last {
                        batch.push(error);
                        return true;
                    }
                    error
                }
            };
            batch.push(answer);
        }
        false
    }

    async fn answer(&self, answer: Answer) -> BytesFrame {
        match answer {
            Answer::Ready(frame) => frame,
            Answer::One(pending) => frame(pending.outcome().await),
            Answer::Many(pending, merge) => {
                let (mut list, mut sum) = (Vec::new(), 0);
                for pending in pending {
                    match (pending.outcome().await, merge) {
                        (Outcome::Refused(refusal), _) => {
                            return BytesFrame::Error(refusal.to_string().into());
                        }
                        (Outcome::Number(number), Merge::Sum) => sum += number,
                        (outcome, Merge::List) => list.push(frame(outcome)),
                        (_, Merge::Done | Merge::Sum) => {}
                    }
                }
                match merge {
                    Merge::List => BytesFrame::Array(list),
                    Merge::Sum => BytesFrame::Integer(sum),
                    Merge::Done => simple("OK"),
                }
            }
        }
    }

    async fn read(&mut self) -> Result<usize> {
        let mut input = std::mem::take(&mut self.input);
        let partial = !input.is_empty();
        // Who sent one long request and is idle now keeps no memory for the next one.
        if !partial && std::mem::take(&mut self.grown) {
            input = BytesMut::new();
        }
        input.reserve(READ);
        let mut socket = &self.socket;
        let read = socket.append(input);
        let BufResult(read, input) = if partial {
            // For all of the rest: a byte now and then does not hold a buffer for ever.
            let begun = *self.begun.get_or_insert_with(Instant::now);
            let left = self.stall.saturating_sub(begun.elapsed());
            let read = timeout(left, read).await;
            read.map_err(|_| ConnectionError::Stalled)?
        } else {
            read.await
        };
        self.grown |= input.len() > LARGE;
        self.input = input;
        Ok(read?)
    }

    async fn send(&mut self) -> Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let mut socket = &self.socket;
        let output = std::mem::take(&mut self.output);
        let sent = timeout(self.stall, socket.write_all(output)).await;
        let BufResult(sent, mut output) = sent.map_err(|_| ConnectionError::Stalled)?;
        sent?;
        if output.capacity() <= LARGE {
            output.clear();
            self.output = output;
        }
        Ok(())
    }

    async fn close(self) -> Result<()> {
        let mut socket = &self.socket;
        socket.shutdown().await?;
        let rest = async {
            let mut buffer = self.input;
            for _ in 0..LINGER_READS {
                buffer.clear();
                buffer.reserve(READ);
                let BufResult(read, back) = socket.read(buffer).await;
                buffer = back;
                if read? == 0 {
                    break;
                }
            }
            Ok(())
        };
        // Who goes on sending for ever is not waited for.
        timeout(LINGER, rest).await.unwrap_or(Ok(()))
    }

    fn sum(&self, of: fn(&crate::worker::Stats) -> &std::sync::atomic::AtomicU64) -> u64 {
        let stats = self.router.home().all_stats();
        stats.iter().map(|stats| of(stats).load(Relaxed)).sum()
    }

    fn info(&self) -> String {
        let mut text = String::from("# Server\r\nredis_mode:standalone\r\n");
        text += &format!("shards:{}\r\n", self.router.home().all_stats().len());
        for (name, figure) in [
            ("keys", self.sum(|stats| &stats.keys)),
            ("connected_clients", self.sum(|stats| &stats.connections)),
            (
                "total_commands_processed",
                self.sum(|stats| &stats.commands),
            ),
            ("forwarded", self.sum(|stats| &stats.forwarded)),
            ("log_records", self.sum(|stats| &stats.records)),
            ("log_syncs", self.sum(|stats| &stats.syncs)),
        ] {
            text += &format!("{name}:{figure}\r\n");
        }
        text
    }
}

fn frame(outcome: Outcome) -> BytesFrame {
    match outcome {
        Outcome::Value(None) => BytesFrame::Null,
        Outcome::Value(Some(value)) => BytesFrame::BulkString(value),
        Outcome::Number(number) => BytesFrame::Integer(number),
        Outcome::Done => simple("OK"),
        Outcome::Refused(refusal) => BytesFrame::Error(refusal.to_string().into()),
    }
}
