//! The configuration, a TOML file. COPY: the file.
//!
//! ```toml
//! listen = "127.0.0.1:7000"
//! connections = 1000          # at the same time; who comes then waits to be accepted
//! connect_ms = 1000           # how long a backend may take to be connected to
//! drain_ms = 10000            # how long connections may go on at the end
//!
//! [health]
//! interval_ms = 1000
//!
//! [log]
//! file = "access.log"         # without it: standard output
//! lines = 64                  # written when there are so many,
//! delay_ms = 200              # or when the first of them is so old
//!
//! [[backend]]
//! addr = "127.0.0.1:9001"
//! weight = 3
//! ```

use std::{
    collections::HashSet,
    fs, io,
    net::SocketAddr,
    num::{NonZeroU16, NonZeroU64, NonZeroUsize},
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer};
use toml::Spanned;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) connections: NonZeroUsize,
    #[serde(rename = "connect_ms", deserialize_with = "millis")]
    pub(crate) connect: Duration,
    #[serde(rename = "drain_ms", deserialize_with = "millis")]
    pub(crate) drain: Duration,
    pub(crate) health: Health,
    pub(crate) log: Log,
    #[serde(rename = "backend")]
    pub(crate) backends: Spanned<Vec<Backend>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Health {
    #[serde(rename = "interval_ms", deserialize_with = "millis")]
    pub(crate) interval: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) file: Option<PathBuf>,
    pub(crate) lines: NonZeroUsize,
    #[serde(rename = "delay_ms", deserialize_with = "millis")]
    pub(crate) delay: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backend {
    pub(crate) addr: Spanned<SocketAddr>,
    pub(crate) weight: NonZeroU16,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{}: {source}", file.display())]
    Unread { file: PathBuf, source: io::Error },
    /// As compilers say it, so that an editor finds the place.
    #[error("{}:{line}:{column}: {what}", file.display())]
    Wrong {
        file: PathBuf,
        line: usize,
        column: usize,
        what: String,
    },
}

impl Config {
    /// Blocks for as long as a small file takes.
    pub(crate) fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(file).map_err(|source| ConfigError::Unread {
            file: file.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|(span, what)| {
            let before = &text.as_bytes()[..span.start.min(text.len())];
            let line_start = before.iter().rposition(|&byte| byte == b'\n');
            ConfigError::Wrong {
                file: file.to_owned(),
                line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
                column: before.len() - line_start.map_or(0, |newline| newline + 1) + 1,
                what,
            }
        })
    }

    /// What is wrong, and where.
    fn parse(text: &str) -> Result<Self, (Range<usize>, String)> {
        let config: Self = toml::from_str(text)
            .map_err(|error| (error.span().unwrap_or(0..0), error.message().to_owned()))?;
        // What the types do not say.
        if config.backends.get_ref().is_empty() {
            return Err((config.backends.span(), "there is no backend".to_owned()));
        }
        let mut seen = HashSet::new();
        for backend in config.backends.get_ref() {
            if !seen.insert(backend.addr.get_ref()) {
                return Err((backend.addr.span(), "this backend is here twice".to_owned()));
            }
        }
        Ok(config)
    }
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    NonZeroU64::deserialize(deserializer).map(|millis| Duration::from_millis(millis.get()))
}
