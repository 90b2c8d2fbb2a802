//! What is to be done, and what came of it. COPY: replace it by your own.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// A file is to have this checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Below the directory that the workers have.
    pub(crate) path: String,
    /// In hexadecimal digits.
    pub(crate) sha256: String,
}

/// What has come of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Intact,
    /// Its content has another checksum.
    Damaged,
    Unreadable(String),
    /// It was begun too often, and never came to an end: it may be what ends its workers.
    GivenUp,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intact => f.write_str("intact"),
            Self::Damaged => f.write_str("damaged"),
            Self::Unreadable(why) => write!(f, "unreadable: {why}"),
            Self::GivenUp => f.write_str("given up"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error("line {0} is not `CHECKSUM  PATH`, as `sha256sum` writes it")]
    Line(usize),
    #[error("{0:?} is there twice")]
    Twice(String),
    #[error("{0:?} is no verdict")]
    Verdict(String),
}

impl FromStr for Verdict {
    type Err = JobError;

    fn from_str(text: &str) -> Result<Self, JobError> {
        Ok(match text {
            "intact" => Self::Intact,
            "damaged" => Self::Damaged,
            "given up" => Self::GivenUp,
            _ => match text.strip_prefix("unreadable: ") {
                Some(why) => Self::Unreadable(why.to_owned()),
                None => return Err(JobError::Verdict(text.to_owned())),
            },
        })
    }
}

/// What `sha256sum` has written.
pub(crate) fn parse_sums(text: &str) -> Result<Vec<Job>, JobError> {
    let mut seen = BTreeSet::new();
    let mut jobs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = || JobError::Line(index + 1);
        let (sha256, path) = line.split_once(' ').ok_or_else(wrong)?;
        // A space for text, a star for binary: on Unix they are the same.
        let path = path.strip_prefix([' ', '*']).ok_or_else(wrong)?;
        if sha256.len() != 64
            || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit())
            || path.is_empty()
        {
            return Err(wrong());
        }
        if !seen.insert(path) {
            return Err(JobError::Twice(path.to_owned()));
        }
        jobs.push(Job {
            path: path.to_owned(),
            sha256: sha256.to_ascii_lowercase(),
        });
    }
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that is skipped is a file that is never looked at.
    #[test]
    fn every_line_is_a_job_or_an_error() {
        let sum = "AB".repeat(32);
        let jobs = parse_sums(&format!("{sum}  a file\n{sum} *b\n")).unwrap();
        assert_eq!(jobs[0].path, "a file");
        assert_eq!(jobs[0].sha256, sum.to_ascii_lowercase());
        assert_eq!(jobs[1].path, "b");
        for wrong in [
            "\n",
            "x  a\n",
            &sum,
            &format!("{sum} a\n"),
            &format!("{sum}  \n"),
        ] {
            assert!(
                matches!(parse_sums(wrong), Err(JobError::Line(1))),
                "{wrong:?}"
            );
        }
        let twice = format!("{sum}  a\n{sum}  a\n");
        assert!(matches!(parse_sums(&twice), Err(JobError::Twice(_))));
    }

    /// Verdicts go through Redis as text.
    #[test]
    fn verdicts_come_back_as_they_went() {
        for verdict in [
            Verdict::Intact,
            Verdict::Damaged,
            Verdict::GivenUp,
            Verdict::Unreadable("gone: for good".to_owned()),
        ] {
            assert_eq!(verdict.to_string().parse::<Verdict>().unwrap(), verdict);
        }
        assert!("perhaps".parse::<Verdict>().is_err());
    }
}
