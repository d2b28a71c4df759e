//! Who has which slot: numbers of ports, peers and neighbours, given out and taken back.
//!
//! A number that was given back rests before somebody else gets it. A frame that is under way may
//! still mean the old thing by it, but not for long: it waits in a stage for three seconds at most,
//! and a worker that takes as long as [`REST`] for a turn or to empty a queue is dead.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many things of a kind there may be, so that numbers stay below sixteen bits: with as many that
/// rest they are below [`LIMIT`].
pub const MOST: usize = 32_000;
/// All numbers are below this. (65,535 means none.)
const LIMIT: usize = 65_000;

/// How long a number rests.
pub const REST: Duration = Duration::from_secs(10);

/// The numbers of one kind of things.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    next: usize,
    /// Given back, the earliest first.
    resting: VecDeque<(Instant, usize)>,
}

impl Numbers {
    /// Numbers from `first` on.
    pub fn from(first: usize) -> Numbers {
        Numbers { next: first, resting: VecDeque::new() }
    }

    /// A number that nobody has. Where so many rest that there is no other, it is the one that has
    /// rested longest.
    pub fn take(&mut self, now: Instant) -> usize {
        let is_last = self.next >= LIMIT;
        let is_rested =
            |(since, _): &mut (Instant, usize)| is_last || now.duration_since(*since) >= REST;
        match self.resting.pop_front_if(is_rested) {
            Some((_, number)) => number,
            None => {
                self.next += 1;
                self.next - 1
            }
        }
    }

    /// The number is free again.
    pub fn give_back(&mut self, number: usize, now: Instant) {
        self.resting.push_back((now, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_rests_before_it_is_somebody_elses() {
        let start = Instant::now();
        let mut numbers = Numbers::from(3);
        assert_eq!([numbers.take(start), numbers.take(start)], [3, 4]);
        numbers.give_back(3, start);
        assert_eq!(numbers.take(start + REST / 2), 5);
        numbers.give_back(4, start + REST / 2);
        assert_eq!(numbers.take(start + REST), 3);
        assert_eq!(numbers.take(start + REST), 6);
        assert_eq!(numbers.take(start + REST * 2), 4);
    }

    #[test]
    fn numbers_stay_small_whatever_comes_and_goes() {
        let (start, mut numbers) = (Instant::now(), Numbers::default());
        for _ in 0..LIMIT {
            let number = numbers.take(start);
            numbers.give_back(number, start);
        }
        assert_eq!([numbers.take(start), numbers.take(start)], [0, 1]);
    }
}
