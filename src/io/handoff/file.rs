//! Files.

use std::fs::File as StdFile;
use std::future::{Future, ready};
use std::io;

use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::alone;
use crate::error::{HandoffError, NotHandedOver};

/// An open file, of std, of Tokio or of Compio.
///
/// Not to be implemented elsewhere. Those of [`landbridge::fs`](crate::fs) have
/// [`from_std`](crate::fs::File::from_std) and [`into_std`](crate::fs::File::into_std).
pub trait HandoffFile: Sized + Release {}

use release::Release;

mod release {
    use super::{Future, HandoffError, StdFile};

    pub trait Release: Sized {
        /// The file itself, once nothing is under way, with the cursor where its user left it.
        fn release(self) -> impl Future<Output = Result<StdFile, HandoffError<Self>>>;
    }
}

impl HandoffFile for StdFile {}

impl Release for StdFile {
    fn release(self) -> impl Future<Output = Result<StdFile, HandoffError<Self>>> {
        ready(Ok(self))
    }
}

impl HandoffFile for compio::fs::File {}

impl Release for compio::fs::File {
    fn release(self) -> impl Future<Output = Result<StdFile, HandoffError<Self>>> {
        let released = alone::take(self)
            .map(StdFile::from)
            .map_err(|file| HandoffError::new(NotHandedOver::InUse.into(), file));
        ready(released)
    }
}

impl HandoffFile for tokio::fs::File {}

impl Release for tokio::fs::File {
    async fn release(mut self) -> Result<StdFile, HandoffError<Self>> {
        if let Err(error) = settle(&mut self).await {
            return Err(HandoffError::new(error, self));
        }
        self.try_into_std()
            .map_err(|file| HandoffError::new(NotHandedOver::InUse.into(), file))
    }
}

/// Waits for what is under way, and gives back to the file what was read ahead.
async fn settle(file: &mut tokio::fs::File) -> io::Result<()> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(NotHandedOver::NoTokio.into());
    }
    // Tokio would throw away what was read ahead, and only then find that the file cannot go back.
    rustix::fs::tell(&*file).map_err(|_| NotHandedOver::NoCursor)?;
    file.flush().await?;
    file.stream_position().await?;
    Ok(())
}

/// Hands a file of Tokio's or std's over to the Compio runtime of this thread.
///
/// Compio's files have no cursor: the operating system's stays where it is, and is found there again by who
/// gets the file next. [`io::FileAsTokio`](crate::io::FileAsTokio) reads from there on.
///
/// What must be true is said in the [module](crate::handoff)'s documentation.
///
/// # Cancel safety
///
/// Dropping the future drops the file.
///
/// # Errors
///
/// With the file: [`NotHandedOver`] inside outside of a Compio runtime, or as
/// [`file_to_std`] says.
pub async fn file_to_compio<S: HandoffFile>(file: S) -> Result<compio::fs::File, HandoffError<S>> {
    if compio::runtime::Runtime::try_with_current(|_| ()).is_err() {
        return Err(HandoffError::new(NotHandedOver::NoCompio.into(), file));
    }
    Ok(alone::give(file.release().await?.into()))
}

/// Hands a file of Compio's or std's over to Tokio.
///
/// Its cursor is where the operating system has it: with a file that Compio opened, at the start.
///
/// What must be true is said in the [module](crate::handoff)'s documentation.
///
/// # Cancel safety
///
/// Dropping the future drops the file.
///
/// # Errors
///
/// As [`file_to_std`] says.
pub async fn file_to_tokio<S: HandoffFile>(file: S) -> Result<tokio::fs::File, HandoffError<S>> {
    file.release().await.map(tokio::fs::File::from_std)
}

/// Takes a file from its runtime, Tokio or Compio.
///
/// One of Tokio's is waited for until what it has under way is done; the cursor is after the last byte that a
/// reader was given.
///
/// What must be true is said in the [module](crate::handoff)'s documentation.
///
/// # Cancel safety
///
/// Dropping the future drops the file.
///
/// # Errors
///
/// With the file: [`InUse`](NotHandedOver::InUse) inside if something uses a file of Compio's;
/// [`NoTokio`](NotHandedOver::NoTokio) for one of Tokio's outside of its context, and
/// [`NoCursor`](NotHandedOver::NoCursor) for one that cannot be sought; the error of a write that nobody was
/// told of yet, or of the seek.
///
/// # Examples
///
/// ```
/// use std::io::Read;
///
/// use landbridge::handoff;
/// use tokio::io::AsyncReadExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let mut file = tokio::fs::File::open("Cargo.toml").await?;
/// let mut start = [0; 10];
/// file.read_exact(&mut start).await?;
///
/// let mut rest = String::new();
/// handoff::file_to_std(file).await?.read_to_string(&mut rest)?;
/// assert_eq!(rest, std::fs::read_to_string("Cargo.toml")?[10..]);
/// # Ok(())
/// # }
/// ```
pub async fn file_to_std<S: HandoffFile>(file: S) -> Result<StdFile, HandoffError<S>> {
    file.release().await
}
