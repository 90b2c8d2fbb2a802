//! The access log: a line for each connection, written in batches. COPY: the file.

use std::{
    fmt::Write as _,
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    fs::OpenOptions,
    io::AsyncWriteExt,
    select,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{config, proxy::Settings};

/// Lines that wait for a slow disk. More are lost and counted: connections do not wait for it.
const WAITING: usize = 4096;

/// What is known of a connection when it has ended.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) client: SocketAddr,
    pub(crate) backend: Option<SocketAddr>,
    pub(crate) took: Duration,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// Both directions, each to its own end: bytes to the backend, bytes to the client.
    Clean(u64, u64),
    NoBackend,
    Failed(ErrorKind),
    /// Its task was cancelled.
    CutOff,
}

/// Where records go. A clone is the same log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    records: mpsc::Sender<Record>,
    lost: Arc<AtomicU64>,
}

impl Log {
    /// Until `end` is cancelled: then, what was logged before is written, and that is all.
    pub(crate) fn start(
        settings: watch::Receiver<Arc<Settings>>,
        end: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (records, waiting) = mpsc::channel(WAITING);
        let lost = Arc::default();
        let log = Self { records, lost };
        let writer = write_batches(waiting, Arc::clone(&log.lost), settings, end);
        (log, tokio::spawn(writer))
    }

    /// Never waits, so that it may be called by a destructor.
    pub(crate) fn push(&self, record: Record) {
        if self.records.try_send(record).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

async fn write_batches(
    mut waiting: mpsc::Receiver<Record>,
    lost: Arc<AtomicU64>,
    mut settings: watch::Receiver<Arc<Settings>>,
    end: CancellationToken,
) {
    let mut batch = Vec::new();
    let mut first = Instant::now();
    loop {
        let now = settings.borrow_and_update().clone();
        let config::Log { file, lines, delay } = &now.config.log;
        let (lines, due) = (lines.get(), first + *delay);
        let full = batch.len() >= lines || (!batch.is_empty() && due <= Instant::now());
        // At the end, what is still there is a batch however small.
        let over = waiting.is_closed() && waiting.is_empty();
        if full || over {
            let text = text(&batch, lost.swap(0, Relaxed));
            if let Err(error) = write(file.as_deref(), &text).await {
                eprintln!("{} lines of the access log are lost: {error}", batch.len());
            }
            batch.clear();
            if over {
                return;
            }
            continue;
        }
        let (was_empty, room) = (batch.is_empty(), lines - batch.len());
        select! {
            _ = waiting.recv_many(&mut batch, room) => {
                if was_empty {
                    first = Instant::now();
                }
            }
            // Also when nothing more comes.
            () = sleep_until(due), if !was_empty => {}
            // Another size, another delay: for what is here, too.
            Ok(()) = settings.changed() => {}
            () = end.cancelled(), if !waiting.is_closed() => waiting.close(),
        }
    }
}

/// Opened anew for each batch: so it may be moved away at any time, as log rotation does.
async fn write(file: Option<&std::path::Path>, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let Some(file) = file else {
        let mut out = tokio::io::stdout();
        out.write_all(text.as_bytes()).await?;
        return out.flush().await;
    };
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .await?;
    file.write_all(text.as_bytes()).await?;
    file.flush().await
}

fn text(batch: &[Record], lost: u64) -> String {
    let mut text = String::new();
    for record in batch {
        _ = write!(text, "client={} backend=", record.client);
        _ = match record.backend {
            Some(backend) => write!(text, "{backend}"),
            None => write!(text, "-"),
        };
        _ = write!(text, " ms={} ", record.took.as_millis());
        _ = match record.end {
            End::Clean(there, back) => writeln!(text, "end=clean in={there} out={back}"),
            End::NoBackend => writeln!(text, "end=no-backend"),
            End::Failed(kind) => writeln!(text, "end=failed why={kind:?}"),
            End::CutOff => writeln!(text, "end=cut-off"),
        };
    }
    if lost > 0 {
        _ = writeln!(text, "lost={lost}");
    }
    text
}
