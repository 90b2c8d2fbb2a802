//! Until when a call is to be answered, on both sides of the socket. COPY: the file.
//!
//! gRPC carries what is left of the time in the header `grpc-timeout`. tonic writes it, and its own `Server` reads
//! it; whoever serves tonic's `Routes` himself, as one does on Compio, reads it himself.

use std::{future::Future, time::Duration};

use landbridge::time::{Instant, timeout_at};
use tonic::{Request, Status, metadata::MetadataMap};

/// The name of the header.
const HEADER: &str = "grpc-timeout";

/// A point in time, or none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) fn after(time: Duration) -> Self {
        // Too far away to be told is none.
        Self(Instant::now().checked_add(time))
    }

    /// What the caller said.
    pub(crate) fn of(metadata: &MetadataMap) -> Result<Self, Status> {
        let Some(text) = metadata.get(HEADER) else {
            return Ok(Self(None));
        };
        let time = text.to_str().ok().and_then(parse);
        // A caller that meant to have a deadline shall not go without one.
        let time = time.ok_or_else(|| Status::invalid_argument("`grpc-timeout` is not a time"))?;
        Ok(Self::after(time))
    }

    /// Tells the other side. Written just before the call, for it is what is left that is written.
    pub(crate) fn carry<T>(self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(at) = self.0 {
            request.set_timeout(at.saturating_duration_since(Instant::now()));
        }
        request
    }

    pub(crate) fn has_passed(self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// Drops `work` at the deadline. By the timer of the runtime that polls: this is for both sides.
    pub(crate) async fn bound<T>(
        self,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        match self.0 {
            None => work.await,
            Some(at) => match timeout_at(at, work).await {
                Ok(done) => done,
                Err(_) => Err(Self::exceeded()),
            },
        }
    }

    pub(crate) fn exceeded() -> Status {
        Status::deadline_exceeded("the deadline of the call has passed")
    }
}

/// At most eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a caller writes in any of the units must not be taken for more, less or none.
    #[test]
    fn every_unit_of_the_header_is_read() {
        for (text, nanos) in [
            ("1H", 3_600_000_000_000),
            ("2M", 120_000_000_000),
            ("99999999S", 99_999_999_000_000_000),
            ("250m", 250_000_000),
            ("7u", 7_000),
            ("0n", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for wrong in [
            "",
            "S",
            "1",
            "1s",
            "123456789S",
            "-1S",
            "+1S",
            "1.5S",
            "1 S",
            "1\u{fc}",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
            let mut metadata = MetadataMap::new();
            if let Ok(value) = wrong.parse() {
                metadata.insert(HEADER, value);
                assert!(Deadline::of(&metadata).is_err(), "{wrong}");
            }
        }
    }

    /// What tonic writes on one side is what is read on the other.
    #[test]
    fn what_is_carried_arrives() {
        let carried = Deadline::after(Duration::from_secs(100)).carry(());
        let left = Deadline::of(carried.metadata()).unwrap().0.unwrap() - Instant::now();
        assert!(left <= Duration::from_secs(100) && left > Duration::from_secs(90));
        assert!(
            Deadline::of(Deadline::default().carry(()).metadata())
                .unwrap()
                .0
                .is_none()
        );
    }
}
