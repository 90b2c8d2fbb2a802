//! Lists what a code base uses of Tokio, module by module: what each item becomes, how much work that is, what changes
//! for futures that are dropped, and which crates hold the move up.
//!
//! ```text
//! cargo run --release --example inventory                                 # a small code base of its own, and checks
//! cargo run --release --example inventory -- PATH                         # yours: a crate, a workspace, or a file
//! cargo run --release --example inventory -- PATH --format markdown
//! ```
//!
//! For the day on which a team asks how much of its code is Tokio's, before anything moves (`docs/migrating.md`). It
//! reads source and nothing else: nothing is built, no network is used, nothing is written.
//!
//! | file | what it does |
//! |---|---|
//! | `table.rs` | the mapping: what each item becomes; what is offered to crates for Tokio. Copy and extend it |
//! | `walk.rs`, `manifest.rs` | `*.rs` files but for `target` and hidden folders, packages, module paths, dependencies |
//! | `source.rs`, `tokens.rs` | one file: its `use` lines and paths, also among the arguments of macros |
//! | `resolve.rs` | what a path means, through renames, groups, globs, re-exports, `self` and `super` |
//! | `report.rs`, `print.rs` | the report, as text, JSON and Markdown |
//! | `demo.rs` | a small code base, and the counts that must come out |
//!
//! It replaces `grep -rn 'tokio::'`, which neither sees `TcpStream::connect` after a `use` nor leaves out what a comment
//! says. What it cannot see is said at the end of every report, too:
//!
//! - what macros make. Of their arguments, items are parsed, and otherwise paths are looked for;
//! - methods. `stream.read(..)` counts where `AsyncReadExt` is imported, not where it is called;
//! - what other crates re-export or return;
//! - `cfg`: all of the code is read, whatever it is for.
//!
//! Measured on a virtual machine of 2 processors (Linux 6.18), not quiet: 8 MB of source in a second of CPU time;
//! `tokio-util`, 1 MB, takes 0.1 s.
//!
//! A file that cannot be read, is not UTF-8, does not parse or nests too deep is named, and the rest goes on. It has
//! nothing to drain: Ctrl-C ends it as it ends any tool that only reads.

mod demo;
mod manifest;
mod print;
mod report;
mod resolve;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod tokens;
mod walk;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use print::Format;

const HELP: &str = "\
Lists what a code base uses of Tokio, what each becomes, and what blocks the move. Without PATH it reads a small
code base of its own, and checks what comes out.

  PATH            a crate, a workspace, or a part of one
  --format NAME   text, json or markdown (default: text)
  --strict        fail if a file could not be read
  --help          this text
";

#[derive(Debug, Default)]
struct Plan {
    path: Option<PathBuf>,
    format: Option<Format>,
    strict: bool,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Inventory(#[from] report::InventoryError),
    #[error("{0}")]
    Print(#[from] print::PrintError),
    #[error("{0}")]
    Demo(#[from] demo::DemoError),
    #[error("the output: {0}")]
    Output(#[from] io::Error),
    #[error("{0} files were not read")]
    NotRead(usize),
}

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
    match run(&plan, &mut io::stdout().lock()) {
        // Whoever reads it has seen enough: `| head`.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan, out: &mut impl Write) -> Result<(), Error> {
    let format = plan.format.unwrap_or(Format::Text);
    let Some(path) = &plan.path else {
        return Ok(demo::run(format, out)?);
    };
    let report = report::inventory(path)?;
    out.write_all(print::print(&report, format)?.as_bytes())?;
    out.flush()?;
    match report.problems.len() {
        0 => Ok(()),
        problems if plan.strict => Err(Error::NotRead(problems)),
        _ => Ok(()),
    }
}

/// `None` for `--help`.
fn parse(mut args: lexopt::Parser) -> Result<Option<Plan>, lexopt::Error> {
    use lexopt::{Arg, ValueExt};

    let mut plan = Plan::default();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Value(path) if plan.path.is_none() => plan.path = Some(PathBuf::from(path)),
            Arg::Long("format") => {
                let name = args.value()?.string()?;
                let known = Format::ALL.into_iter().find(|it| it.name() == name);
                plan.format = Some(known.ok_or_else(|| format!("there is no format {name:?}"))?);
            }
            Arg::Long("strict") => plan.strict = true,
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(plan))
}
