//! How long things took: counts in buckets that are fixed beforehand.
//!
//! Four buckets for each power of two of nanoseconds. So recording is a shift and an add, histograms of
//! different workers can be added up, and what is read is at most a quarter too much.

use std::{fmt, time::Duration};

use super::metrics::Counter;

/// Everything shorter is in the first bucket: about what recording itself takes.
const SHORTEST_BITS: u32 = 7;
/// Everything from here on is in the last bucket: 36 minutes.
const LONGEST_BITS: u32 = 41;
/// The buckets of one power of two, as a power of two.
const SPLIT_BITS: u32 = 2;
const BUCKETS: usize = ((LONGEST_BITS - SHORTEST_BITS) << SPLIT_BITS) as usize + 2;

/// How long something took, and how often: a snapshot.
///
/// Counts in fixed buckets: one for what took less than 128 ns, then four for each power of two up to
/// about 36 minutes (2<sup>41</sup> ns), then one for the rest.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = landbridge::CompioPool::builder().threads(2).build()?;
/// for _ in 0..1_000 {
///     pool.run(async || ()).await?;
/// }
/// let waited = pool.metrics().enqueue_to_start();
/// // One job in sixteen is measured.
/// assert!((1..1_000).contains(&waited.count()));
/// assert!(waited.quantile(0.5) <= waited.quantile(0.99));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    /// In nanoseconds.
    sum: u64,
}

impl Histogram {
    /// How often.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long altogether: exact, not made from the buckets.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// How long on average; zero if there is nothing.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum.checked_div(self.count()).unwrap_or(0))
    }

    /// What a share `q` of them took at most: 0.5 is the median, 0.99 the 99th percentile. Zero if
    /// there is nothing.
    ///
    /// It is the end of a bucket: never less than the exact figure, and at most a quarter more, or
    /// 128 ns. Past 36 minutes it is 36 minutes. A `q` outside of 0 to 1 is taken as the nearer of them.
    pub fn quantile(&self, q: f64) -> Duration {
        let count = self.count();
        // Rounding is nothing beside a bucket's width.
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for bucket in self.buckets() {
            seen += bucket.count;
            if seen >= rank {
                return if bucket.below == Duration::MAX {
                    bucket.from
                } else {
                    bucket.below
                };
            }
        }
        Duration::ZERO
    }

    /// All buckets, also the empty ones, from the shortest time to the longest.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = Bucket> + '_ {
        self.counts
            .iter()
            .enumerate()
            .map(|(index, &count)| Bucket {
                from: Duration::from_nanos(start_of(index)),
                below: if index + 1 < BUCKETS {
                    Duration::from_nanos(start_of(index + 1))
                } else {
                    Duration::MAX
                },
                count,
            })
    }

    /// Adds what `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

impl Default for Histogram {
    /// Nothing counted.
    fn default() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            sum: 0,
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("mean", &self.mean())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("p100", &self.quantile(1.0))
            .finish()
    }
}

/// One bucket of a [`Histogram`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// The shortest time that is counted here.
    pub from: Duration,
    /// The shortest time that is not any more: where the next bucket begins. [`Duration::MAX`] for the
    /// last one.
    pub below: Duration,
    /// How many.
    pub count: u64,
}

/// A histogram that one thread writes and any may read: a load and a store twice for each record.
#[derive(Debug)]
pub(crate) struct Recorder {
    counts: [Counter; BUCKETS],
    sum: Counter,
}

impl Recorder {
    pub(crate) fn record(&self, nanoseconds: u64) {
        self.counts[bucket_of(nanoseconds)].add(1);
        self.sum.add(nanoseconds);
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        let mut snapshot = Histogram::default();
        for (count, recorded) in snapshot.counts.iter_mut().zip(&self.counts) {
            *count = recorded.get();
        }
        snapshot.sum = self.sum.get();
        snapshot
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| Counter::default()),
            sum: Counter::default(),
        }
    }
}

fn bucket_of(nanoseconds: u64) -> usize {
    let Some(bits) = nanoseconds.checked_ilog2().filter(|b| *b >= SHORTEST_BITS) else {
        return 0;
    };
    let power = (bits - SHORTEST_BITS) << SPLIT_BITS;
    let quarter = (nanoseconds >> (bits - SPLIT_BITS)) & ((1 << SPLIT_BITS) - 1);
    (1 + power as usize + quarter as usize).min(BUCKETS - 1)
}

fn start_of(bucket: usize) -> u64 {
    let Some(after_first) = bucket.checked_sub(1) else {
        return 0;
    };
    let bits = SHORTEST_BITS as usize + (after_first >> SPLIT_BITS);
    let quarter = after_first as u64 & ((1 << SPLIT_BITS) - 1);
    ((1 << SPLIT_BITS) + quarter) << (bits - SPLIT_BITS as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time in the wrong bucket is a wrong figure on every dashboard, and only at some edges.
    #[test]
    fn every_time_is_in_the_bucket_that_says_so() {
        let edges = (0..BUCKETS).map(start_of);
        for edge in edges.chain([1, 100, 1_000, 1_000_000, 60_000_000_000, u64::MAX / 2]) {
            for time in [edge.saturating_sub(1), edge, edge + 1] {
                let recorder = Recorder::default();
                recorder.record(time);
                let snapshot = recorder.snapshot();
                let bucket = snapshot.buckets().find(|bucket| bucket.count == 1).unwrap();
                let time = Duration::from_nanos(time);
                assert!(
                    bucket.from <= time && time < bucket.below,
                    "{time:?} in {bucket:?}"
                );
            }
        }
    }

    /// The docs promise the width: a quarter of the time at most.
    #[test]
    fn buckets_follow_each_other_and_are_a_quarter_wide() {
        let buckets = Histogram::default().buckets().collect::<Vec<_>>();
        assert_eq!(buckets[0].from, Duration::ZERO);
        assert_eq!(buckets[0].below, Duration::from_nanos(128));
        assert_eq!(buckets.last().unwrap().below, Duration::MAX);
        assert!(buckets.last().unwrap().from > Duration::from_secs(36 * 60));
        for (bucket, next) in buckets.iter().zip(&buckets[1..]) {
            assert_eq!(bucket.below, next.from);
        }
        for bucket in &buckets[1..buckets.len() - 1] {
            assert!(bucket.below - bucket.from <= bucket.from / 4, "{bucket:?}");
        }
    }

    /// Operators alarm on a quantile: it must never say less than the truth.
    #[test]
    fn a_quantile_is_the_end_of_the_bucket_that_has_it() {
        let recorder = Recorder::default();
        for micros in 1..=100 {
            recorder.record(micros * 1_000);
        }
        let snapshot = recorder.snapshot();
        assert_eq!(snapshot.count(), 100);
        assert_eq!(snapshot.sum(), Duration::from_micros(5_050));
        assert_eq!(snapshot.mean(), Duration::from_nanos(50_500));
        for (q, micros) in [
            (0.0, 1),
            (0.01, 1),
            (0.5, 50),
            (0.99, 99),
            (1.0, 100),
            (7.0, 100),
        ] {
            let exact = Duration::from_micros(micros);
            let said = snapshot.quantile(q);
            assert!(exact < said && said <= exact * 5 / 4, "{q}: {said:?}");
        }
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
        assert_eq!(Histogram::default().mean(), Duration::ZERO);
        recorder.record(u64::MAX / 2);
        let longest = recorder.snapshot().quantile(1.0);
        assert_eq!(longest, Duration::from_nanos(1 << LONGEST_BITS));
    }

    /// A pool's figure is made of its workers'.
    #[test]
    fn merging_adds_up_bucket_by_bucket() {
        let [one, other, all] = std::array::from_fn(|_| Recorder::default());
        for time in (0..1_000).map(|n| n * n * 37) {
            if time % 2 == 0 { &one } else { &other }.record(time);
            all.record(time);
        }
        let mut merged = one.snapshot();
        merged.merge(&other.snapshot());
        assert_eq!(merged, all.snapshot());
        assert_ne!(merged, one.snapshot());
    }
}
