//! Other processes: a Redis server, and workers.

use std::{
    ffi::OsString,
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// A Redis server for us alone, on a Unix socket. Dropped, it is killed.
pub(crate) struct Redis {
    _process: Child,
    pub(crate) url: String,
}

impl Redis {
    /// `None` where there is none on `PATH`.
    pub(crate) async fn start(program: &str, dir: &Path) -> io::Result<Option<Self>> {
        let socket = dir.join("redis.sock");
        let started = Command::new(program)
            .current_dir(dir)
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--unixsocket",
            ])
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut process = match started {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            started => started?,
        };
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            if let Some(status) = process.try_wait()? {
                return Err(io::Error::other(format!(
                    "redis-server has ended: {status}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Some(Self {
            _process: process,
            url: format!("redis+unix://{}", socket.display()),
        }))
    }
}

/// A process of workers. Dropped, it is killed.
pub(crate) struct Worker {
    pub(crate) name: String,
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Resolves when it works.
    pub(crate) async fn start(
        name: &str,
        url: &str,
        dir: &Path,
        more: &[&str],
    ) -> io::Result<Self> {
        let mut args: Vec<OsString> = ["work", "--redis", url, "--consumer", name]
            .map(Into::into)
            .into();
        args.extend(["--dir".into(), dir.into()]);
        // However this process ends, that one does not outlive it.
        args.extend(["--journal", "--until-stdin-closes"].map(Into::into));
        args.extend(more.iter().map(Into::into));
        let mut process = this_program(&args)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut worker = Self {
            name: name.to_owned(),
            process,
            output: BufReader::new(output).lines(),
        };
        while let Some(line) = worker.output.next_line().await? {
            if line.contains("working") {
                return Ok(worker);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "a worker has ended at once",
        ))
    }

    pub(crate) fn send(&self, signal: Signal) -> io::Result<()> {
        let pid = self
            .process
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(kill_process(pid.ok_or(io::ErrorKind::NotFound)?, signal)?)
    }

    /// `SIGKILL`, and it is gone when this returns.
    pub(crate) async fn kill(mut self) -> io::Result<()> {
        self.process.kill().await
    }

    pub(crate) async fn ended(mut self) -> io::Result<ExitStatus> {
        // Reads on, so that it does not stand still at a full pipe. (To wait closes its standard input.)
        while self.output.next_line().await?.is_some() {}
        self.process.wait().await
    }
}

#[cfg(not(test))]
fn this_program(args: &[OsString]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args);
    Ok(command)
}

#[cfg(test)]
fn this_program(args: &[OsString]) -> io::Result<Command> {
    crate::tests::child::command(args)
}
