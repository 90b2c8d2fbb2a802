//! The bodies against `tokio::fs`.

use std::{io, path::Path};

use tokio::fs::{File, OpenOptions};

use super::Notes;

#[path = "bodies.rs"]
pub mod bodies;

pub struct Setting;

impl Setting {
    pub async fn open(&self, options: &OpenOptions, path: impl AsRef<Path>) -> io::Result<File> {
        options.open(path).await
    }

    pub fn adopt(&self, file: std::fs::File) -> File {
        File::from_std(file)
    }

    pub async fn release(&self, file: File) -> std::fs::File {
        file.into_std().await
    }
}

pub fn run(body: impl AsyncFn(&Setting, &Path, &mut Notes)) -> Notes {
    let dir = tempfile::tempdir().unwrap();
    let mut notes = Notes::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(body(&Setting, dir.path(), &mut notes));
    notes
}
