//! Counts the lines and the most frequent words of a large log: Compio with buffers that are used again, beside
//! `landbridge::fs`, `tokio::fs` and plain threads.
//!
//! ```text
//! cargo run --release --example log_scan                     # makes a log of 256 MiB, checks itself, and ends
//! cargo run --release --example log_scan -- --file /var/log/syslog --way compio
//! ```
//!
//! For whoever reads large files from end to end: logs, exports, segments of a store. Every worker takes a
//! range of the file, reads it in pieces, several ahead, and gives each buffer to the kernel again when its
//! bytes are counted. What a migrating code base copies is marked `COPY`:
//!
//! | file | shows | copy |
//! |---|---|---|
//! | `scan.rs` | the reading, in four ways | `on_compio`, `compio_worker` and `read_piece`, or `by_landbridge` |
//! | `tally.rs` | lines and words over the ends of pieces and ranges | `Counter`, with what you count |
//! | `main.rs` | runtime and pool, signals, the progress bar | `asked_to_end` |
//! | `log.rs`, `demo.rs` | a log to count, the checks and the figures | nothing |
//!
//! | way | it replaces | take it |
//! |---|---|---|
//! | `compio` | `tokio::fs` in the hot path | when the whole of the work on the file can move to a pool |
//! | `landbridge-fs` | `tokio::fs`, line by line | when it stays in tasks of Tokio's |
//! | `tokio-fs`, `threads` | | they are what is compared with |
//!
//! Measured by the demonstration, on a virtual machine of 2 processors (Linux 6.18, ext4), not quite quiet; 2 workers,
//! 256 MiB that are in the page cache, medians of 9 rounds in turns:
//!
//! | | lines: ms | ms of CPU | lines and words: ms | ms of CPU |
//! |---|---|---|---|---|
//! | `compio` | 17 | 24 | 516 | 924 |
//! | `landbridge-fs` | 14 | 23 | 494 | 913 |
//! | `tokio-fs` | 37 | 49 | 499 | 914 |
//! | `threads` | 12 | 22 | 481 | 840 |
//!
//! So the reading costs half of what it does with `tokio::fs`, and about what it does with threads that may wait;
//! once each byte is looked at, as for words, who reads no longer matters. Measure your own work with `--file`,
//! and with `--cold` on your own disk: there (275, 270, 224 and 234 ms for lines) it was the disk that counted.

#[cfg(not(unix))]
compile_error!("`landbridge::fs` is for Unix; `--exclude log_scan` builds the rest");

mod demo;
mod log;
mod scan;
mod tally;
#[cfg(test)]
mod tests;

use std::{future::Future, io, num::NonZero, path::PathBuf, process::ExitCode, thread};

use landbridge::CompioPool;
use tokio::signal::unix;
use tokio_util::sync::CancellationToken;

use demo::Plan;
use scan::Way;

const HELP: &str = "\
Counts lines and words of a log on Compio, Tokio and plain threads. Without --file it makes a log in a
directory that is removed at the end, and checks the answers against what it wrote.

  --file PATH     the log to count
  --size MIB      how large a log it makes (default: 256)
  --way NAME      compio, landbridge-fs, tokio-fs or threads (default: all of them in turns)
  --threads N     workers (default: one for each CPU)
  --rounds N      how often it measures (default: 3)
  --top N         how many words it prints (default: 10)
  --cold          has the system forget what it keeps of the file before each time
  --help          this text
";

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let plan = match parse(lexopt::Parser::from_env()) {
        Ok(Some(plan)) => plan,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan) -> Result<(), Error> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(plan.threads)
        .enable_all()
        .build()?;
    // As many as there are processors, since its workers count, too. A pool that merely reads needs fewer: its
    // own default.
    let pool = CompioPool::builder()
        .threads(plan.threads)
        .thread_name("scan")
        .build()?;
    tokio.block_on(async {
        // A scan looks at it after each piece; then nothing is under way any more, and the log is removed.
        let stop = CancellationToken::new();
        let asked = asked_to_end()?;
        tokio::spawn({
            let stop = stop.clone();
            async move {
                asked.await;
                stop.cancel();
            }
        });
        let done = demo::run(plan, &pool, &stop, &mut io::stdout()).await;
        pool.shutdown().await;
        Ok(done?)
    })
}

/// COPY: Ctrl-C or SIGTERM, from now on.
fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = unix::signal(unix::SignalKind::interrupt())?;
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// `None` for `--help`.
fn parse(mut args: lexopt::Parser) -> Result<Option<Plan>, lexopt::Error> {
    use lexopt::{Arg, ValueExt};

    let mut plan = Plan {
        threads: thread::available_parallelism().map_or(1, NonZero::get),
        ..Plan::default()
    };
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("file") => plan.file = Some(PathBuf::from(args.value()?)),
            Arg::Long("size") => plan.bytes = number(&mut args, 1 << 24)? << 20,
            Arg::Long("threads") => plan.threads = number(&mut args, 1024)? as usize,
            Arg::Long("rounds") => plan.rounds = number(&mut args, 1000)?,
            Arg::Long("top") => plan.top = number(&mut args, 1000)? as usize,
            Arg::Long("cold") => plan.cold = true,
            Arg::Long("way") => {
                let name = args.value()?.string()?;
                let known = Way::ALL.into_iter().find(|way| way.name() == name);
                plan.ways = vec![known.ok_or_else(|| format!("there is no way {name:?}"))?];
            }
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(plan))
}

fn number(args: &mut lexopt::Parser, most: u64) -> Result<u64, lexopt::Error> {
    use lexopt::ValueExt;

    args.value()?.parse_with(|text| {
        let number = text.parse().ok();
        let number = number.filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| format!("a number from 1 to {most}"))
    })
}
