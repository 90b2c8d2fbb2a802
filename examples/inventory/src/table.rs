//! What each item of Tokio's becomes, and what landbridge offers to crates that are for Tokio only.
//!
//! The tables of `docs/migrating.md` and `docs/clippy/no-tokio-io.toml` say the same; a test compares them.

use serde::Serialize;

/// What a place costs whoever moves it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) enum Effort {
    /// It works on both sides.
    #[serde(rename = "as it is")]
    AsItIs,
    /// Another `use`, or another path.
    #[serde(rename = "use line")]
    UseLine,
    /// The code around it changes, function by function.
    #[serde(rename = "rewrite")]
    Rewrite,
    /// There is nothing to put in its place: it stays on Tokio, or the module gets another shape.
    #[serde(rename = "redesign")]
    Redesign,
}

impl Effort {
    pub(crate) const ALL: [Self; 4] = [Self::AsItIs, Self::UseLine, Self::Rewrite, Self::Redesign];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AsItIs => "as it is",
            Self::UseLine => "use line",
            Self::Rewrite => "rewrite",
            Self::Redesign => "redesign",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: &'static str,
    pub(crate) becomes: &'static str,
    pub(crate) effort: Effort,
    /// What changes for who drops it mid-way; else what to know.
    pub(crate) note: &'static str,
}

const fn row(
    path: &'static str,
    becomes: &'static str,
    effort: Effort,
    note: &'static str,
) -> Entry {
    Entry {
        path,
        becomes,
        effort,
        note,
    }
}

use Effort::{AsItIs, Redesign, Rewrite, UseLine};

const FS: &str = "a read that is dropped is cancelled, and not finished by a thread; an accepted write is finished";
const PATHS: &str = "dropped mid-way, it may have happened all the same, as with Tokio";
const SOCKET: &str = "a read that loses a `select!` has taken nothing, as with Tokio; calls on Compio's own take buffers \
    by value, and may have taken bytes when they are dropped";
const ACCEPT: &str =
    "an accept that loses a `select!` loses no connection over `landbridge::remote`";
const HALVES: &str = "work at the same time, as with Tokio; only `compio::io::split` has halves that wait for each other";
const READY: &str = "Compio's own sockets say what was done and not what could be";
const CALLS: &str = "its methods stay over a shim; on Compio's own they take the buffer by value and give it back, and \
    what is dropped may have taken bytes";
const BUFFERS: &str = "stays over a shim; what it has buffered goes with it, so hand nothing over while it is not empty";
const COPY: &str = "dropped, it loses what is read and not yet written";
const SYNC: &str = "asks no runtime";
const TIME: &str = "the timer of whichever runtime polls; a time-out around a read of Compio's own may lose what was read";
const TASKS: &str = "dropping the handle detaches, as with Tokio; `cancel().await` is there to know that it is gone";
const SET: &str = "dropping the set aborts what is in it; jobs of a pool have a handle each, and `run_batch` for many";
const SELECT: &str = "the macro needs no runtime; but a branch that reads from Compio's own I/O must live across the \
    loop, since what loses may have taken bytes";
const STAYS: &str =
    "stays on Tokio: from Compio `.in_tokio(&handle)` around it, or `handle.run(..)`";

/// The entry for a path is the one with which it has most in common from its beginning.
pub(crate) const TOKIO: &[Entry] = &[
    row(
        "tokio",
        "look",
        Rewrite,
        "not in the table: see docs.rs/tokio, and what it needs of a runtime",
    ),
    row(
        "tokio::fs",
        "landbridge::fs; later compio::fs in jobs",
        UseLine,
        FS,
    ),
    row("tokio::fs::File", "landbridge::fs::File", UseLine, FS),
    row(
        "tokio::fs::OpenOptions",
        "landbridge::fs::OpenOptions",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::DirBuilder",
        "landbridge::fs::DirBuilder",
        UseLine,
        PATHS,
    ),
    row("tokio::fs::ReadDir", "landbridge::fs::ReadDir", UseLine, FS),
    row(
        "tokio::fs::DirEntry",
        "landbridge::fs::DirEntry",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::canonicalize",
        "landbridge::fs::canonicalize",
        UseLine,
        PATHS,
    ),
    row("tokio::fs::copy", "landbridge::fs::copy", UseLine, PATHS),
    row(
        "tokio::fs::create_dir",
        "landbridge::fs::create_dir",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::create_dir_all",
        "landbridge::fs::create_dir_all",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::hard_link",
        "landbridge::fs::hard_link",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::metadata",
        "landbridge::fs::metadata",
        UseLine,
        PATHS,
    ),
    row("tokio::fs::read", "landbridge::fs::read", UseLine, FS),
    row(
        "tokio::fs::read_dir",
        "landbridge::fs::read_dir",
        UseLine,
        FS,
    ),
    row(
        "tokio::fs::read_link",
        "landbridge::fs::read_link",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::read_to_string",
        "landbridge::fs::read_to_string",
        UseLine,
        FS,
    ),
    row(
        "tokio::fs::remove_dir",
        "landbridge::fs::remove_dir",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::remove_dir_all",
        "landbridge::fs::remove_dir_all",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::remove_file",
        "landbridge::fs::remove_file",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::rename",
        "landbridge::fs::rename",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::set_permissions",
        "landbridge::fs::set_permissions",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::symlink",
        "landbridge::fs::symlink",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::symlink_dir",
        "std::os::windows::fs, in run_blocking",
        Rewrite,
        PATHS,
    ),
    row(
        "tokio::fs::symlink_file",
        "std::os::windows::fs, in run_blocking",
        Rewrite,
        PATHS,
    ),
    row(
        "tokio::fs::symlink_metadata",
        "landbridge::fs::symlink_metadata",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::try_exists",
        "landbridge::fs::try_exists",
        UseLine,
        PATHS,
    ),
    row(
        "tokio::fs::write",
        "landbridge::fs::write, or write_atomic",
        UseLine,
        "dropped mid-way, a part may be written; \
        `write_atomic` leaves the old file or the new one",
    ),
    row(
        "tokio::net",
        "landbridge::remote; later compio::net in jobs",
        UseLine,
        SOCKET,
    ),
    row(
        "tokio::net::TcpStream",
        "landbridge::remote::TcpStream, or handoff::tcp_to_compio",
        UseLine,
        SOCKET,
    ),
    row(
        "tokio::net::TcpListener",
        "landbridge::remote::TcpListener, or handoff::tcp_listener_to_compio",
        UseLine,
        ACCEPT,
    ),
    row(
        "tokio::net::TcpSocket",
        "landbridge::remote::ListenOptions to listen; else socket2 and from_std",
        Rewrite,
        "what is \
        not connected yet is closed when it is dropped",
    ),
    row(
        "tokio::net::UdpSocket",
        "landbridge::remote::UdpSocket, or handoff::udp_to_compio",
        UseLine,
        SOCKET,
    ),
    row(
        "tokio::net::UnixStream",
        "landbridge::remote::UnixStream, or handoff::unix_to_compio",
        UseLine,
        SOCKET,
    ),
    row(
        "tokio::net::UnixListener",
        "landbridge::remote::UnixListener, or handoff::unix_listener_to_compio",
        UseLine,
        ACCEPT,
    ),
    row(
        "tokio::net::UnixDatagram",
        "stays on Tokio",
        Redesign,
        STAYS,
    ),
    row(
        "tokio::net::UnixSocket",
        "stays on Tokio, or socket2 and from_std",
        Rewrite,
        STAYS,
    ),
    row(
        "tokio::net::ToSocketAddrs",
        "landbridge::remote::ToSocketAddrs",
        UseLine,
        "",
    ),
    row(
        "tokio::net::lookup_host",
        "to_socket_addrs of std in run_blocking",
        Rewrite,
        "what is dropped goes on in its thread, as with \
        Tokio",
    ),
    row("tokio::net::tcp", "landbridge::remote", UseLine, HALVES),
    row(
        "tokio::net::tcp::OwnedReadHalf",
        "landbridge::remote::OwnedReadHalf",
        UseLine,
        HALVES,
    ),
    row(
        "tokio::net::tcp::OwnedWriteHalf",
        "landbridge::remote::OwnedWriteHalf",
        UseLine,
        HALVES,
    ),
    row(
        "tokio::net::tcp::ReadHalf",
        "landbridge::remote::ReadHalf",
        UseLine,
        HALVES,
    ),
    row(
        "tokio::net::tcp::WriteHalf",
        "landbridge::remote::WriteHalf",
        UseLine,
        HALVES,
    ),
    row("tokio::net::unix", "landbridge::remote", UseLine, HALVES),
    row(
        "tokio::net::unix::OwnedReadHalf",
        "landbridge::remote::OwnedReadHalf",
        UseLine,
        HALVES,
    ),
    row(
        "tokio::net::unix::OwnedWriteHalf",
        "landbridge::remote::OwnedWriteHalf",
        UseLine,
        HALVES,
    ),
    row(
        "tokio::net::unix::ReadHalf",
        "landbridge::remote::ReadHalf",
        UseLine,
        HALVES,
    ),
    row(
        "tokio::net::unix::WriteHalf",
        "landbridge::remote::WriteHalf",
        UseLine,
        HALVES,
    ),
    row(
        "tokio::net::unix::SocketAddr",
        "std::os::unix::net::SocketAddr",
        UseLine,
        "",
    ),
    row(
        "tokio::net::unix::UCred",
        "landbridge::remote::UCred",
        UseLine,
        "",
    ),
    row(
        "tokio::net::unix::pipe",
        "handoff::pipe_sender_to_compio, handoff::pipe_receiver_to_compio",
        Rewrite,
        "nothing may be in \
        flight when it is handed over",
    ),
    row("tokio::net::windows", "stays on Tokio", Redesign, STAYS),
    row(
        "tokio::io",
        "the same over a shim; compio::io for Compio's own",
        Rewrite,
        CALLS,
    ),
    row(
        "tokio::io::AsyncRead",
        "the same over a shim, into_tokio_io(); later compio::io::AsyncRead",
        AsItIs,
        CALLS,
    ),
    row(
        "tokio::io::AsyncWrite",
        "the same over a shim, into_tokio_io(); later compio::io::AsyncWrite",
        AsItIs,
        CALLS,
    ),
    row(
        "tokio::io::AsyncSeek",
        "the same over a shim, into_tokio_io()",
        AsItIs,
        CALLS,
    ),
    row(
        "tokio::io::AsyncBufRead",
        "the same over a shim, with tokio::io::BufReader",
        AsItIs,
        CALLS,
    ),
    row(
        "tokio::io::AsyncReadExt",
        "the same over a shim; later compio::io::AsyncReadExt",
        Rewrite,
        CALLS,
    ),
    row(
        "tokio::io::AsyncWriteExt",
        "the same over a shim; later compio::io::AsyncWriteExt",
        Rewrite,
        CALLS,
    ),
    row(
        "tokio::io::AsyncSeekExt",
        "the same over a shim; later read_at and write_at",
        Rewrite,
        CALLS,
    ),
    row(
        "tokio::io::AsyncBufReadExt",
        "the same over a shim, with tokio::io::BufReader",
        Rewrite,
        CALLS,
    ),
    row(
        "tokio::io::ReadBuf",
        "the same over a shim; compio::buf for Compio's own",
        AsItIs,
        CALLS,
    ),
    row(
        "tokio::io::BufReader",
        "the same over a shim; compio::io::BufReader",
        Rewrite,
        BUFFERS,
    ),
    row(
        "tokio::io::BufWriter",
        "the same over a shim; compio::io::BufWriter",
        Rewrite,
        BUFFERS,
    ),
    row(
        "tokio::io::BufStream",
        "the same over a shim",
        Rewrite,
        BUFFERS,
    ),
    row("tokio::io::Lines", "the same over a shim", Rewrite, BUFFERS),
    row("tokio::io::copy", "landbridge::io::copy", Rewrite, COPY),
    row("tokio::io::copy_buf", "landbridge::io::copy", Rewrite, COPY),
    row(
        "tokio::io::copy_bidirectional",
        "landbridge::io::copy_bidirectional",
        Rewrite,
        COPY,
    ),
    row(
        "tokio::io::copy_bidirectional_with_sizes",
        "landbridge::io::copy_bidirectional_with_sizes",
        Rewrite,
        COPY,
    ),
    row(
        "tokio::io::split",
        "into_split of the socket or of the shim",
        Rewrite,
        HALVES,
    ),
    row(
        "tokio::io::ReadHalf",
        "into_split of the socket or of the shim",
        Rewrite,
        HALVES,
    ),
    row(
        "tokio::io::WriteHalf",
        "into_split of the socket or of the shim",
        Rewrite,
        HALVES,
    ),
    row("tokio::io::Join", "the same over a shim", AsItIs, CALLS),
    row("tokio::io::join", "the same over a shim", AsItIs, CALLS),
    row(
        "tokio::io::duplex",
        "the same; landbridge::channel::pipe for bytes between the two sides",
        AsItIs,
        SYNC,
    ),
    row(
        "tokio::io::simplex",
        "the same; landbridge::channel::pipe for bytes between the two sides",
        AsItIs,
        SYNC,
    ),
    row(
        "tokio::io::DuplexStream",
        "the same; landbridge::channel::pipe for bytes between the two sides",
        AsItIs,
        SYNC,
    ),
    row(
        "tokio::io::SimplexStream",
        "the same; landbridge::channel::pipe for bytes between the two sides",
        AsItIs,
        SYNC,
    ),
    row("tokio::io::empty", "the same", AsItIs, SYNC),
    row("tokio::io::sink", "the same", AsItIs, SYNC),
    row("tokio::io::repeat", "the same", AsItIs, SYNC),
    row(
        "tokio::io::stdin",
        "std::io::stdin in a thread of its own",
        Rewrite,
        "a read that is dropped goes on and takes what \
        comes, as with Tokio",
    ),
    row(
        "tokio::io::stdout",
        "std::io::stdout in run_blocking",
        Rewrite,
        "what is accepted is written later, as with Tokio",
    ),
    row(
        "tokio::io::stderr",
        "std::io::stderr in run_blocking",
        Rewrite,
        "what is accepted is written later, as with Tokio",
    ),
    row(
        "tokio::io::Stdin",
        "std::io::stdin in a thread of its own",
        Rewrite,
        "a read that is dropped goes on and takes what \
        comes, as with Tokio",
    ),
    row(
        "tokio::io::Stdout",
        "std::io::stdout in run_blocking",
        Rewrite,
        "what is accepted is written later, as with Tokio",
    ),
    row(
        "tokio::io::Stderr",
        "std::io::stderr in run_blocking",
        Rewrite,
        "what is accepted is written later, as with Tokio",
    ),
    row(
        "tokio::io::Error",
        "std::io::Error, which it is",
        AsItIs,
        "",
    ),
    row(
        "tokio::io::ErrorKind",
        "std::io::ErrorKind, which it is",
        AsItIs,
        "",
    ),
    row(
        "tokio::io::Result",
        "std::io::Result, which it is",
        AsItIs,
        "",
    ),
    row(
        "tokio::io::SeekFrom",
        "std::io::SeekFrom, which it is",
        AsItIs,
        "",
    ),
    row(
        "tokio::io::Interest",
        "readable and writable of landbridge::remote",
        Rewrite,
        READY,
    ),
    row(
        "tokio::io::Ready",
        "readable and writable of landbridge::remote",
        Rewrite,
        READY,
    ),
    row(
        "tokio::io::unix",
        "readiness: stays on Tokio",
        Redesign,
        STAYS,
    ),
    row(
        "tokio::io::unix::AsyncFd",
        "stays on Tokio, or compio::driver's PollOnce",
        Redesign,
        STAYS,
    ),
    row(
        "tokio::process",
        "stays on Tokio; or compio::process",
        Rewrite,
        "`kill_on_drop` is Tokio's; from Compio \
        `.in_tokio(&handle)` around it",
    ),
    row(
        "tokio::signal",
        "stays on Tokio; or compio::signal",
        Rewrite,
        "a process has one table of signals: leave them to one \
        side",
    ),
    row(
        "tokio::spawn",
        "landbridge::CompioPool::spawn; within a job landbridge::rt::spawn_local",
        Rewrite,
        TASKS,
    ),
    row("tokio::task", "landbridge::rt within a job", Rewrite, TASKS),
    row(
        "tokio::task::spawn",
        "landbridge::CompioPool::spawn; within a job landbridge::rt::spawn_local",
        Rewrite,
        TASKS,
    ),
    row(
        "tokio::task::spawn_local",
        "landbridge::rt::spawn_local",
        UseLine,
        TASKS,
    ),
    row(
        "tokio::task::spawn_blocking",
        "landbridge::CompioPool::run_blocking",
        Rewrite,
        "what has begun goes on when it is \
        dropped, as with Tokio",
    ),
    row(
        "tokio::task::block_in_place",
        "landbridge::CompioPool::run_blocking",
        Rewrite,
        "nothing may block on a worker",
    ),
    row(
        "tokio::task::yield_now",
        "landbridge::rt::yield_now",
        UseLine,
        "",
    ),
    row(
        "tokio::task::JoinHandle",
        "landbridge::JoinHandle",
        UseLine,
        TASKS,
    ),
    row(
        "tokio::task::JoinError",
        "landbridge::JoinError",
        UseLine,
        TASKS,
    ),
    row(
        "tokio::task::AbortHandle",
        "landbridge::AbortHandle",
        UseLine,
        TASKS,
    ),
    row(
        "tokio::task::JoinSet",
        "handles of landbridge::CompioPool::spawn, or run_batch",
        Rewrite,
        SET,
    ),
    row(
        "tokio::task::LocalSet",
        "a job on a worker, with landbridge::rt::spawn_local",
        Rewrite,
        TASKS,
    ),
    row(
        "tokio::task::coop",
        "nothing: Compio's tasks have no budget",
        Rewrite,
        "a loop that never waits has to yield",
    ),
    row(
        "tokio::task_local",
        "thread_local!, or an argument",
        Rewrite,
        "jobs of a worker share its thread",
    ),
    row("tokio::time", "landbridge::time", UseLine, TIME),
    row(
        "tokio::time::Duration",
        "std::time::Duration, which it is",
        AsItIs,
        "",
    ),
    row(
        "tokio::time::Instant",
        "landbridge::time::Instant",
        UseLine,
        "",
    ),
    row(
        "tokio::time::pause",
        "stays on Tokio: tests with a clock of their own",
        Rewrite,
        "",
    ),
    row(
        "tokio::time::advance",
        "stays on Tokio: tests with a clock of their own",
        Rewrite,
        "",
    ),
    row(
        "tokio::time::error",
        "landbridge::time::Elapsed",
        UseLine,
        "",
    ),
    row("tokio::sync", "the same", AsItIs, SYNC),
    row(
        "tokio::sync::mpsc",
        "the same; landbridge::channel::spsc or mpsc on a hot path between the sides",
        AsItIs,
        "a receive \
        that loses a `select!` has taken nothing, in both",
    ),
    row(
        "tokio::sync::Mutex",
        "the same; or state of a worker: CompioPool::host, worker_for",
        AsItIs,
        SYNC,
    ),
    row("tokio::sync::RwLock", "the same", AsItIs, SYNC),
    row("tokio::sync::Semaphore", "the same", AsItIs, SYNC),
    row("tokio::sync::Notify", "the same", AsItIs, SYNC),
    row("tokio::sync::Barrier", "the same", AsItIs, SYNC),
    row("tokio::sync::OnceCell", "the same", AsItIs, SYNC),
    row(
        "tokio::sync::oneshot",
        "the same, or landbridge::channel::oneshot",
        AsItIs,
        SYNC,
    ),
    row(
        "tokio::sync::watch",
        "the same, or landbridge::channel::watch",
        AsItIs,
        SYNC,
    ),
    row(
        "tokio::sync::broadcast",
        "the same, or landbridge::channel::broadcast",
        AsItIs,
        SYNC,
    ),
    row(
        "tokio::runtime",
        "stays; beside it a landbridge::CompioPool, or landbridge::context::DualRuntime",
        Redesign,
        "what \
        was spawned is dropped with its runtime; `shutdown().await` of a pool waits for its jobs",
    ),
    row(
        "tokio::main",
        "stays; beside it a landbridge::CompioPool",
        AsItIs,
        "",
    ),
    row(
        "tokio::test",
        "landbridge::test_util::both to run it on both sides",
        AsItIs,
        "",
    ),
    row("tokio::select", "the same", AsItIs, SELECT),
    row("tokio::join", "the same", AsItIs, ""),
    row(
        "tokio::try_join",
        "the same",
        AsItIs,
        "what is not done when one fails is dropped: it may have taken bytes",
    ),
    row("tokio::pin", "the same, or std::pin::pin!", AsItIs, ""),
];

/// Where code for Tokio can run once its caller has moved.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// It asks no runtime.
    Anywhere,
    /// It is generic over Tokio's I/O traits.
    Shim,
    /// Its futures need Tokio's context, and can be awaited from Compio with it.
    Context,
    /// It is a server, or owns the program: it stays, and what moves is called from it.
    Front,
}

impl Way {
    pub(crate) fn offers(self) -> &'static str {
        match self {
            Self::Anywhere => "nothing is needed: it asks no runtime",
            Self::Shim => "works on Compio over a stream's into_tokio_io()",
            Self::Context => {
                "stays on Tokio: `.in_tokio(&handle)` around its futures, or `handle.run(..)` for a whole piece of work"
            }
            Self::Front => "stays on Tokio; what moves is called from it by `pool.run(..)`",
        }
    }

    /// Whether a module that uses it cannot move as a whole.
    pub(crate) fn blocks(self) -> bool {
        matches!(self, Self::Context | Self::Front)
    }
}

/// A crate that is for Tokio, or a part of one.
#[derive(Debug)]
pub(crate) struct Krate {
    /// The package; ended by `*`, all that begin so.
    pub(crate) package: &'static str,
    /// The part, as in code; empty for the rest.
    pub(crate) part: &'static str,
    pub(crate) way: Way,
    /// What is to be said of it beside.
    pub(crate) note: &'static str,
}

const fn krate(package: &'static str, part: &'static str, way: Way, note: &'static str) -> Krate {
    Krate {
        package,
        part,
        way,
        note,
    }
}

use Way::{Anywhere, Context, Front, Shim};

/// The first that fits. Of a package with parts, the rest comes last.
pub(crate) const CRATES: &[Krate] = &[
    krate("tokio-util", "codec", Shim, ""),
    krate("tokio-util", "sync", Anywhere, ""),
    krate(
        "tokio-util",
        "task",
        Context,
        "`TaskTracker` asks no runtime but to spawn",
    ),
    krate(
        "tokio-util",
        "time",
        Context,
        "`DelayQueue` has timers of Tokio's",
    ),
    krate("tokio-util", "net", Context, ""),
    krate("tokio-util", "udp", Context, ""),
    krate(
        "tokio-util",
        "context",
        Context,
        "landbridge::context does the same for futures, streams and I/O",
    ),
    krate(
        "tokio-util",
        "io",
        Shim,
        "but `SyncIoBridge` blocks on Tokio's handle",
    ),
    krate("tokio-util", "compat", Shim, ""),
    krate("tokio-util", "either", Anywhere, ""),
    krate("tokio-util", "bytes", Anywhere, ""),
    krate("tokio-util", "future", Anywhere, ""),
    krate("tokio-util", "", Shim, ""),
    krate(
        "tokio-stream",
        "wrappers",
        Context,
        "those of channels ask no runtime",
    ),
    krate(
        "tokio-stream",
        "",
        Anywhere,
        "but `timeout`, `throttle` and `chunks_timeout` have timers of Tokio's",
    ),
    krate("tokio-rustls", "", Shim, ""),
    krate("tokio-native-tls", "", Shim, ""),
    krate("tokio-openssl", "", Shim, ""),
    krate(
        "tokio-tungstenite",
        "",
        Shim,
        "but `connect_async` opens a socket of Tokio's: use `client_async`",
    ),
    krate("fastwebsockets", "", Shim, ""),
    krate("async-compression", "", Shim, ""),
    krate("h2", "", Shim, ""),
    krate(
        "hyper",
        "",
        Shim,
        "with landbridge::hyper, its executor and timer",
    ),
    krate(
        "hyper-util",
        "rt",
        Shim,
        "`TokioIo` works over a shim; landbridge::hyper in place of `TokioExecutor` and `TokioTimer`",
    ),
    krate(
        "hyper-util",
        "server",
        Shim,
        "with landbridge::hyper, its executor and timer",
    ),
    krate("hyper-util", "service", Anywhere, ""),
    krate("hyper-util", "", Context, ""),
    krate("hyper-rustls", "", Context, ""),
    krate("hyper-tls", "", Context, ""),
    krate(
        "tower-http",
        "",
        Anywhere,
        "but `ServeDir` reads files by `tokio::fs`",
    ),
    krate(
        "axum",
        "",
        Front,
        "its router is a service, and can be served by hyper on Compio, too",
    ),
    krate("axum-server", "", Front, ""),
    krate("actix-web", "", Front, ""),
    krate("actix-rt", "", Front, ""),
    krate("rocket", "", Front, ""),
    krate("warp", "", Front, ""),
    krate("poem", "", Front, ""),
    krate("salvo", "", Front, ""),
    krate("tarpc", "", Front, ""),
    krate(
        "tonic",
        "transport",
        Front,
        "a client: `.in_tokio(&handle)`",
    ),
    krate(
        "tonic",
        "",
        Front,
        "a client: `.in_tokio(&handle)`; its services run in any hyper server",
    ),
    krate(
        "reqwest",
        "",
        Context,
        "a request with a time-out is made in the context, too",
    ),
    krate("reqwest-middleware", "", Context, ""),
    krate("sqlx", "", Context, ""),
    krate("sqlx-*", "", Context, ""),
    krate("sea-orm", "", Context, ""),
    krate("diesel-async", "", Context, ""),
    krate(
        "tokio-postgres",
        "",
        Context,
        "its connection is a task of Tokio's; over a shim `connect_raw` needs none",
    ),
    krate("postgres", "", Context, "blocks: `pool.run_blocking(..)`"),
    krate("mysql_async", "", Context, ""),
    krate("tiberius", "", Shim, ""),
    krate("scylla", "", Context, ""),
    krate("mongodb", "", Context, ""),
    krate("redis", "", Context, "its connection is a task of Tokio's"),
    krate("fred", "", Context, ""),
    krate(
        "deadpool",
        "",
        Context,
        "its time-outs are Tokio's; what it hands out decides",
    ),
    krate("deadpool-*", "", Context, ""),
    krate("bb8", "", Context, ""),
    krate("bb8-*", "", Context, ""),
    krate("lapin", "", Context, ""),
    krate(
        "rdkafka",
        "",
        Context,
        "its consumer has threads of its own; its futures want Tokio's timers",
    ),
    krate("async-nats", "", Context, ""),
    krate("rumqttc", "", Context, ""),
    krate("elasticsearch", "", Context, ""),
    krate("aws-config", "", Context, ""),
    krate("aws-sdk-*", "", Context, ""),
    krate("aws-smithy-*", "", Context, ""),
    krate("azure_*", "", Context, ""),
    krate("google-cloud-*", "", Context, ""),
    krate("object_store", "", Context, ""),
    krate("opendal", "", Context, ""),
    krate("kube", "", Context, ""),
    krate("bollard", "", Context, ""),
    krate("octocrab", "", Context, ""),
    krate(
        "quinn",
        "",
        Context,
        "it takes a runtime of one's own, too: its `Runtime` trait",
    ),
    krate("hickory-resolver", "", Context, ""),
    krate("lettre", "", Context, ""),
    krate("russh", "", Shim, "but it spawns a task of Tokio's"),
    krate("tokio-serial", "", Context, ""),
    krate("tokio-modbus", "", Context, ""),
    krate("tokio-cron-scheduler", "", Context, ""),
    krate("console-subscriber", "", Front, ""),
    krate("opentelemetry-otlp", "", Context, ""),
];

/// The entry for an item of Tokio's, and the part of its path to show.
pub(crate) fn item(path: &[String]) -> (&'static Entry, String) {
    let depth = |entry: &Entry| entry.path.split("::").count();
    let entry = TOKIO
        .iter()
        .filter(|entry| begins(path, entry.path))
        .max_by_key(|entry| depth(entry))
        .unwrap_or(&TOKIO[0]);
    let last = entry.path.rsplit("::").next().unwrap_or_default();
    // Of a module, what is in it; of a type, not its functions.
    let is_module = path.len() > depth(entry) && !last.starts_with(char::is_uppercase);
    let shown = depth(entry) + usize::from(is_module);
    (entry, path[..shown.min(path.len())].join("::"))
}

fn begins(path: &[String], with: &str) -> bool {
    let mut path = path.iter();
    with.split("::")
        .all(|part| path.next().is_some_and(|it| it == part))
}

/// It is there under this very name, so that a glob brings it in.
pub(crate) fn is_known(path: &[String]) -> bool {
    let path = path.join("::");
    TOKIO.iter().any(|entry| entry.path == path)
}

/// What is known of a package, by what of it is used; `path` begins with the crate.
pub(crate) fn krate_of(package: &str, path: &[String]) -> Option<&'static Krate> {
    CRATES.iter().find(|krate| {
        is_package(krate, package)
            && (krate.part.is_empty() || path.get(1).is_some_and(|part| part == krate.part))
    })
}

pub(crate) fn is_known_package(package: &str) -> bool {
    CRATES.iter().any(|krate| is_package(krate, package))
}

fn is_package(krate: &Krate, package: &str) -> bool {
    match krate.package.strip_suffix('*') {
        Some(prefix) => package.starts_with(prefix),
        None => package == krate.package,
    }
}
