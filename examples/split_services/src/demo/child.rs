//! The storage as a process of its own, started by this one.

use std::{
    ffi::OsString,
    io,
    path::Path,
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{self, ChildStdout, Command},
};

/// A storage process. Dropped, it is killed.
pub(crate) struct Child {
    child: process::Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Resolves once the process listens.
    pub(crate) async fn start(socket: &Path, dir: &Path, more: &[&str]) -> io::Result<Self> {
        let mut args: Vec<OsString> = vec!["storage".into()];
        args.extend(["--socket".into(), socket.into(), "--dir".into(), dir.into()]);
        // However this process ends, that one does not outlive it.
        args.push("--until-stdin-closes".into());
        args.extend(more.iter().map(Into::into));
        let mut child = this_program(&args)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut child = Self {
            child,
            output: BufReader::new(output).lines(),
        };
        child.says("listening on ").await?;
        Ok(child)
    }

    /// Waits until it has said so.
    pub(crate) async fn says(&mut self, text: &str) -> io::Result<()> {
        while let Some(line) = self.output.next_line().await? {
            if line.contains(text) {
                return Ok(());
            }
        }
        let ended = format!("the storage has ended without having said {text:?}");
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, ended))
    }

    /// `SIGKILL`, and it is gone when this returns.
    pub(crate) async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// `SIGTERM`, as an orchestrator sends it.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        self.send(Signal::TERM)
    }

    pub(crate) fn send(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// `SIGSTOP`, and all of its threads stand still when this returns.
    #[cfg(test)]
    pub(crate) fn stop(&self) -> io::Result<()> {
        use rustix::process::{WaitOptions, waitpid};

        self.send(Signal::STOP)?;
        waitpid(Some(self.pid()?), WaitOptions::UNTRACED)?;
        Ok(())
    }

    fn pid(&self) -> io::Result<Pid> {
        let id = self.child.id().ok_or(io::ErrorKind::NotFound)?;
        Pid::from_raw(id.cast_signed()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(crate) async fn ended(mut self) -> io::Result<ExitStatus> {
        // `wait` closes its standard input, which would end it as well: it has been asked before.
        self.child.wait().await
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
