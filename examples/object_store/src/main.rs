//! An object store: axum on Tokio in front, the storage on Compio behind, in one process.
//!
//! ```text
//! cargo run --release --example object_store                        # shows and checks itself, and ends
//! cargo run --release --example object_store -- --listen 127.0.0.1:8080 --dir data
//! curl -T picture.jpg http://127.0.0.1:8080/objects/picture.jpg
//! ```
//!
//! A template for a service that stays on Tokio and moves its storage to Compio: to `landbridge::fs` where
//! `tokio::fs` was, and to jobs on a `CompioPool` for what must not end half-way. What a migrating code
//! base copies is marked `COPY` in the comments:
//!
//! | file | shows | copy |
//! |---|---|---|
//! | `store.rs` | storage on Compio: questions, streams in, streams out | the file, with your own format on disk |
//! | `http.rs` | axum handlers over it, errors to status codes | the shape of `put` and `download` |
//! | `server.rs` | start, and an end that loses nothing | `Server::drain` |
//! | `name.rs`, `range.rs` | names and ranges from outside | as they are |
//! | `metrics.rs` | latency on either runtime and between them | what you lack |
//! | `demo.rs` | the load, and the checks of all of the above | nothing |

#[cfg(not(unix))]
compile_error!("`landbridge::fs` is for Unix; `--exclude object_store` builds the rest");

mod demo;
mod http;
mod metrics;
mod name;
mod range;
mod server;
mod store;
#[cfg(test)]
mod tests;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use landbridge::Driver;
use tokio::signal;

use server::{Config, Server};

const HELP: &str = "\
An object store on Tokio and Compio. Without --listen it starts itself on a free port, drives itself
with a few hundred objects, checks every answer, prints a table and ends.

  --listen ADDR      serve on ADDR (host:port) until Ctrl-C, then finish what is under way
  --dir DIR          keep the objects in DIR (default: a directory that is removed at the end)
  --threads N        storage threads (default: one for each four CPUs)
  --driver NAME      auto, io-uring or polling (default: auto)
  --capacity BYTES   refuse uploads (507) beyond so much in all (default: none)
  --max-object BYTES refuse larger objects (413) (default: 5 GiB; 64 MiB when it drives itself)
  --in-flight N      refuse (503) more operations at a time (default: 256)
  --timeout MILLIS   answer 503 when the storage takes longer (default: 30000)
  --help             this text
";

/// How long a request may go on after Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("{message}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    // Removed at the end.
    let temporary = match options.dir {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("object_store-").tempdir()?),
    };
    let dir = match (&options.dir, &temporary) {
        (Some(dir), _) => dir.as_path(),
        (None, Some(temporary)) => temporary.path(),
        (None, None) => return Err("no directory".into()),
    };
    let mut config = Config::new(dir);
    config.threads = options.threads;
    config.driver = options.driver;
    config.limits.capacity = options.capacity.unwrap_or(config.limits.capacity);
    config.limits.in_flight = options.in_flight.unwrap_or(config.limits.in_flight);
    config.limits.answer = options.timeout.unwrap_or(config.limits.answer);
    config.limits.object = options.max_object.unwrap_or(config.limits.object);
    let result = runtime.block_on(async {
        match options.listen {
            Some(listen) => serve(&config, &listen).await,
            None => {
                let mut plan = demo::Plan::full();
                plan.largest = options.max_object.unwrap_or(plan.largest);
                plan.at_once = plan.at_once.min(config.limits.in_flight);
                let mut out = std::io::stdout();
                tokio::select! {
                    done = demo::run(config, &plan, &mut out) => Ok(done?),
                    asked = asked_to_end() => Err(asked.map_or_else(Into::into, |()| "interrupted".into())),
                }
            }
        }
    });
    drop(runtime);
    if let Some(temporary) = temporary {
        remove(temporary.path());
    }
    result
}

/// Removes a directory that may still be written to: a demonstration that did not get to its end has
/// not drained its server, and storage threads without a pool end by themselves, but not at once.
fn remove(dir: &Path) {
    for _ in 0..100 {
        if std::fs::remove_dir_all(dir).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    eprintln!("{} could not be removed", dir.display());
}

async fn serve(config: &Config, listen: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = config.clone();
    config.listen = tokio::net::lookup_host(listen)
        .await?
        .next()
        .ok_or_else(|| format!("{listen} has no address"))?;
    let server = Server::start(&config).await?;
    println!("listening on http://{}", server.addr());
    std::io::stdout().flush()?;
    asked_to_end().await?;
    println!("draining");
    let finished = server.drain(GRACE).await;
    println!(
        "{}",
        if finished {
            "drained"
        } else {
            "cut off what took too long"
        }
    );
    Ok(())
}

async fn asked_to_end() -> std::io::Result<()> {
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[derive(Debug, Default)]
struct Options {
    listen: Option<String>,
    dir: Option<PathBuf>,
    threads: Option<usize>,
    driver: Driver,
    capacity: Option<u64>,
    max_object: Option<u64>,
    in_flight: Option<usize>,
    timeout: Option<Duration>,
}

impl Options {
    /// `None` for `--help`.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            // `--flag value` and `--flag=value`.
            let (flag, inline) = match arg.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (arg, None),
            };
            if flag == "--help" || flag == "-h" {
                return Ok(None);
            }
            let value = inline
                .or_else(|| args.next())
                .ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--listen" => options.listen = Some(value?),
                "--dir" => options.dir = Some(value?.into()),
                "--threads" => options.threads = Some(number(&flag, &value?, 1024)? as usize),
                "--capacity" => options.capacity = Some(number(&flag, &value?, u64::MAX)?),
                "--max-object" => options.max_object = Some(number(&flag, &value?, u64::MAX)?),
                "--in-flight" => {
                    options.in_flight = Some(number(&flag, &value?, 1 << 20)? as usize);
                }
                "--timeout" => {
                    let millis = number(&flag, &value?, 1 << 32)?;
                    options.timeout = Some(Duration::from_millis(millis));
                }
                "--driver" => {
                    options.driver = match value?.as_str() {
                        "auto" => Driver::Auto,
                        "io-uring" => Driver::IoUring,
                        "polling" => Driver::Polling,
                        other => return Err(format!("there is no driver {other:?}")),
                    }
                }
                _ => return Err(format!("there is no flag {flag:?}")),
            }
        }
        Ok(Some(options))
    }
}

fn number(flag: &str, value: &str, most: u64) -> Result<u64, String> {
    value
        .parse()
        .ok()
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| format!("{flag} takes a number from 1 to {most}, not {value:?}"))
}
