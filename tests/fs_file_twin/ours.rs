//! The bodies against `landbridge::fs`.

use std::{io, path::Path, sync::OnceLock};

use landbridge::{
    CompioPool, Driver,
    fs::{File, Fs, OpenOptions},
};

use super::{Notes, support::drivers};

#[path = "bodies.rs"]
pub mod bodies;

/// Which pool, and how.
pub struct Setting(Option<Fs>);

impl Setting {
    pub async fn open(&self, options: &OpenOptions, path: impl AsRef<Path>) -> io::Result<File> {
        match &self.0 {
            Some(fs) => options.open_in(fs, path).await,
            None => options.open(path).await,
        }
    }

    pub fn adopt(&self, file: std::fs::File) -> File {
        match &self.0 {
            Some(fs) => fs.from_std(file),
            None => File::from_std(file).unwrap(),
        }
    }

    pub async fn release(&self, file: File) -> std::fs::File {
        file.into_std().await.unwrap()
    }
}

pub fn run(body: impl AsyncFn(&Setting, &Path, &mut Notes)) -> Vec<(String, Notes)> {
    static DEFAULT: OnceLock<()> = OnceLock::new();
    DEFAULT.get_or_init(|| {
        let pool = CompioPool::builder().threads(2).build().unwrap();
        pool.set_default().unwrap();
    });
    let pool = |driver: Driver| {
        let pool = CompioPool::builder().threads(2).driver(driver);
        pool.build().unwrap()
    };
    let mut settings = vec![("the default pool".to_owned(), Setting(None))];
    for driver in drivers() {
        let fs = Fs::new(&pool(driver));
        settings.push((
            format!("{driver:?}, nothing at once"),
            Setting(Some(fs.clone().nowait_limit(0))),
        ));
        settings.push((format!("{driver:?}"), Setting(Some(fs))));
    }
    let one = |(name, setting): (String, Setting)| {
        let dir = tempfile::tempdir().unwrap();
        let mut notes = Notes::default();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(body(&setting, dir.path(), &mut notes));
        (name, notes)
    };
    settings.into_iter().map(one).collect()
}
