//! Real servers, each on a port and in a directory of its own, for as long as a test holds it.
//!
//! Where one is not installed, the test that wants it says that it was skipped. `.ci/run` installs them.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::support::eventually;

/// A server process; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Removed after the process is gone.
    _directory: tempfile::TempDir,
}

impl Server {
    /// Nothing, with a note, where PostgreSQL is not installed. Its user is `postgres`, without a password.
    pub(crate) fn postgres() -> Option<Self> {
        let Some(programs) = postgres_programs() else {
            eprintln!("skipped: PostgreSQL is not installed");
            return None;
        };
        let directory = directory();
        let data = directory.path().join("data");
        let made = unprivileged(&programs.join("initdb"), directory.path())
            .args([
                "--no-sync",
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "-D",
            ])
            .arg(&data)
            .output()
            .expect("initdb starts");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let address = free_address();
        let mut postgres = unprivileged(&programs.join("postgres"), directory.path());
        postgres
            .arg("-D")
            .arg(&data)
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "fsync=off",
                "-k",
                "",
            ])
            .args(["-p", &address.port().to_string()]);
        let server = Self::start(postgres, address, directory);
        // It listens before it is ready.
        eventually("PostgreSQL is ready", || {
            let mut ask = Command::new(programs.join("pg_isready"));
            ask.args(["-q", "-h", "127.0.0.1", "-p", &address.port().to_string()]);
            ask.status().is_ok_and(|said| said.success())
        });
        Some(server)
    }

    /// Nothing, with a note, where Redis is not installed.
    pub(crate) fn redis() -> Option<Self> {
        if Command::new("redis-server")
            .arg("--version")
            .output()
            .is_err()
        {
            eprintln!("skipped: Redis is not installed");
            return None;
        }
        let (directory, address) = (directory(), free_address());
        let mut redis = unprivileged(Path::new("redis-server"), directory.path());
        redis
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &address.port().to_string()]);
        Some(Self::start(redis, address, directory))
    }

    fn start(mut command: Command, address: SocketAddr, directory: tempfile::TempDir) -> Self {
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let server = Self {
            child: child.spawn().expect("the server starts"),
            address,
            _directory: directory,
        };
        eventually("the server listens", || TcpStream::connect(address).is_ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// One that whoever the server runs as may write to.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(directory.path(), anybody).unwrap();
    directory
}

/// In that directory; as nobody, if this is root, whom PostgreSQL does not serve.
fn unprivileged(program: &Path, directory: &Path) -> Command {
    const NOBODY: u32 = 65_534;

    let mut command = Command::new(program);
    command.current_dir(directory);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Somebody else may take it meanwhile; then the server does not start, and the test fails.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Debian keeps them out of `PATH`, by version.
fn postgres_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let of_debian = versions.flatten().map(|version| version.path().join("bin"));
    let of_path = std::env::var_os("PATH");
    let of_path = of_path.iter().flat_map(std::env::split_paths);
    of_debian
        .chain(of_path)
        .find(|programs| programs.join("initdb").exists() && programs.join("postgres").exists())
}
