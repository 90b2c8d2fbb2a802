//! What the binary `overhead` and the Criterion benches share: rows, and how a ratio is taken.
//!
//! A row is one question with one number as its answer: how much of a peer's cost landbridge has.
//! Both sides are measured in every round, close in time and in alternating order, because two
//! measurements minutes apart on a shared machine differ by more than what is looked for.

use std::{fmt::Write as _, io::Write, process::Command};

pub mod allocations;
pub mod by_hand;
pub mod channel;
pub mod context;
#[cfg(unix)]
pub mod fs;
pub mod io;
pub mod server;
pub mod spawn;
pub mod threads;

/// Rounds counted in a full run; one more, the warm-up, is dropped.
const ROUNDS: usize = 11;
/// Rounds counted in a quick run, which shows that everything runs and little more.
const QUICK_ROUNDS: usize = 3;
/// Rounds counted for a row whose two sides tie by nature, in any run.
const TIE_ROUNDS: usize = 9;
/// The goals that say "as good as the peer": noise decides on which side of it a median falls.
const TIES: std::ops::RangeInclusive<f64> = 1.00..=1.02;
/// What noise is granted to such a goal.
const TIE_MARGIN: f64 = 0.05;

/// Every group, in the order in which they are printed.
pub fn groups() -> [Group; 5] {
    [
        // Work sent to the other runtime's threads.
        Group::new("spawn", spawn::ROWS),
        // Streams of one runtime used as the other's.
        Group::new("io", io::ROWS),
        // Messages between the two.
        Group::new("channel", channel::ROWS),
        // Files driven by Compio, used from Tokio.
        #[cfg(unix)]
        Group {
            why_not: fs::why_not,
            finish: fs::clean_up,
            ..Group::new("fs", fs::ROWS)
        },
        #[cfg(not(unix))]
        Group::new("fs", &[]),
        // The other runtime's reactor, without a hop.
        Group::new("context", context::ROWS),
    ]
}

/// Rows that answer the same kind of question.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// What `--only` is given.
    pub name: &'static str,
    /// May be empty.
    pub rows: &'static [Row],
    /// What this machine or this build lacks for a row, which is skipped then.
    pub why_not: fn(&Row, &Config) -> Option<String>,
    /// Called after the last row: removes what the rows share.
    pub finish: fn(),
}

impl Group {
    const fn new(name: &'static str, rows: &'static [Row]) -> Self {
        Self {
            name,
            rows,
            why_not: |_, _| None,
            finish: || {},
        }
    }
}

/// One comparison.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The group's name, a dot, the row's own.
    pub name: &'static str,
    /// Of both sides' amounts; less is better.
    pub unit: &'static str,
    /// Whom landbridge is compared with; `budget` for a bound on an absolute amount.
    pub peer_name: &'static str,
    /// The largest ratio that is good enough.
    pub goal: Option<f64>,
    /// What is measured, from where, and what is pinned.
    pub doc: &'static str,
    /// One round: ours, then the peer's amount. [`Config::both`] measures them in the round's order.
    pub round: fn(&Config) -> (f64, f64),
}

/// What a round has to know.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Show that it runs; a few tenths of a second for each side at most.
    pub quick: bool,
    peer_first: bool,
}

impl Config {
    /// A configuration in which our side goes first.
    pub const fn new(quick: bool) -> Self {
        Self {
            quick,
            peer_first: false,
        }
    }

    /// `full` operations, or a tenth of them in a quick run.
    pub const fn operations(&self, full: u64) -> u64 {
        if self.quick { full / 10 } else { full }
    }

    /// Measures both sides, in the order that this round asks for; ours, then the peer's.
    pub fn both(
        &self,
        ours: impl FnOnce(&Self) -> f64,
        peer: impl FnOnce(&Self) -> f64,
    ) -> (f64, f64) {
        if self.peer_first {
            let peer = peer(self);
            (ours(self), peer)
        } else {
            let ours = ours(self);
            (ours, peer(self))
        }
    }
}

/// What came of a row.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Median of our side.
    pub ours: f64,
    /// Median of the peer's side.
    pub peer: f64,
    /// Median of the rounds' ratios, not the ratio of the medians: a slow spell of the machine hits
    /// both sides of a round.
    pub ratio: f64,
    /// First and third quartile of the rounds' ratios.
    pub quartiles: (f64, f64),
    /// How many rounds were counted.
    pub rounds: usize,
    /// `None` without a goal.
    pub met: Option<bool>,
}

impl Row {
    fn is_tie(&self) -> bool {
        self.goal.is_some_and(|goal| TIES.contains(&goal))
    }

    /// Runs all rounds.
    pub fn measure(&self, quick: bool) -> Outcome {
        let rounds = match (quick, self.is_tie()) {
            (false, _) => ROUNDS,
            (true, true) => TIE_ROUNDS,
            (true, false) => QUICK_ROUNDS,
        };
        let mut config = Config::new(quick);
        (self.round)(&config);
        let (mut ours, mut peer, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            config.peer_first = round % 2 == 0;
            let (our, their) = (self.round)(&config);
            ours.push(our);
            peer.push(their);
            ratios.push(our / their);
        }
        let ratio = quantile(&mut ratios, 0.5);
        let bound = self.goal.map(|goal| {
            if self.is_tie() {
                goal + TIE_MARGIN
            } else {
                goal
            }
        });
        Outcome {
            ours: quantile(&mut ours, 0.5),
            peer: quantile(&mut peer, 0.5),
            ratio,
            quartiles: (quantile(&mut ratios, 0.25), quantile(&mut ratios, 0.75)),
            rounds,
            met: bound.map(|bound| ratio <= bound),
        }
    }

    /// One JSON object, on one line, without the line's end.
    pub fn json(&self, outcome: &Outcome) -> String {
        // Names and units are literals of ours without anything to escape; `{:?}` of a finite f64 is
        // a JSON number.
        let goal = self.goal.map_or("null".into(), |goal| format!("{goal:?}"));
        let met = outcome.met.map_or("null".into(), |met| met.to_string());
        format!(
            r#"{{"name":"{}","ours":{},"peer":{},"peer_name":"{}","unit":"{}","ratio":{},"goal":{goal},"met":{met}}}"#,
            self.name,
            number(outcome.ours),
            number(outcome.peer),
            self.peer_name,
            self.unit,
            number(outcome.ratio),
        )
    }
}

fn number(value: f64) -> String {
    if value.is_finite() {
        format!("{value:?}")
    } else {
        "null".into()
    }
}

/// Sorts `values` and reads off a quantile, between two neighbours where it falls between them.
fn quantile(values: &mut [f64], at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = at * (values.len() - 1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    values[low] + (values[high] - values[low]) * place.fract()
}

/// Prints rows as they come in, under a head that names the machine.
#[derive(Debug)]
pub struct Table {
    wide: usize,
}

impl Table {
    /// Prints the head.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn start(groups: &[Group], out: &mut impl Write) -> std::io::Result<Self> {
        let wide = groups
            .iter()
            .flat_map(|group| group.rows)
            .map(|row| row.name.len())
            .max()
            .unwrap_or(0)
            .max("row".len());
        writeln!(
            out,
            "{:wide$}  {:>10}  {:>10}  {:<9}  {:>6}  {:<13}  {:>5}  {:<4}  peer",
            "row", "ours", "peer", "unit", "ratio", "quartiles", "goal", "met"
        )?;
        Ok(Self { wide })
    }

    /// Prints one row.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn row(&self, row: &Row, outcome: &Outcome, out: &mut impl Write) -> std::io::Result<()> {
        let goal = row.goal.map_or("-".into(), |goal| format!("{goal:.2}"));
        let met = match outcome.met {
            None => "-",
            Some(true) => "yes",
            Some(false) => "NO",
        };
        let (low, high) = outcome.quartiles;
        writeln!(
            out,
            "{:wide$}  {:>10}  {:>10}  {:<9}  {:>6.3}  {:<13}  {:>5}  {:<4}  {}",
            row.name,
            amount(outcome.ours),
            amount(outcome.peer),
            row.unit,
            outcome.ratio,
            format!("{low:.3}..{high:.3}"),
            goal,
            met,
            row.peer_name,
            wide = self.wide,
        )
    }

    /// Says why a row is left out.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn skipped(&self, row: &Row, why: &str, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "{:wide$}  skipped: {why}", row.name, wide = self.wide)
    }
}

/// Four digits that mean something.
fn amount(value: f64) -> String {
    let whole_digits = value.abs().max(1.0).log10().floor() as usize;
    format!("{value:.*}", 3_usize.saturating_sub(whole_digits))
}

/// Machine, kernel, compiler and commit, in two lines: a figure without them says nothing.
pub fn machine() -> String {
    let mut text = String::new();
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let cpu = cpu_model().unwrap_or_else(|| std::env::consts::ARCH.into());
    let kernel = first_line("uname", &["-sr"]).unwrap_or_else(|| std::env::consts::OS.into());
    let _ = writeln!(text, "{cpu}, {cores} cores, {kernel}");
    let rustc = first_line("rustc", &["--version"]).unwrap_or_else(|| "rustc unknown".into());
    let commit = first_line(
        "git",
        &["describe", "--always", "--dirty=+changes", "--exclude=*"],
    )
    .unwrap_or_else(|| "unknown".into());
    let _ = write!(text, "{rustc}, commit {commit}");
    text
}

fn cpu_model() -> Option<String> {
    if cfg!(target_os = "macos") {
        return first_line("sysctl", &["-n", "machdep.cpu.brand_string"]);
    }
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIE: Row = Row {
        name: "test.tie",
        unit: "us/op",
        peer_name: "nobody",
        goal: Some(1.0),
        doc: "",
        round: |config| config.both(|_| 1.04, |_| 1.0),
    };

    /// The JSON keys are read by other programs.
    #[test]
    fn a_json_line_has_exactly_the_promised_keys() {
        let line = TIE.json(&TIE.measure(true));
        assert_eq!(
            line,
            r#"{"name":"test.tie","ours":1.04,"peer":1.0,"peer_name":"nobody","unit":"us/op","ratio":1.04,"goal":1.0,"met":true}"#
        );
        let without_goal = Row { goal: None, ..TIE };
        let line = without_goal.json(&without_goal.measure(true));
        assert!(line.ends_with(r#""goal":null,"met":null}"#), "{line}");
    }

    /// Noise must not decide a tie, nor may a goal that is no tie be softened.
    #[test]
    fn only_a_tie_has_a_margin() {
        assert_eq!(TIE.measure(true).met, Some(true));
        assert_eq!(TIE.measure(true).rounds, TIE_ROUNDS);
        let over = Row {
            round: |_| (1.06, 1.0),
            ..TIE
        };
        assert_eq!(over.measure(true).met, Some(false));
        let no_tie = Row {
            goal: Some(1.03),
            ..TIE
        };
        assert_eq!(no_tie.measure(true).met, Some(false));
    }

    /// Whichever side goes first heats the caches for the other.
    #[test]
    fn the_order_of_the_sides_alternates() {
        use std::sync::Mutex;
        static ORDER: Mutex<Vec<char>> = Mutex::new(Vec::new());
        let row = Row {
            goal: None,
            round: |config| {
                config.both(
                    |_| {
                        ORDER.lock().unwrap().push('o');
                        1.0
                    },
                    |_| {
                        ORDER.lock().unwrap().push('p');
                        1.0
                    },
                )
            },
            ..TIE
        };
        row.measure(true);
        let order: String = ORDER.lock().unwrap().iter().collect();
        assert_eq!(order, "op".to_owned() + "po" + "op" + "po");
    }

    /// A median between two rounds lies between them.
    #[test]
    fn a_quantile_is_read_off_the_sorted_values() {
        assert_eq!(quantile(&mut [3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&mut [4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
        assert_eq!(quantile(&mut [5.0, 1.0, 2.0, 3.0, 4.0], 0.25), 2.0);
    }

    /// A name outside its group could not be found with `--only`.
    #[test]
    fn every_row_is_named_after_its_group() {
        for group in groups() {
            for row in group.rows {
                let (first, rest) = row.name.split_once('.').expect("a dot");
                assert_eq!(first, group.name);
                assert!(!rest.is_empty());
                assert!(!row.doc.is_empty(), "{} has no doc", row.name);
            }
        }
    }
}
