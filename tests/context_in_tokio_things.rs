//! Tokio's own things inside Compio tasks, unchanged: timers, files, processes, signals, threads that block.
#![cfg(all(feature = "pool", unix))]

mod context_support;
mod support;

use std::{process::Stdio, time::Duration};

use context_support::everywhere;
use futures::{FutureExt, StreamExt, future::pending};
use landbridge::{context::InTokioExt, rt::spawn_local};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, interval, sleep, timeout},
};

/// Tokio's timers are watched by its reactor, on its thread.
#[test]
fn timers_fire() {
    everywhere(|handle| async move {
        let short = Duration::from_millis(2);
        let timers = async {
            let start = Instant::now();
            sleep(short).await;
            assert!(start.elapsed() >= short);
            assert!(timeout(short, pending::<()>()).await.is_err());
            assert_eq!(timeout(short * 1000, async { 42 }).await, Ok(42));
            let mut ticks = interval(short);
            for _ in 0..3 {
                ticks.tick().await;
            }
        };
        timers.in_tokio(&handle).await;
    });
}

/// Many of one task, and of many tasks: each wakes the one that waits for it.
#[test]
fn many_tasks_wait_in_one_context() {
    everywhere(|handle| async move {
        let tasks: Vec<_> = (0..50)
            .map(|i| {
                let waits = async move {
                    for _ in 0..5 {
                        sleep(Duration::from_millis(i % 4)).await;
                    }
                    i
                };
                spawn_local(waits.in_tokio(&handle))
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        assert_eq!(sum, 1225);
    });
}

/// Tokio's files are a blocking thread's.
#[test]
fn files_are_written_and_read() {
    everywhere(|handle| async move {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let files = async {
            tokio::fs::write(&path, b"over the bridge").await.unwrap();
            let mut file = tokio::fs::File::open(&path).await.unwrap();
            file.seek(std::io::SeekFrom::Start(9)).await.unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "bridge");
            tokio::fs::remove_file(&path).await.unwrap();
        };
        files.in_tokio(&handle).await;

        // The object alone, for code that knows nothing of it.
        let made = tokio::fs::File::create(&path).in_tokio(&handle).await;
        let mut file = made.unwrap().in_tokio(&handle);
        file.write_all(b"bridge").await.unwrap();
        file.flush().await.unwrap();
        drop(file);
        assert_eq!(compio::fs::read(&path).await.unwrap(), b"bridge");
    });
}

/// Tokio watches its children by a descriptor or by a signal, both its reactor's.
#[test]
fn processes_are_talked_to_and_waited_for() {
    everywhere(|handle| async move {
        let process = async {
            let mut child = Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
            for line in ["one", "two"] {
                let text = format!("{line}\n");
                stdin.write_all(text.as_bytes()).await.unwrap();
                assert_eq!(stdout.next_line().await.unwrap().unwrap(), line);
            }
            drop(stdin);
            assert_eq!(stdout.next_line().await.unwrap(), None);
            assert!(child.wait().await.unwrap().success());
            let failed = Command::new("false").status().await.unwrap();
            assert_eq!(failed.code(), Some(1));
        };
        process.in_tokio(&handle).await;
    });
}

/// One that comes while the task waits, and none that is lost between two.
#[test]
fn signals_arrive() {
    everywhere(|handle| async move {
        let signals = async {
            let mut usr1 = signal(SignalKind::user_defined1()).unwrap();
            for _ in 0..3 {
                assert!(usr1.recv().now_or_never().is_none());
                rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::USR1,
                )
                .unwrap();
                usr1.recv().await.unwrap();
            }
        };
        signals.in_tokio(&handle).await;
    });
}

/// Results, and panics.
#[test]
fn blocking_work_and_tasks_come_back() {
    everywhere(|handle| async move {
        let work = async {
            let here = std::thread::current().id();
            let there = tokio::task::spawn_blocking(|| std::thread::current().id());
            assert_ne!(there.await.unwrap(), here);
            let panics = tokio::task::spawn_blocking(|| panic!("on purpose"));
            assert!(panics.await.unwrap_err().is_panic());
            let task = tokio::spawn(async { 42 });
            assert_eq!(task.await.unwrap(), 42);
        };
        work.in_tokio(&handle).await;
    });
}

/// Sockets, with a stream and a sink of them in the context item by item.
#[test]
fn sockets_are_watched_by_tokio_and_used_here() {
    everywhere(|handle| async move {
        let listener = TcpListener::bind("127.0.0.1:0").in_tokio(&handle).await;
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = spawn_local(
            async move {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (mut read, mut write) = socket.split();
                tokio::io::copy(&mut read, &mut write).await.unwrap()
            }
            .in_tokio(&handle),
        );
        let connected = TcpStream::connect(address).in_tokio(&handle).await;
        let mut socket = connected.unwrap().in_tokio(&handle);
        for len in [1, 1000, 100_000] {
            let text = vec![7; len];
            let (mut read, mut write) = tokio::io::split(&mut socket);
            let mut back = vec![0; len];
            let (wrote, got) = tokio::join!(write.write_all(&text), read.read_exact(&mut back));
            wrote.unwrap();
            got.unwrap();
            assert!(back == text);
        }
        socket.shutdown().await.unwrap();
        assert_eq!(serving.await.unwrap(), 101_001);

        let (sender, receiver) = mpsc::channel(1);
        let ticks = futures::stream::unfold(receiver, |mut receiver: mpsc::Receiver<u8>| async {
            sleep(Duration::from_millis(1)).await;
            receiver.recv().await.map(|item| (item, receiver))
        });
        let mut ticks = Box::pin(ticks.in_tokio(&handle));
        for item in 0..3 {
            sender.send(item).await.unwrap();
            assert_eq!(ticks.next().await, Some(item));
        }
        drop(sender);
        assert_eq!(ticks.next().await, None);
    });
}
