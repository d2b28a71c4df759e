//! The highest rate that a router forwards with next to no loss.
//!
//! A search as in RFC 9971 (MLRsearch), with one goal: short trials narrow the rate down, beginning
//! where the router itself said what it can do, at what it delivers when overloaded; a long one then
//! confirms it. Bounds are halved as ratios. A rate counts as forwarded only below every rate that was
//! not: what succeeds above a failure was luck.

use super::Result;
use super::traffic::Flow;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is searched for, and how exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// The share of frames that may be lost, besides those that the machine loses anyway.
    pub loss: f64,
    /// How far apart bounds may stay, as a share of the lower one.
    pub width: f64,
    /// How long a trial takes that narrows them down.
    pub short: Duration,
    /// How long the one takes that confirms.
    pub long: Duration,
    /// Trials after which no more is tried.
    pub trials: usize,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Highest {
    /// Frames a second: the highest rate whose loss is allowed; 0 when none was found.
    pub rate: f64,
    /// The share of frames that was lost at that rate, 0 to 1.
    pub loss: f64,
    /// The share that was lost at a low rate: the machine's doing, and allowed for.
    pub low_load_loss: f64,
    /// The share that was allowed to be lost, all in all.
    pub allowed: f64,
    /// Whether the router could do more than the sender.
    pub sender_bound: bool,
    /// Whether a long trial confirmed it; if not, trials were used up.
    pub confirmed: bool,
    /// Trials that it took.
    pub trials: usize,
}

/// The rate at which the loss of the machine is measured: a share of the first one.
const LOW: f64 = 0.1;
/// Where more is lost at that, no other loss can be told from it.
const TOO_MUCH: f64 = 0.1;
/// A rate below this share of the first one is not searched for.
const LEAST: f64 = 1.0 / 256.0;
/// A sender that sends less than this share of what it was asked for is at its end.
const PUNCTUAL: f64 = 0.98;
/// By how much rates are raised or lowered while there is one bound only; grows with each step.
const FIRST_STEP: f64 = 1.05;

/// Searches, beginning at `first` frames a second; `trial` sends at a rate for a time.
///
/// # Errors
/// Those of `trial`.
pub fn highest(
    first: f64,
    goal: &Goal,
    mut trial: impl FnMut(f64, Duration) -> Result<Flow>,
) -> Result<Highest> {
    let low_load_loss = trial(first * LOW, goal.short)?.loss().max(0.0);
    let allowed = low_load_loss + goal.loss;
    if low_load_loss > TOO_MUCH {
        let (rate, sender_bound, confirmed) = (0.0, false, false);
        let loss = low_load_loss;
        let trials = 1;
        return Ok(Highest { rate, loss, low_load_loss, allowed, sender_bound, confirmed, trials });
    }
    let mut search =
        Search { allowed, lower: None, upper: None, step: FIRST_STEP, sender_bound: false };
    let (mut next, mut confirmed, mut trials) = (first, false, 1);
    while trials < goal.trials && next > first * LEAST && !confirmed {
        let confirming = search.is_narrow(goal.width);
        let flow = trial(next, if confirming { goal.long } else { goal.short })?;
        trials += 1;
        let succeeded = search.learn(next, &flow);
        confirmed = confirming && succeeded;
        next = search.next(goal.width).unwrap_or(next);
    }
    let (rate, loss) = search.lower.unwrap_or((0.0, 1.0));
    let sender_bound = search.sender_bound;
    Ok(Highest { rate, loss, low_load_loss, allowed, sender_bound, confirmed, trials })
}

/// What is known.
struct Search {
    allowed: f64,
    /// The highest rate below `upper` that succeeded, and its loss.
    lower: Option<(f64, f64)>,
    /// The lowest rate that failed.
    upper: Option<f64>,
    step: f64,
    sender_bound: bool,
}

impl Search {
    /// A trial at `rate` is over; whether it succeeded.
    fn learn(&mut self, rate: f64, flow: &Flow) -> bool {
        let offered = flow.offered().min(rate);
        let (loss, late) = (flow.loss(), offered < rate * PUNCTUAL);
        let succeeded = loss <= self.allowed;
        if !succeeded {
            self.upper = Some(self.upper.map_or(offered, |upper| upper.min(offered)));
            self.lower = self.lower.filter(|(lower, _)| *lower < offered);
            self.sender_bound = false;
        } else if self.upper.is_none_or(|upper| offered < upper) {
            self.lower = self.lower.filter(|(lower, _)| *lower > offered).or(Some((offered, loss)));
            self.sender_bound |= late;
        }
        succeeded
    }

    /// Whether the lower bound is all that is left to be confirmed.
    fn is_narrow(&self, width: f64) -> bool {
        match (self.lower, self.upper) {
            (Some((lower, _)), Some(upper)) => upper / lower <= 1.0 + width,
            (Some(_), None) => self.sender_bound,
            _ => false,
        }
    }

    /// The next rate to try; `None` before the first trial.
    fn next(&mut self, width: f64) -> Option<f64> {
        if self.is_narrow(width) {
            return self.lower.map(|(lower, _)| lower);
        }
        let step = self.step;
        let mut stepped = || {
            self.step = (step * step).min(2.0);
            step
        };
        match (self.lower, self.upper) {
            (Some((lower, _)), Some(upper)) => Some((lower * upper).sqrt()),
            (Some((lower, _)), None) => Some(lower * stepped()),
            (None, Some(upper)) => Some(upper / stepped()),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOAL: Goal = Goal {
        loss: 0.005,
        width: 0.01,
        short: Duration::from_millis(300),
        long: Duration::from_secs(1),
        trials: 40,
    };

    /// A router that forwards `most` frames a second, and a machine that loses a share of all frames,
    /// with a sender that makes at most `sender` a second.
    fn router(most: f64, loses: f64, sender: f64) -> impl FnMut(f64, Duration) -> Result<Flow> {
        move |rate, time| {
            let sent = (rate.min(sender) * time.as_secs_f64()) as u64;
            let through = (sent as f64 * (1.0 - loses)).min(most * time.as_secs_f64());
            Ok(Flow { sent, arrived: through as u64, strange: 0, time })
        }
    }

    #[test]
    fn the_rate_of_a_known_router_is_found() {
        for first in [0.3e6, 0.9e6, 1e6, 1.1e6, 3e6] {
            let found = highest(first, &GOAL, router(1e6, 0.0, 1e9)).unwrap();
            // Half a percent may be lost, so that the rate may be as much higher.
            assert!((0.99e6..=1.0051e6).contains(&found.rate), "{first}: {found:?}");
            assert!(found.confirmed && !found.sender_bound && found.loss <= GOAL.loss, "{found:?}");
            assert!(found.trials < 20, "{found:?}");
        }
    }

    #[test]
    fn what_the_machine_loses_is_allowed_for() {
        let found = highest(1e6, &GOAL, router(1e6, 0.02, 1e9)).unwrap();
        assert!((found.low_load_loss - 0.02).abs() < 0.001, "{found:?}");
        assert!((1e6..1.03e6).contains(&found.rate), "{found:?}");
    }

    #[test]
    fn a_sender_at_its_end_is_told() {
        let found = highest(0.9e6, &GOAL, router(1e9, 0.0, 1e6)).unwrap();
        assert!(found.sender_bound && found.confirmed, "{found:?}");
        assert!((0.97e6..=1e6).contains(&found.rate), "{found:?}");
    }

    #[test]
    fn a_router_that_forwards_nothing_has_no_rate() {
        let found = highest(1e6, &GOAL, router(0.0, 0.0, 1e9)).unwrap();
        // All is lost at a low rate, too, so that nothing can be told from its loss.
        assert!(found.low_load_loss > 0.99 && found.rate == 0.0 && !found.confirmed, "{found:?}");
        let mut trials = 0;
        let found = highest(1e6, &GOAL, |rate, time| {
            trials += 1;
            let sent = (rate * time.as_secs_f64()) as u64;
            let arrived = if trials == 1 { sent } else { 0 };
            Ok(Flow { sent, arrived, strange: 0, time })
        });
        let found = found.unwrap();
        assert!(found.rate == 0.0 && !found.confirmed, "{found:?}");
        assert_eq!(found.trials, trials);
    }

    #[test]
    fn luck_above_a_failure_does_not_count() {
        // Every fifth trial at any rate succeeds.
        let mut trials = 0;
        let mut real = router(1e6, 0.0, 1e9);
        let found = highest(2e6, &GOAL, |rate, time| {
            trials += 1;
            let flow = real(rate, time)?;
            Ok(if trials % 5 == 0 { Flow { arrived: flow.sent, ..flow } } else { flow })
        });
        let found = found.unwrap();
        assert!(found.rate < 1.06e6, "{found:?}");
    }
}
