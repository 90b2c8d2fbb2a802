//! The log, the rounds, the checks and the table. Nothing in here is for copying.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use examples_support::{Cost, Stopwatch, median};
use indicatif::{ProgressBar, ProgressStyle};
use landbridge::CompioPool;
use rustix::fs::{Advice, fadvise};
use tokio::task;
use tokio_util::sync::CancellationToken;

use crate::{
    log::{self, Written},
    scan::{Scan, ScanError, Way},
    tally::{Question, Tally},
};

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Otherwise one is made, of so many bytes.
    pub(crate) file: Option<PathBuf>,
    pub(crate) bytes: u64,
    pub(crate) ways: Vec<Way>,
    pub(crate) threads: usize,
    pub(crate) rounds: u64,
    pub(crate) top: usize,
    pub(crate) cold: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            file: None,
            bytes: 256 << 20,
            ways: Way::ALL.to_vec(),
            threads: 1,
            rounds: 3,
            top: 10,
            cold: false,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{0}")]
    Mismatch(String),
    #[error("{0}")]
    Scan(#[from] ScanError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a task: {0}")]
    Task(#[from] task::JoinError),
}

pub(crate) type Result<T, E = DemoError> = std::result::Result<T, E>;

const QUESTIONS: [(Question, &str); 2] = [
    (Question::Lines, "lines"),
    (Question::Words, "lines and words"),
];

/// Runs everything; the last line that it writes is `ok: ...`.
pub(crate) async fn run(
    plan: &Plan,
    pool: &CompioPool,
    stop: &CancellationToken,
    out: &mut impl Write,
) -> Result<()> {
    // Removed at the end, an end by Ctrl-C included.
    let made = match plan.file {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("log_scan-").tempdir()?),
    };
    let (path, written) = match (&plan.file, &made) {
        (Some(file), _) => (file.clone(), None),
        (None, Some(dir)) => {
            let path = dir.path().join("log");
            let written = make(plan, path.clone(), stop.clone()).await?;
            (path, Some(written))
        }
        (None, None) => return Err(DemoError::Mismatch("no log".to_owned())),
    };
    if stop.is_cancelled() {
        return Err(ScanError::Interrupted.into());
    }
    let file = std::fs::File::open(&path).map_err(|error| ScanError::Open(path.clone(), error))?;
    let length = file.metadata()?.len();
    writeln!(
        out,
        "{} of {length} bytes, {} workers, {} rounds in turns",
        path.display(),
        plan.threads,
        plan.rounds
    )?;

    let bar = bar(length * plan.ways.len() as u64 * plan.rounds * 2, "count");
    let mut answers: [Option<Tally>; 2] = [None, None];
    let mut costs = vec![Vec::new(); 2 * plan.ways.len()];
    for _ in 0..plan.rounds {
        for (q, (question, name)) in QUESTIONS.into_iter().enumerate() {
            for (w, way) in plan.ways.iter().enumerate() {
                bar.set_message(format!("{name}: {}", way.name()));
                if plan.cold {
                    fadvise(&file, 0, None, Advice::DontNeed).map_err(io::Error::from)?;
                }
                let scan = Scan::new(&path, length, question, bar.clone(), stop.clone());
                let watch = Stopwatch::start();
                let tally = scan.run(*way, pool, plan.threads).await?;
                costs[q * plan.ways.len() + w].push(watch.stop());
                let answer = answers[q].get_or_insert_with(|| tally.clone());
                if *answer != tally {
                    let what = format!("{name}: {} counts otherwise", way.name());
                    return Err(DemoError::Mismatch(what));
                }
            }
        }
    }
    bar.finish_and_clear();
    let [Some(lines), Some(words)] = answers else {
        return Err(DemoError::Mismatch("no answer".to_owned()));
    };
    check(&lines, &words, written)?;

    print_words(out, &words, plan.top)?;
    print_costs(out, plan, length, &costs)?;
    let scans = plan.rounds * 2 * plan.ways.len() as u64;
    writeln!(out, "ok: {} lines, the same in {scans} scans", words.lines)?;
    Ok(())
}

async fn make(plan: &Plan, path: PathBuf, stop: CancellationToken) -> Result<Written> {
    let bytes = plan.bytes;
    let bar = bar(bytes, "make");
    let making = task::spawn_blocking(move || {
        let written = log::write(&path, bytes, &bar, &stop);
        bar.finish_and_clear();
        written
    });
    Ok(making.await??)
}

/// To the terminal, if there is one.
fn bar(length: u64, what: &'static str) -> ProgressBar {
    let template = "{prefix} [{wide_bar}] {bytes}/{total_bytes} {msg}";
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(length)
        .with_prefix(what)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn check(lines: &Tally, words: &Tally, written: Option<Written>) -> Result<()> {
    let mismatch = |what: &str| Err(DemoError::Mismatch(what.to_owned()));
    if lines.lines != words.lines {
        return mismatch("the one question has more lines than the other");
    }
    let Some(written) = written else {
        return Ok(());
    };
    if words.lines != written.lines {
        return mismatch("not as many lines as were written");
    }
    let errors = words.words.get(&b"ERROR"[..]).copied().unwrap_or(0);
    if errors != written.errors {
        return mismatch("not as many errors as were written");
    }
    Ok(())
}

fn print_words(out: &mut impl Write, words: &Tally, most: usize) -> io::Result<()> {
    writeln!(out, "\n{:>10}  of {} words", "times", words.words.len())?;
    for (word, times) in words.top(most) {
        writeln!(out, "{times:>10}  {word}")?;
    }
    Ok(())
}

fn print_costs(
    out: &mut impl Write,
    plan: &Plan,
    length: u64,
    costs: &[Vec<Cost>],
) -> io::Result<()> {
    let mib = length as f64 / f64::from(1 << 20);
    for (costs, (_, name)) in costs.chunks(plan.ways.len()).zip(QUESTIONS) {
        writeln!(out, "\n{name:16}     ms    MiB/s   ms of CPU")?;
        for (way, costs) in plan.ways.iter().zip(costs) {
            let cost = median(costs);
            let (wall, cpu) = (cost.wall.as_secs_f64(), cost.cpu.as_secs_f64());
            writeln!(
                out,
                "{:14} {:>8.0} {:>8.0}    {:>8.0}",
                way.name(),
                wall * 1e3,
                mib / wall,
                cpu * 1e3
            )?;
        }
    }
    writeln!(out)
}
