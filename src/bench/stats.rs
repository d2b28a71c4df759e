//! What is concluded from repeated measurements: medians, and intervals that assume nothing about how
//! they are distributed.

use serde::{Deserialize, Serialize};

/// How sure an interval is to hold the true median, where there are measurements enough for it.
pub const CONFIDENCE: f64 = 0.95;

/// A median and the interval around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// Where the interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

impl Spread {
    /// Of measurements; `None` when there are none.
    ///
    /// The interval goes from one of them to another: from the k-th least to the k-th greatest, k being
    /// the greatest for which the true median is within with [`CONFIDENCE`] (a sign test turned
    /// round: each measurement is below it as likely as above). With five or fewer no two are so
    /// sure; then it is all that was seen.
    pub fn of(measured: &[f64]) -> Option<Spread> {
        let mut sorted = measured.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (count, outside) = (sorted.len(), left_out(sorted.len()));
        let middle = [sorted.get(count.checked_sub(1)? / 2)?, sorted.get(count / 2)?];
        Some(Spread {
            median: middle.into_iter().sum::<f64>() / 2.0,
            low: sorted[outside],
            high: sorted[count - 1 - outside],
        })
    }

    /// Of the ratios of pairs, of which each was measured at one time: first / second. Pairs whose
    /// second is 0 have none; `None` when there are no others.
    pub fn of_ratios(pairs: &[[f64; 2]]) -> Option<Spread> {
        let ratios = pairs.iter().filter(|pair| pair[1] != 0.0).map(|pair| pair[0] / pair[1]);
        Spread::of(&ratios.collect::<Vec<_>>())
    }
}

/// How many measurements of `count` lie outside of the interval at each end.
fn left_out(count: usize) -> usize {
    let tail = (1.0 - CONFIDENCE) / 2.0;
    // The chance that at most `outside` of them are on one side of the median: a binomial's.
    let mut term = 0.5f64.powi(count as i32);
    let (mut sum, mut outside) = (term, 0);
    while sum <= tail && 2 * (outside + 1) < count {
        outside += 1;
        term *= (count - outside + 1) as f64 / outside as f64;
        sum += term;
    }
    if sum <= tail { outside } else { outside.saturating_sub(1) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_tables() {
        // Ranks of the least one within, counted from 1, for 95 %; from a table of the sign test.
        for (count, rank) in [(6, 1), (8, 1), (9, 2), (10, 2), (11, 2), (12, 3), (20, 6), (25, 8)] {
            assert_eq!(left_out(count) + 1, rank, "of {count}");
        }
    }

    #[test]
    fn few_measurements_are_told_whole() {
        assert_eq!(Spread::of(&[]), None);
        let spread = |median, low, high| Some(Spread { median, low, high });
        assert_eq!(Spread::of(&[3.0]), spread(3.0, 3.0, 3.0));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0]), spread(2.0, 1.0, 4.0));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), spread(2.5, 1.0, 4.0));
    }

    #[test]
    fn a_ratio_is_of_pairs() {
        // The machine slows down by half after the first pair; what is compared does not change.
        let pairs = [[4.0, 2.0], [2.0, 1.0], [1.0, 0.0]];
        let spread = Spread::of_ratios(&pairs).unwrap();
        assert_eq!((spread.median, spread.low, spread.high), (2.0, 2.0, 2.0));
    }
}
