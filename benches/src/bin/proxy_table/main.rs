//! The TCP proxy before and after its data path has moved to Compio, side by side: the templates `tcp_proxy_tokio` and
//! `tcp_proxy_compio`, each as a process of its own, which this builds first. The backends and the clients are in this
//! process and share the machine with the proxy, as many connections as asked for, each with one request of 256 bytes
//! after the other. Rounds in turns; medians.

#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod load;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let mut quick = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => quick = true,
            "--help" | "-h" => {
                print!("{}", linux::USAGE);
                return ExitCode::SUCCESS;
            }
            _ => {
                eprint!("unknown argument {argument:?}\n\n{}", linux::USAGE);
                return ExitCode::from(2);
            }
        }
    }
    match linux::run(quick) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proxy_table: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("proxy_table: CPU time and memory are read from /proc, which only Linux has");
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        io::{self, Write},
        time::Duration,
    };

    use landbridge_benches::machine;

    use super::{child, load};

    pub(super) const USAGE: &str = "\
usage: proxy_table [--quick]

  --quick    one short round: shows that everything runs, measures badly
  --help     this text
";

    const CONNECTIONS: [usize; 3] = [1, 100, 1000];
    const PROGRAMS: [&str; 2] = ["tcp_proxy_tokio", "tcp_proxy_compio"];
    /// Of this process: both ends of each connection, and what else there is.
    const DESCRIPTORS: u64 = 2 * 1000 + 100;

    /// What one program did in one round.
    #[derive(Clone, Copy, Debug)]
    struct Figures {
        /// Requests in a second.
        rate: f64,
        /// Microseconds.
        mean: f64,
        /// Microseconds.
        p99: f64,
        /// Microseconds of CPU time of the proxy for each request.
        cpu: f64,
        /// MiB that the proxy has in memory.
        memory: f64,
    }

    type Column = (&'static str, fn(&Figures) -> f64);

    const COLUMNS: [Column; 5] = [
        ("requests/s", |it| it.rate),
        ("mean us", |it| it.mean),
        ("p99 us", |it| it.p99),
        ("us CPU/req", |it| it.cpu),
        ("MiB", |it| it.memory),
    ];

    pub(super) fn run(quick: bool) -> io::Result<()> {
        let (rounds, time) = match quick {
            true => (1, Duration::from_millis(300)),
            false => (7, Duration::from_secs(2)),
        };
        let enough = child::raise_descriptors(DESCRIPTORS)?;
        let programs = child::build(&PROGRAMS)?;
        let load = load::Load::start()?;

        let mut out = io::stdout().lock();
        writeln!(out, "{}", machine())?;
        writeln!(
            out,
            "medians of {rounds} rounds of {} s",
            time.as_secs_f64()
        )?;
        write!(out, "\n{:>11}  {:<16}", "connections", "program")?;
        for (name, _) in COLUMNS {
            write!(out, "  {name:>10}")?;
        }
        writeln!(out)?;
        for connections in CONNECTIONS {
            if connections == 1000 && !enough {
                writeln!(
                    out,
                    "{connections:>11}  skipped: `ulimit -Hn` is below {DESCRIPTORS}"
                )?;
                continue;
            }
            let mut figures = [Vec::new(), Vec::new()];
            for round in 0..rounds {
                // Each is the first one as often as the other.
                for turn in 0..2 {
                    let which = (round + turn) % 2;
                    let proxy = child::Proxy::start(&programs[which], load.backends())?;
                    figures[which].push(one(&load, &proxy, connections, time)?);
                    proxy.stop()?;
                }
            }
            for (name, figures) in PROGRAMS.iter().zip(&figures) {
                write!(out, "{connections:>11}  {name:<16}")?;
                for (_, figure) in COLUMNS {
                    let figures = figures.iter().map(figure);
                    write!(out, "  {:>10.1}", median(figures.collect()))?;
                }
                writeln!(out)?;
            }
            write!(out, "{:>11}  {:<16}", "", "compio/tokio")?;
            for (_, figure) in COLUMNS {
                let pairs = figures[1].iter().zip(&figures[0]);
                let ratios = pairs.map(|(after, before)| figure(after) / figure(before));
                write!(out, "  {:>10.2}", median(ratios.collect()))?;
            }
            writeln!(out)?;
            out.flush()?;
        }
        Ok(())
    }

    fn one(
        load: &load::Load,
        proxy: &child::Proxy,
        connections: usize,
        time: Duration,
    ) -> io::Result<Figures> {
        let mut cpu = Duration::ZERO;
        let mut memory = 0;
        let mut latencies = load.run(proxy.addr(), connections, time, |begin| {
            let now = proxy.cpu()?;
            if begin {
                cpu = now;
            } else {
                cpu = now.saturating_sub(cpu);
                memory = proxy.memory()?;
            }
            Ok(())
        })?;
        let requests = latencies.len();
        if requests == 0 {
            return Err(io::Error::other("no request was answered"));
        }
        let sum: Duration = latencies.iter().sum();
        let (_, p99, _) = latencies.select_nth_unstable(requests * 99 / 100);
        Ok(Figures {
            rate: requests as f64 / time.as_secs_f64(),
            mean: micros(sum) / requests as f64,
            p99: micros(*p99),
            cpu: micros(cpu) / requests as f64,
            memory: memory as f64 / 1024.0 / 1024.0,
        })
    }

    fn micros(duration: Duration) -> f64 {
        duration.as_secs_f64() * 1e6
    }

    fn median(mut figures: Vec<f64>) -> f64 {
        figures.sort_unstable_by(f64::total_cmp);
        figures[figures.len() / 2]
    }
}
