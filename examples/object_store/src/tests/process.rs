//! The server in a process of its own: killed, interrupted, and weighed.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use axum::http::StatusCode;
use bytes::Bytes;
use futures::{StreamExt, stream};
use reqwest::{Body, Method};

use super::files;
use crate::{
    Options,
    demo::{Demo, DemoError, Held, Kept, Object},
    name::ObjectName,
};

const ARGS: &str = "OBJECT_STORE_TEST_ARGS";

/// Not a test: this binary, started once more by the others, as the server.
#[test]
#[ignore = "started by other tests, with its arguments in the environment"]
fn child() {
    if let Ok(args) = env::var(ARGS) {
        let options = Options::parse(args.lines().map(str::to_owned))
            .unwrap()
            .unwrap();
        crate::run(options).unwrap();
    }
}

/// This binary, as the server or the demonstration.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "tests::process::child",
            "--ignored",
            "--nocapture",
        ])
        .env(ARGS, args.join("\n"))
        .stdout(Stdio::piped());
    command
}

/// `INT`, as Ctrl-C sends it, or `TERM`.
fn send(child: &Child, signal: &str) {
    let kill = format!("kill -{signal} {}", child.id());
    let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(sent.success());
}

struct Process {
    child: Child,
    addr: SocketAddr,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(dir: &Path, more: &[&str]) -> Self {
        let mut args = vec!["--listen", "127.0.0.1:0", "--dir", dir.to_str().unwrap()];
        args.extend(more);
        let mut child = command(&args).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let addr = loop {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "it ended at once");
            if let Some(addr) = line.trim().split("listening on http://").nth(1) {
                break addr.parse().unwrap();
            }
        };
        Self {
            child,
            addr,
            output,
        }
    }

    #[cfg(target_os = "linux")]
    fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// `SIGKILL` in the middle of uploads: nothing that was answered is lost, nothing else is left over.
#[tokio::test]
async fn a_crash_leaves_at_most_temporary_files_and_the_next_start_removes_them()
-> Result<(), DemoError> {
    for driver in ["auto", "polling"] {
        let dir = tempfile::tempdir()?;
        let mut process = Process::start(dir.path(), &["--driver", driver]);
        let demo = Demo::new(process.addr)?;
        let mut objects = Vec::new();
        for n in 0..5 {
            let object = Object::new(&format!("demo-{n}"), n, n * 100_000).await?;
            demo.put(&object, true, StatusCode::CREATED).await?;
            objects.push(object);
        }
        // Of an object that is there, and of ones that are not.
        let mut held = Vec::new();
        for text in ["demo-3", "demo-a", "demo-b"] {
            held.push(Held::new(&demo, text, Some(1_000_000)).await?);
        }
        let begun = |_: &str| files(dir.path(), "incoming").len() == held.len();
        demo.wait_for("unfinished uploads on the disk", begun)
            .await?;
        process.child.kill()?;
        process.child.wait()?;
        assert_eq!(files(dir.path(), "incoming").len(), held.len(), "{driver}");

        let process = Process::start(dir.path(), &["--driver", driver]);
        assert!(files(dir.path(), "incoming").is_empty(), "{driver}");
        let demo = Demo::new(process.addr)?;
        for object in &objects {
            demo.get(object).await?;
        }
        assert_eq!(demo.list().await?.len(), objects.len());
    }
    Ok(())
}

/// Ctrl-C: an upload under way is finished, connections that are kept are told, the process ends well.
#[tokio::test]
async fn a_signal_drains() -> Result<(), DemoError> {
    for signal in ["INT", "TERM"] {
        let dir = tempfile::tempdir()?;
        let mut process = Process::start(dir.path(), &[]);
        let demo = Demo::new(process.addr)?;
        let held = Held::new(&demo, "demo-late", None).await?;
        demo.until("object_store_operations_in_flight", 1).await?;
        let mut kept = Kept::connect(process.addr).await?;
        assert!(kept.get("/readyz").await?.starts_with("HTTP/1.1 200"));
        send(&process.child, signal);
        while !kept.get("/readyz").await?.starts_with("HTTP/1.1 503") {}
        let length = held.length();
        assert_eq!(held.finish().await?.status(), StatusCode::CREATED);
        assert!(process.child.wait()?.success());
        let mut output = String::new();
        process.output.read_to_string(&mut output)?;
        assert!(output.contains("draining\ndrained\n"), "{output}");
        let objects = files(dir.path(), "objects");
        assert_eq!(std::fs::metadata(&objects[0])?.len(), length);
    }
    Ok(())
}

/// Ctrl-C in the middle of the demonstration, too, leaves nothing behind.
#[test]
fn an_interrupted_demonstration_removes_its_directory() {
    let temporary = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        let mut child = command(&["--max-object", "1048576"])
            .env("TMPDIR", temporary.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut lines = output.lines().map(Result::unwrap);
        assert!(lines.any(|line| line.starts_with("load: ")));
        send(&child, "INT");
        // Reads on, so that the child does not stand still.
        lines.for_each(drop);
        assert!(!child.wait().unwrap().success());
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    }
}

/// 256 MiB in and out, also to a client that stops reading in between, cost the server no more than a
/// few chunks.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_large_object_costs_little_memory() -> Result<(), DemoError> {
    const LENGTH: u64 = 256 << 20;
    const BOUND: u64 = 24 << 20;

    for driver in ["auto", "polling"] {
        let dir = tempfile::tempdir()?;
        let process = Process::start(dir.path(), &["--driver", driver]);
        let demo = Demo::new(process.addr)?;
        // What the first requests cost, whatever they carry.
        let small = Object::new("demo-small", 1, 1 << 20).await?;
        demo.put(&small, true, StatusCode::CREATED).await?;
        demo.get(&small).await?;
        let before = process.most_memory();

        let name = ObjectName::new("large").unwrap();
        let chunk = Bytes::from(vec![7; 1 << 20]);
        let chunks = stream::repeat(chunk).take((LENGTH >> 20) as usize);
        let body = Body::wrap_stream(chunks.map(Ok::<_, std::convert::Infallible>));
        let put = demo.object(Method::PUT, &name).body(body).send().await?;
        assert_eq!(put.status(), StatusCode::CREATED);
        let after_put = process.most_memory() - before;

        let mut get = demo.object(Method::GET, &name).send().await?;
        let mut length = 0;
        while let Some(chunk) = get.chunk().await? {
            if length == 0 {
                // Time for the server to read ahead as far as it will: its other requests go on.
                for _ in 0..100 {
                    demo.get(&small).await?;
                }
            }
            length += chunk.len() as u64;
        }
        assert_eq!(length, LENGTH);
        let after_get = process.most_memory() - before;
        println!(
            "{driver}: {} KiB more after PUT, {} KiB after GET",
            after_put >> 10,
            after_get >> 10
        );
        assert!(
            after_get < BOUND,
            "{driver}: {after_put} bytes for PUT, {after_get} with GET"
        );
    }
    Ok(())
}
