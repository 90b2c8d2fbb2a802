//! What is answered to a request. COPY: the file.
//!
//! A file is opened once, and everything about it (length, time, tag) is asked of the open file: what is sent
//! is what was described, also if another file takes its name meanwhile.

use std::{
    convert::Infallible,
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::TryStreamExt;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Frame,
    header::{self, HeaderName, HeaderValue},
};
use landbridge::{CompioPool, fs::Fs, time::timeout};
use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    path::{Name, NameError, Root},
    range::{Unsatisfiable, Wanted},
};

/// Bytes of a file that are read at a time.
const PIECE: usize = 256 << 10;
/// A file that was changed so recently may be changed again without its times showing it: file systems count them
/// in ticks, and HTTP in seconds.
const SETTLED: Duration = Duration::from_secs(2);

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What all requests have in common; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: Root,
    pool: CompioPool,
    fs: Fs,
    /// Tokio's, in tasks of Compio's: nothing of Tokio's runtime is in it.
    places: Arc<Semaphore>,
    patience: Duration,
}

/// Why there is no file to be had.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Name(#[from] NameError),
    #[error("only GET and HEAD")]
    Method,
    #[error("no place has become free in time")]
    Busy,
    #[error("the file: {0}")]
    File(#[from] io::Error),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Name(NameError::Malformed) => StatusCode::BAD_REQUEST,
            Self::Name(NameError::Outside) => StatusCode::FORBIDDEN,
            Self::Name(NameError::None) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::File(error) => match Errno::from_io_error(error) {
                // The last one is that of a socket.
                Some(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::NXIO) => {
                    StatusCode::NOT_FOUND
                }
                None if error.kind() == io::ErrorKind::NotFound => StatusCode::NOT_FOUND,
                // The last two are those of a link that leads out of the root, or is not followed.
                Some(Errno::ACCESS | Errno::PERM | Errno::XDEV | Errno::LOOP) => {
                    StatusCode::FORBIDDEN
                }
                Some(Errno::MFILE | Errno::NFILE) => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}

impl Files {
    /// At most `places` files are sent at once; who waits longer than `patience` for a place is sent away.
    pub(crate) fn new(root: Root, pool: &CompioPool, places: usize, patience: Duration) -> Self {
        Self {
            root,
            pool: pool.clone(),
            fs: Fs::new(pool),
            places: Arc::new(Semaphore::new(places)),
            patience,
        }
    }

    /// How many files may be sent now.
    #[cfg(test)]
    pub(crate) fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    /// A wrong request is an answer, not an error: that would end the connection.
    pub(crate) async fn answer<B>(self, request: Request<B>) -> Result<Response<Body>, Infallible> {
        let answer = self.find(&request).await;
        Ok(answer.unwrap_or_else(|failure| {
            let status = failure.status();
            if status == StatusCode::INTERNAL_SERVER_ERROR {
                eprintln!("{}: {failure}", request.uri().path());
            }
            let mut answer = short(status, request.method());
            match failure {
                Failure::Method => set(&mut answer, header::ALLOW, "GET, HEAD"),
                Failure::Busy => set(&mut answer, header::RETRY_AFTER, "1"),
                Failure::Name(_) | Failure::File(_) => {}
            }
            answer
        }))
    }

    async fn find<B>(&self, request: &Request<B>) -> Result<Response<Body>, Failure> {
        let sends = match *request.method() {
            Method::GET => true,
            Method::HEAD => false,
            _ => return Err(Failure::Method),
        };
        let name = Name::parse(request.uri().path())?;
        // COPY: the limiter. Before the file is opened: descriptors are what runs out first.
        let place = Arc::clone(&self.places).acquire_owned();
        let place = timeout(self.patience, place).await;
        let Ok(Ok(place)) = place else {
            return Err(Failure::Busy);
        };
        let (file, data) = self.root.find(&self.pool, &name).await?;
        let version = Version::of(&data);
        let headers = request.headers();
        if version.is_known(headers) {
            let mut answer = Response::new(empty());
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            version.describe(&mut answer);
            return Ok(answer);
        }

        let length = data.len();
        // Ranges are for GET alone.
        let wanted = if sends { version.wanted(headers) } else { None };
        let (status, range) = match wanted.map(|wanted| wanted.resolve(length)) {
            None | Some(Ok(None)) => (StatusCode::OK, 0..length),
            Some(Ok(Some(range))) => (StatusCode::PARTIAL_CONTENT, range),
            Some(Err(Unsatisfiable)) => {
                let mut answer = short(StatusCode::RANGE_NOT_SATISFIABLE, request.method());
                set(
                    &mut answer,
                    header::CONTENT_RANGE,
                    &format!("bytes */{length}"),
                );
                return Ok(answer);
            }
        };
        let size = range.end - range.start;
        let mut answer = Response::new(empty());
        *answer.status_mut() = status;
        if status == StatusCode::PARTIAL_CONTENT {
            let said = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            set(&mut answer, header::CONTENT_RANGE, &said);
        }
        version.describe(&mut answer);
        set(&mut answer, header::ACCEPT_RANGES, "bytes");
        set(&mut answer, header::CONTENT_TYPE, &kind(&name));
        set(&mut answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        answer
            .headers_mut()
            .insert(header::CONTENT_LENGTH, size.into());
        if sends {
            *answer.body_mut() = self.stream(file, range, place);
        }
        Ok(answer)
    }

    /// COPY: the file as it is read, a piece ahead of the client. What is dropped with the body gives the place back.
    fn stream(&self, file: File, range: std::ops::Range<u64>, place: OwnedSemaphorePermit) -> Body {
        let pieces = self.fs.from_std(file).read_stream(range, PIECE);
        let frames = pieces.map_ok(move |piece| {
            let _here = &place;
            Frame::data(piece)
        });
        StreamBody::new(frames).boxed_unsync()
    }
}

/// Which version of a file it is.
struct Version {
    tag: String,
    /// Whether the same tag is sure to mean the same bytes.
    strong: bool,
    modified: Option<SystemTime>,
}

impl Version {
    fn of(data: &Metadata) -> Self {
        let modified = data.modified().ok();
        let age = modified.and_then(|modified| modified.elapsed().ok());
        let changed = (data.ctime(), data.ctime_nsec());
        Self {
            tag: format!(
                "\"{:x}-{:x}-{:x}-{:x}\"",
                data.ino(),
                data.len(),
                changed.0,
                changed.1
            ),
            strong: age.is_some_and(|age| age >= SETTLED),
            modified,
        }
    }

    fn describe(&self, answer: &mut Response<Body>) {
        let weak = if self.strong { "" } else { "W/" };
        set(answer, header::ETAG, &format!("{weak}{}", self.tag));
        if let Some(date) = self.date() {
            set(answer, header::LAST_MODIFIED, &date);
        }
    }

    fn date(&self) -> Option<String> {
        let modified = self.modified?;
        // `fmt_http_date` has no years before 1970 and after 9999.
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        (since.as_secs() < 253_402_300_800).then(|| httpdate::fmt_http_date(modified))
    }

    /// Whether the client has it: by its tag if it names any, else by the date.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        if headers.contains_key(header::IF_NONE_MATCH) {
            let named = headers.get_all(header::IF_NONE_MATCH).iter();
            let mut named = named.filter_map(|value| value.to_str().ok());
            return named.any(|tags| {
                tags.split(',')
                    .map(str::trim)
                    .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.tag)
            });
        }
        let since = headers.get(header::IF_MODIFIED_SINCE);
        let since = since.and_then(|since| httpdate::parse_http_date(since.to_str().ok()?).ok());
        match (self.modified, since) {
            // A date has whole seconds only.
            (Some(modified), Some(since)) => modified < since + Duration::from_secs(1),
            _ => false,
        }
    }

    /// The range that is asked for, if it is to be taken from this version.
    fn wanted(&self, headers: &HeaderMap) -> Option<Wanted> {
        let mut ranges = headers.get_all(header::RANGE).iter();
        let (Some(range), None) = (ranges.next(), ranges.next()) else {
            return None;
        };
        if let Some(condition) = headers.get(header::IF_RANGE) {
            let condition = condition.to_str().ok()?;
            let same = condition == self.tag || self.date().is_some_and(|date| date == condition);
            // Parts of two versions would be put together else.
            if !(self.strong && same) {
                return None;
            }
        }
        Wanted::parse(range.to_str().ok()?)
    }
}

fn kind(name: &Name) -> String {
    let guess = mime_guess::from_path(Path::new(name.as_str()));
    let kind = guess.first_or_octet_stream();
    match kind.type_() {
        mime_guess::mime::TEXT => format!("{kind}; charset=utf-8"),
        _ => kind.to_string(),
    }
}

/// An answer that says what its status says.
fn short(status: StatusCode, method: &Method) -> Response<Body> {
    let text = format!("{}\n", status.canonical_reason().unwrap_or_default());
    let length = text.len();
    let body = if *method == Method::HEAD {
        empty()
    } else {
        whole(text.into())
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length.into());
    set(
        &mut answer,
        header::CONTENT_TYPE,
        "text/plain; charset=utf-8",
    );
    answer
}

fn empty() -> Body {
    whole(Bytes::new())
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn set(answer: &mut Response<Body>, name: HeaderName, value: &str) {
    // All of them are made here, of visible characters.
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
