//! Prints every ratio in one run: ours beside each peer, as a table or as JSON lines.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use landbridge_benches::{Config, Group, Row, Table, allocations::Counting, groups, machine};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USAGE: &str = "\
usage: overhead [--json] [--only spawn|io|channel|fs|context|ROW] [--quick]

  --json        one JSON object a line on standard output, the rest on standard error
  --only NAME   one group of rows, or one row; may be given more than once
  --quick       few short rounds: shows that everything runs, measures badly
  --help        this text
";

#[derive(Default)]
struct Arguments {
    json: bool,
    quick: bool,
    help: bool,
    only: Vec<String>,
}

impl Arguments {
    fn wants(&self, group: &Group, row: &Row) -> bool {
        let mut only = self.only.iter();
        self.only.is_empty() || only.any(|name| name == group.name || name == row.name)
    }

    fn rows(&self, group: &Group) -> impl Iterator<Item = &'static Row> {
        let rows = group.rows.iter();
        rows.filter(move |row| self.wants(group, row))
    }
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(fault) => {
            eprint!("overhead: {fault}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if arguments.help {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader such as `head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overhead: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--json" => arguments.json = true,
            "--quick" => arguments.quick = true,
            "--help" | "-h" => arguments.help = true,
            "--only" => {
                let name = given.next().ok_or("--only needs the name of a group")?;
                let is_it = |group: &Group| {
                    group.name == name || group.rows.iter().any(|row| row.name == name)
                };
                if !groups().iter().any(is_it) {
                    return Err(format!("no group or row is called {name:?}"));
                }
                arguments.only.push(name);
            }
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    Ok(arguments)
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let chosen: Vec<Group> = groups()
        .into_iter()
        .filter(|group| {
            arguments.only.is_empty()
                || arguments.only.iter().any(|name| name == group.name)
                || arguments.rows(group).next().is_some()
        })
        .collect();
    let printed = print(arguments, &chosen);
    for group in &chosen {
        (group.finish)();
    }
    printed
}

fn print(arguments: &Arguments, chosen: &[Group]) -> io::Result<()> {
    let config = Config::new(arguments.quick);
    let mut out = io::stdout().lock();
    if arguments.json {
        eprintln!("{}", machine());
        for group in chosen {
            if group.rows.is_empty() {
                eprintln!("{}: no rows yet", group.name);
            }
            for row in arguments.rows(group) {
                if let Some(why) = (group.why_not)(row, &config) {
                    eprintln!("{} skipped: {why}", row.name);
                    continue;
                }
                writeln!(out, "{}", row.json(&row.measure(arguments.quick)))?;
                out.flush()?;
            }
        }
        return Ok(());
    }
    writeln!(out, "{}\n", machine())?;
    let table = Table::start(chosen, &mut out)?;
    for group in chosen {
        if group.rows.is_empty() {
            writeln!(out, "{}: no rows yet", group.name)?;
        }
        for row in arguments.rows(group) {
            if let Some(why) = (group.why_not)(row, &config) {
                table.skipped(row, &why, &mut out)?;
                continue;
            }
            table.row(row, &row.measure(arguments.quick), &mut out)?;
            out.flush()?;
        }
    }
    for row in chosen.iter().flat_map(|group| arguments.rows(group)) {
        write!(out, "\n{}: {}", row.name, row.doc)?;
    }
    writeln!(out)
}
