//! The proxies: built by Cargo, started as processes, watched through `/proc`.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// Builds these templates into the target directory that this program is in; where they are.
pub(crate) fn build(programs: &[&str]) -> io::Result<Vec<PathBuf>> {
    let exe = env::current_exe()?;
    // target/release/proxy_table
    let target = exe.ancestors().nth(2).ok_or(io::ErrorKind::NotFound)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["build", "--release"]);
    cargo.arg("--target-dir").arg(target);
    for program in programs {
        cargo.args(["--example", program]);
    }
    // Cargo has set these for this program, and they would have others built anew.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_"))
        {
            cargo.env_remove(name);
        }
    }
    if !cargo.status()?.success() {
        return Err(io::Error::other("the proxies could not be built"));
    }
    let dir = target.join("release/examples");
    Ok(programs.iter().map(|program| dir.join(program)).collect())
}

/// Whether this process, and what it starts, may have so many descriptors.
pub(crate) fn raise_descriptors(wanted: u64) -> io::Result<bool> {
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if !enough(limit.current) {
        let current = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let raised = Rlimit {
            current: Some(current),
            ..limit
        };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(enough(getrlimit(Resource::Nofile).current))
}

/// A proxy that runs. Dropped, it is killed.
pub(crate) struct Proxy {
    child: Child,
    /// It has more to say, at its end.
    _out: BufReader<ChildStdout>,
    addr: SocketAddr,
    config: PathBuf,
}

impl Proxy {
    pub(crate) fn start(program: &Path, backends: &[SocketAddr]) -> io::Result<Self> {
        let config = env::temp_dir().join(format!("proxy_table-{}.toml", std::process::id()));
        let mut text = "listen = \"127.0.0.1:0\"\nconnections = 10000\nconnect_ms = 10000\n\
             drain_ms = 10000\n[health]\ninterval_ms = 1000\n\
             [log]\nfile = \"/dev/null\"\nlines = 64\ndelay_ms = 200\n"
            .to_owned();
        for backend in backends {
            _ = write!(text, "[[backend]]\naddr = \"{backend}\"\nweight = 1\n");
        }
        fs::write(&config, text)?;
        let mut child = Command::new(program)
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (mut out, mut line) = (BufReader::new(out), String::new());
        out.read_line(&mut line)?;
        let addr = line.trim_end().strip_prefix("listening on ");
        let Some(addr) = addr.and_then(|addr| addr.parse().ok()) else {
            _ = child.kill();
            _ = child.wait();
            return Err(io::Error::other(format!(
                "{} said {line:?}",
                program.display()
            )));
        };
        Ok(Self {
            child,
            _out: out,
            addr,
            config,
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What its threads have had of the processors.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let mut sum = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // One that ends meanwhile has no file any more.
            let stat = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
            sum += Duration::from_nanos(nanos.unwrap_or(0));
        }
        Ok(sum)
    }

    /// Bytes that it has in memory.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.ok_or(io::ErrorKind::InvalidData)? * 1024)
    }

    /// As an operator does.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        match self.child.wait()? {
            status if status.success() => Ok(()),
            status => Err(io::Error::other(format!("the proxy ended with {status}"))),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        _ = fs::remove_file(&self.config);
    }
}
