//! A log to count: made line by line, so that what is in it is known without reading it.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) lines: u64,
    /// Lines with the word `ERROR`.
    pub(crate) errors: u64,
}

const LEVELS: [(&str, u32); 4] = [("INFO", 70), ("DEBUG", 20), ("WARN", 8), ("ERROR", 2)];
const WORDS: [&str; 24] = [
    "request",
    "accepted",
    "from",
    "peer",
    "object",
    "stored",
    "read",
    "in",
    "after",
    "retry",
    "queue",
    "flush",
    "segment",
    "compaction",
    "checksum",
    "verified",
    "timeout",
    "upstream",
    "closed",
    "lease",
    "renewed",
    "shard",
    "moved",
    "caf\u{e9}",
];

/// Writes at least `bytes`; fewer if `stop` comes first.
pub(crate) fn write(
    path: &Path,
    bytes: u64,
    bar: &ProgressBar,
    stop: &CancellationToken,
) -> io::Result<Written> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut written = Written::default();
    let mut line = Vec::with_capacity(256);
    while written.bytes < bytes && !stop.is_cancelled() {
        line.clear();
        let level = random.level();
        let (s, ms) = (written.lines / 1000, written.lines % 1000);
        let (h, m, s) = (s / 3600 % 24, s / 60 % 60, s % 60);
        write!(line, "2026-11-22 {h:02}:{m:02}:{s:02}.{ms:03} {level} ")?;
        for _ in 0..4 + random.below(12) {
            line.extend(WORDS[random.below(WORDS.len() as u32) as usize].as_bytes());
            line.push(b' ');
        }
        writeln!(line, "id={} us={}", random.next(), random.below(100_000))?;
        file.write_all(&line)?;
        written.bytes += line.len() as u64;
        written.lines += 1;
        written.errors += u64::from(level == "ERROR");
        if written.lines % 4096 == 0 {
            bar.set_position(written.bytes);
        }
    }
    // On the disk, so that its writing does not go on while it is read.
    file.into_inner()?.sync_all()?;
    Ok(written)
}

/// The same one each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    fn below(&mut self, end: u32) -> u32 {
        self.next() % end
    }

    fn level(&mut self) -> &'static str {
        let mut left = self.below(100);
        for (level, share) in LEVELS {
            if left < share {
                return level;
            }
            left -= share;
        }
        unreachable!("the shares are 100 in all")
    }
}
