//! What the other runtime, and code for both, costs where one stays where one is.

use std::{
    future::{Future, poll_fn},
    hint::black_box,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use landbridge::{TokioHandleExt, context::InTokioExt};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    runtime::{Handle, Runtime},
};

#[cfg(unix)]
use crate::io::{Load, compat_compio, dual_compio, plain_tokio};
use crate::{Row, threads::cpu_time};

/// The rows of this group.
pub const ROWS: &[Row] = &[
    Row {
        name: "context.in_tokio_poll",
        unit: "ns/poll",
        peer_name: "Handle::enter by hand",
        goal: Some(1.10),
        doc: "a future that does nothing but wait is polled over and over on a Compio runtime: \
              `in_tokio` beside a future that enters the handle around the inner poll; the thread's CPU time.",
        round: |config| {
            let polls = config.operations(POLLS);
            let tokio = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .build()
                .expect("a Tokio runtime starts");
            let handle = tokio.handle();
            let compio = compio::runtime::Runtime::new().expect("a Compio runtime starts");
            compio.block_on(async {
                config.both(
                    |_| nanos_per_poll(polls, waits().in_tokio(handle)),
                    |_| {
                        let mut inner = pin!(waits());
                        let by_hand = poll_fn(|cx| {
                            let _context = handle.enter();
                            inner.as_mut().poll(cx)
                        });
                        nanos_per_poll(polls, by_hand)
                    },
                )
            })
        },
    },
    Row {
        name: "context.in_tokio_get",
        unit: "µs/request",
        peer_name: "TokioHandleExt::run",
        goal: Some(1.0),
        doc: "reqwest asks a server on loopback from a Compio task, one request after the other: \
              each request `in_tokio`, its future polled by the Compio thread, beside each by `run`, its future \
              polled by Tokio's; the CPU time of the Compio thread and of Tokio's one worker. The server is a \
              third thread, not measured.",
        round: |config| {
            let requests = config.operations(REQUESTS);
            let peer = one_worker();
            let listener = peer.block_on(TcpListener::bind("127.0.0.1:0"));
            let listener = listener.expect("a free port");
            let server = listener.local_addr().expect("it is bound");
            peer.spawn(serve(listener));
            config.both(
                |_| {
                    micros_per_get(requests, server, async |tokio, get| {
                        get.in_tokio(tokio).await;
                    })
                },
                |_| {
                    micros_per_get(requests, server, async |tokio, get| {
                        tokio.run(get).await.expect("no panic");
                    })
                },
            )
        },
    },
    #[cfg(unix)]
    Row {
        name: "context.dual_echo64",
        unit: "CPU ns/message",
        peer_name: "plain tokio, current thread",
        goal: Some(1.10),
        doc: "a server of 64 connections echoes 64-byte messages: over Compio's sockets on a `DualRuntime`, and over \
              Tokio's on Tokio's current-thread runtime; CPU time of its thread for each message.",
        round: |config| {
            let load = Load::echo64(config);
            config.both(|_| dual_compio(load), |_| plain_tokio(load))
        },
    },
    #[cfg(unix)]
    Row {
        name: "context.dual_compat",
        unit: "CPU ns/message",
        peer_name: "compio-compat",
        goal: Some(0.75),
        doc: "the same server on a `DualRuntime`, and on compio-compat over Tokio's current-thread runtime.",
        round: |config| {
            let load = Load::echo64(config);
            config.both(|_| dual_compio(load), |_| compat_compio(load))
        },
    },
    #[cfg(unix)]
    Row {
        name: "context.dual_bulk",
        unit: "CPU us/MiB",
        peer_name: "plain tokio, current thread",
        goal: Some(1.15),
        doc: "as `context.dual_echo64`, with messages of 64 KiB.",
        round: |config| {
            let load = Load::bulk(config);
            config.both(|_| dual_compio(load), |_| plain_tokio(load))
        },
    },
    Row {
        name: "context.sleep_tokio",
        unit: "ns/sleep",
        peer_name: "tokio::time::sleep",
        goal: Some(1.15),
        doc: "a sleep is made, polled once and dropped on Tokio's current-thread runtime: \
              `landbridge::time::sleep` beside Tokio's own; the thread's CPU time.",
        round: |config| {
            let sleeps = config.operations(SLEEPS);
            let tokio = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a Tokio runtime starts");
            tokio.block_on(async {
                config.both(
                    |_| nanos_per_sleep(sleeps, landbridge::time::sleep),
                    |_| nanos_per_sleep(sleeps, tokio::time::sleep),
                )
            })
        },
    },
    Row {
        name: "context.sleep_compio",
        unit: "ns/sleep",
        peer_name: "compio::time::sleep",
        goal: Some(1.15),
        doc: "the same on a Compio runtime, beside Compio's own.",
        round: |config| {
            let sleeps = config.operations(SLEEPS);
            let compio = compio::runtime::Runtime::new().expect("a Compio runtime starts");
            compio.block_on(async {
                config.both(
                    |_| nanos_per_sleep(sleeps, landbridge::time::sleep),
                    |_| nanos_per_sleep(sleeps, compio::time::sleep),
                )
            })
        },
    },
];

/// Polls in one round: some tens of milliseconds.
const POLLS: u64 = 1_000_000;

async fn waits() {
    poll_fn(|_| black_box(Poll::Pending)).await
}

fn nanos_per_poll(polls: u64, future: impl Future<Output = ()>) -> f64 {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    let start = cpu_time();
    for _ in 0..polls {
        assert!(future.as_mut().poll(&mut cx).is_pending());
    }
    (cpu_time() - start).as_nanos() as f64 / polls as f64
}

/// Requests in one round: a few hundred milliseconds.
const REQUESTS: u64 = 5_000;
/// Before the measurement starts.
const WARM_UP: u64 = 100;

/// A server that does as little as it can.
async fn serve(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.set_nodelay(true).expect("a socket");
        tokio::spawn(async move {
            let (read, mut write) = stream.split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.is_empty() {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    // The client may have gone.
                    let _ = write.write_all(answer).await;
                }
            }
        });
    }
}

fn one_worker() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a Tokio runtime starts")
}

type Get = Pin<Box<dyn Future<Output = ()> + Send>>;

fn micros_per_get(requests: u64, server: SocketAddr, cross: impl AsyncFn(&Handle, Get)) -> f64 {
    let tokio = one_worker();
    let compio = compio::runtime::Runtime::new().expect("a Compio runtime starts");
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.expect("a client");
    let url = format!("http://{server}/");
    let get = || -> Get {
        let request = client.get(&url);
        Box::pin(async move {
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.bytes().await.expect("a body"), "ok");
        })
    };
    compio.block_on(async {
        let used = async || {
            let theirs = tokio.spawn(async { cpu_time() }).await;
            theirs.expect("no panic") + cpu_time()
        };
        for _ in 0..WARM_UP {
            cross(tokio.handle(), get()).await;
        }
        let before = used().await;
        for _ in 0..requests {
            cross(tokio.handle(), get()).await;
        }
        (used().await - before).as_secs_f64() * 1e6 / requests as f64
    })
}

/// Sleeps in one round: some tens of milliseconds.
const SLEEPS: u64 = 200_000;

/// Long enough that none ends.
const LONG: Duration = Duration::from_secs(3600);

fn nanos_per_sleep<F: Future<Output = ()>>(sleeps: u64, sleep: impl Fn(Duration) -> F) -> f64 {
    let start = cpu_time();
    for _ in 0..sleeps {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(sleep(LONG)).poll(&mut cx).is_pending());
    }
    (cpu_time() - start).as_nanos() as f64 / sleeps as f64
}
