//! What a shim costs a server, message by message and byte by byte.
//!
//! One thread serves connections that echo messages; another thread is the client, and sends to all
//! of them before it reads from any. Measured is the CPU time of the server's thread, since the wall
//! clock mostly measures the wake-ups between the two. The two threads are pinned to a CPU each.
//! Left out: accepting, the first rounds, and the client.

pub mod copy;
mod echo;
mod hyper;
mod load;
mod memory;

pub use echo::{
    async_stream, compio_as_tokio, into_tokio_io, plain_compio, plain_tokio, tokio_as_compio,
};
#[cfg(unix)]
pub use echo::{compat_compio, dual_compio};
pub use load::{Answer, Cost, Load};

use crate::Row;

/// The rows of this group.
pub const ROWS: &[Row] = &[
    Row {
        name: "io.tokio_as_compio_echo",
        unit: "CPU ns/message",
        peer_name: "plain tokio",
        goal: Some(1.10),
        doc: "a server of 64 connections on Tokio's current-thread runtime echoes 64-byte messages through \
              Compio's traits over Tokio sockets; CPU time of its thread for each message.",
        round: |config| {
            let load = Load::echo64(config);
            config.both(|_| tokio_as_compio(load), |_| plain_tokio(load))
        },
    },
    Row {
        name: "io.compio_as_tokio_echo",
        unit: "CPU ns/message",
        peer_name: "compio-io AsyncStream, tokio-util compat",
        goal: Some(0.95),
        doc: "the same server on a Compio runtime with the pool's ring flags, through Tokio's traits over \
              Compio sockets as `into_tokio_io` gives them, with a flush after each message; CPU time of its \
              thread for each message.",
        round: |config| {
            let load = Load::echo64(config);
            config.both(|_| into_tokio_io(load), |_| async_stream(load))
        },
    },
    Row {
        name: "io.socket_echo64",
        unit: "CPU ns/message",
        peer_name: "native Compio, tuned flags",
        goal: Some(1.05),
        doc: "the same server over `SocketAsTokio`, and over Compio's own traits on the same runtime.",
        round: |config| {
            let load = Load::echo64(config);
            config.both(|_| into_tokio_io(load), |_| plain_compio(load))
        },
    },
    Row {
        name: "io.socket_echo64_tokio",
        unit: "CPU ns/message",
        peer_name: "plain tokio, current thread",
        goal: Some(1.10),
        doc: "the same server over `SocketAsTokio` on Compio, and over Tokio's sockets on Tokio.",
        round: |config| {
            let load = Load::echo64(config);
            config.both(|_| into_tokio_io(load), |_| plain_tokio(load))
        },
    },
    Row {
        name: "io.socket_bulk",
        unit: "CPU us/MiB",
        peer_name: "native Compio, tuned flags",
        goal: Some(1.05),
        doc: "a server of 64 connections reads messages of 64 KiB into buffers of 64 KiB and sends each back, \
              over `SocketAsTokio` and over Compio's own traits; CPU time of its thread for each MiB, of which \
              one half is read and one half written.",
        round: |config| {
            let load = Load::bulk(config);
            config.both(|_| into_tokio_io(load), |_| plain_compio(load))
        },
    },
    Row {
        name: "io.buffered_echo64",
        unit: "CPU ns/message",
        peer_name: "compio-io AsyncStream, tokio-util compat",
        goal: Some(0.85),
        doc: "the echo of 64-byte messages over `CompioAsTokio`, which takes any stream of Compio's.",
        round: |config| {
            let load = Load::echo64(config);
            config.both(|_| compio_as_tokio(load), |_| async_stream(load))
        },
    },
    Row {
        name: "io.buffered_bulk",
        unit: "CPU us/MiB",
        peer_name: "compio-io AsyncStream, tokio-util compat",
        goal: Some(0.60),
        doc: "the echo of 64 KiB messages over `CompioAsTokio`.",
        round: |config| {
            let load = Load::bulk(config);
            config.both(|_| compio_as_tokio(load), |_| async_stream(load))
        },
    },
    Row {
        name: "io.tokio_as_compio_echo64",
        unit: "CPU ns/message",
        peer_name: "plain tokio",
        goal: Some(1.05),
        doc: "as `io.tokio_as_compio_echo`, under the tighter bound.",
        round: |config| {
            let load = Load::echo64(config);
            config.both(|_| tokio_as_compio(load), |_| plain_tokio(load))
        },
    },
    Row {
        name: "io.tokio_as_compio_bulk",
        unit: "CPU us/MiB",
        peer_name: "plain tokio",
        goal: Some(1.02),
        doc: "the echo of 64 KiB messages through Compio's traits over Tokio sockets.",
        round: |config| {
            let load = Load::bulk(config);
            config.both(|_| tokio_as_compio(load), |_| plain_tokio(load))
        },
    },
    Row {
        name: "io.allocations",
        unit: "allocations/million operations",
        peer_name: "budget",
        goal: Some(1.0),
        doc: "reads and writes of 64 bytes over each shim on each of Compio's drivers, the worst of them; \
              allocations beyond those of Compio's own traits on the same driver (of none for TokioAsCompio).",
        round: memory::allocations,
    },
    Row {
        name: "io.idle_memory",
        unit: "bytes/connection",
        peer_name: "budget",
        goal: Some(1.0),
        doc: "heap of 9 000 connections, their tasks included, that each wait in a read of 64 bytes over \
              `SocketAsTokio` after a message, beyond the same on Compio's own traits; half as many \
              where the process may not open enough files, fewer in a quick run.",
        round: memory::idle,
    },
    Row {
        name: "io.hyper_hello",
        unit: "CPU ns/request",
        peer_name: "hyper on tokio, current thread",
        goal: Some(1.10),
        doc: "hyper answers HTTP/1.1 requests on 64 connections, over `SocketAsTokio` on Compio and on Tokio; CPU \
              time of its thread for each request.",
        round: |config| {
            let load = Load::http(config);
            config.both(|_| hyper::on_compio(load), |_| hyper::on_tokio(load))
        },
    },
    Row {
        name: "io.copy_bidirectional",
        unit: "CPU us/MiB",
        peer_name: "tokio::io::copy_bidirectional",
        goal: Some(1.00),
        doc: "copying both ways at once between a socket of Tokio's, driven by a runtime of one thread, and a \
              socket of Compio's on a pool's worker with Tokio's context; the peer has both sockets on a \
              current-thread runtime. CPU time of the process without the client's thread, for each MiB. \
              Nothing is pinned.",
        round: |config| {
            let rounds = config.operations(COPY_ROUNDS) as usize;
            config.both(|_| copy::across(rounds), |_| copy::within_tokio(rounds))
        },
    },
];

/// Bursts each way in a round of the row that copies.
const COPY_ROUNDS: u64 = 500;
