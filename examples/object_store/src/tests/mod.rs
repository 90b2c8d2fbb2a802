//! What the demonstration cannot show about itself.

mod end_to_end;
mod flags;
mod process;
mod storage;

use std::path::{Path, PathBuf};

use crate::server::{Config, Server};

/// A server in a directory of its own.
async fn server(tune: impl FnOnce(&mut Config)) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    tune(&mut config);
    (Server::start(&config).await.unwrap(), dir)
}

fn files(dir: &Path, sub: &str) -> Vec<PathBuf> {
    std::fs::read_dir(dir.join(sub))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}
