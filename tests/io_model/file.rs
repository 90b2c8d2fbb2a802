//! A file as it is thought of: bytes and a cursor.

use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use landbridge::handoff;
use landbridge::io::{FileAsTokio, IntoTokioIo};
use tokio::io::AsyncSeekExt;

use super::users::{Call, Offers, Patience, TokioUser, User};

/// What a bad descriptor is called: one that is not open for this.
const EBADF: i32 = 9;

/// 0 polls: as many as it takes.
#[derive(Clone, Debug)]
pub enum FileMove {
    Read { room: usize, polls: u8 },
    Write { lens: Vec<usize>, polls: u8 },
    Flush { polls: u8 },
    Shutdown { polls: u8 },
    Seek { to: SeekFrom, polls: u8 },
}

/// How the file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    ReadAndWrite,
    Append,
    ReadOnly,
    WriteOnly,
}

pub struct FileModel<'a> {
    path: &'a Path,
    mode: Mode,
    /// How much one operation carries at most.
    limit: usize,
    contents: Vec<u8>,
    cursor: u64,
    /// A write was accepted that has failed, and nobody was told.
    untold: bool,
    offers: Offers,
}

impl<'a> FileModel<'a> {
    pub async fn play(
        path: &'a Path,
        mode: Mode,
        limit: usize,
        contents: Vec<u8>,
        moves: &[FileMove],
    ) {
        std::fs::write(path, &contents).unwrap();
        let file = std::fs::OpenOptions::new()
            .read(mode != Mode::WriteOnly)
            .write(!matches!(mode, Mode::ReadOnly | Mode::Append))
            .append(mode == Mode::Append)
            .open(path)
            .unwrap();
        let mut file = handoff::file_to_compio(file).await.unwrap().into_tokio_io();
        file.set_max_buf_size(limit);
        let mut model = Self {
            path,
            mode,
            limit,
            contents,
            cursor: 0,
            untold: false,
            offers: Offers::default(),
        };
        let mut user = TokioUser::new(file);
        for a_move in moves {
            model.make(&mut user, a_move).await;
        }
        model.finish(user.stream).await;
    }

    async fn make(&mut self, user: &mut TokioUser<FileAsTokio>, a_move: &FileMove) {
        match a_move {
            FileMove::Read { room, polls } => self.read(user, *room, *polls).await,
            FileMove::Write { lens, polls } => self.write(user, lens, *polls).await,
            FileMove::Flush { polls } => {
                let result = called(*polls, async |call| user.flush(call).await).await;
                self.flushed(result);
            }
            FileMove::Shutdown { polls } => {
                let result = called(*polls, async |call| user.shutdown(call).await).await;
                self.flushed(result);
            }
            FileMove::Seek { to, polls } => self.seek(&mut user.stream, *to, *polls).await,
        }
    }

    /// At least something, unless there is nothing; a dropped read leaves the cursor where it was.
    async fn read(&mut self, user: &mut impl User, room: usize, polls: u8) {
        let result = called(polls, async |call| user.read(room.max(1), call).await).await;
        let Some(result) = result else {
            return;
        };
        if self.mode == Mode::WriteOnly {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(EBADF));
            return;
        }
        let (bytes, rest) = (result.unwrap(), self.rest());
        assert!(bytes.len() <= self.limit);
        assert!(!bytes.is_empty() || rest.is_empty(), "not yet the end");
        assert!(rest.starts_with(&bytes), "other bytes were read");
        self.cursor += bytes.len() as u64;
    }

    fn rest(&self) -> &[u8] {
        let start = usize::try_from(self.cursor).unwrap();
        self.contents.get(start..).unwrap_or_default()
    }

    async fn write(&mut self, user: &mut impl User, lens: &[usize], polls: u8) {
        let offers = &mut self.offers;
        let result = called(polls, async |call| user.write(lens, offers, call).await).await;
        let Some((result, offer)) = result else {
            return;
        };
        if self.told(result.as_ref().err()) {
            return;
        }
        let count = result.unwrap();
        assert_eq!(count, offer.len().min(self.limit));
        if count == 0 {
            return;
        }
        if self.mode == Mode::ReadOnly {
            self.untold = true;
            return;
        }
        let start = match self.mode {
            Mode::Append => self.contents.len(),
            _ => usize::try_from(self.cursor).unwrap(),
        };
        let end = start + count;
        self.contents.resize(self.contents.len().max(end), 0);
        self.contents[start..end].copy_from_slice(&offer[..count]);
        self.cursor = end as u64;
    }

    fn flushed(&mut self, result: Option<io::Result<()>>) {
        let Some(result) = result else {
            return;
        };
        if !self.told(result.as_ref().err()) {
            result.unwrap();
            self.check();
        }
    }

    /// An untold error is told now, and no other is.
    fn told(&mut self, error: Option<&io::Error>) -> bool {
        let code = error.map(|error| error.raw_os_error());
        assert_eq!(code, self.untold.then_some(Some(EBADF)), "{error:?}");
        std::mem::take(&mut self.untold)
    }

    /// A seek that was dropped has led there or has not.
    async fn seek(&mut self, file: &mut FileAsTokio, to: SeekFrom, polls: u8) {
        let goal = self.goal(to);
        let result = called(polls, async |call| call.wait(file.seek(to)).await).await;
        let cursor = match result {
            Some(result) => {
                // An error leaves the cursor where it was.
                let sought = result.map_err(|error| error.kind());
                assert_eq!(sought, goal.ok_or(io::ErrorKind::InvalidInput));
                goal.unwrap_or(self.cursor)
            }
            None => {
                // What became of it is what is said of it next.
                _ = std::future::poll_fn(|cx| {
                    tokio::io::AsyncSeek::poll_complete(std::pin::Pin::new(&mut *file), cx)
                })
                .await;
                file.stream_position().await.unwrap()
            }
        };
        assert!(cursor == self.cursor || Some(cursor) == goal);
        self.cursor = cursor;
    }

    fn goal(&self, to: SeekFrom) -> Option<u64> {
        match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => self.cursor.checked_add_signed(offset),
            SeekFrom::End(offset) => (self.contents.len() as u64).checked_add_signed(offset),
        }
    }

    fn check(&self) {
        assert!(
            std::fs::read(self.path).unwrap() == self.contents,
            "other bytes are in the file"
        );
    }

    /// The operating system's cursor is where this one was.
    async fn finish(self, file: FileAsTokio) {
        let (file, error) = file.into_parts_when_idle().await.unwrap();
        self.check();
        assert_eq!(error.is_some(), self.untold);
        let mut file = handoff::file_to_std(file).await.unwrap();
        assert_eq!(file.stream_position().unwrap(), self.cursor);
    }
}

async fn called<T>(polls: u8, make: impl AsyncFnOnce(&Call<'_>) -> T) -> T {
    let patience = match polls {
        0 => Patience::Endless,
        polls => Patience::Polls(polls),
    };
    let call = Call {
        patience,
        before_poll: &|| {},
    };
    make(&call).await
}
