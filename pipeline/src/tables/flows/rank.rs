//! When a flow gives way, as far as a byte tells it.
//!
//! ```text
//!   worth 2 │ half second in which it was seen 6
//! ```
//! The six bits are the lower ones of a count, so that they tell an age of up to [`OLDEST`]; who goes through the
//! table from time to time keeps them there. A flow that is worth the most has none: its byte need not
//! be written for each half second in which it is seen.

use super::state::{State, Worth};

/// Ticks to a half second, as a power of two.
const HALF_SECOND: u32 = 1;
/// The age that an older flow has, half seconds. What is left to 64 is the time that a round through the table may take.
const OLDEST: u32 = 32;
const AGE: u64 = 0x3f;
/// A byte in all bytes of a word.
const EACH: u64 = 0x0101_0101_0101_0101;

/// See the [module](self). Ranks are compared when they are [`aged`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank(pub(super) u8);

impl Rank {
    /// Of a flow in this state that was seen at this tick.
    #[inline]
    pub(super) fn of(state: State, seen: u32) -> Rank {
        let worth = state.worth();
        let seen = if worth == Worth::Live { 0 } else { seen >> HALF_SECOND };
        Rank((worth as u8) << 6 | seen as u8 & AGE as u8)
    }

    /// The same at tick `now`, which may be long after.
    pub(super) fn then(state: State, seen: u32, now: u32) -> Rank {
        Rank::of(state, seen.max(now.saturating_sub(OLDEST << HALF_SECOND)))
    }

    /// Whether there is more than the worth.
    pub(super) fn tells_age(self) -> bool {
        self.0 >> 6 != Worth::Live as u8
    }
}

/// Eight ranks as they are at tick `now`: what is worth less, and then what is older, is the lesser byte.
#[inline]
pub(super) fn aged(ranks: u64, now: u32) -> u64 {
    // Another worker's clock may be a little ahead: the next half second is the youngest, too.
    let youngest = u64::from((now >> HALF_SECOND).wrapping_add(1)) & AGE;
    let age = (ranks & (AGE * EACH)) + (AGE - youngest) * EACH;
    ranks & !(AGE * EACH) | age & (AGE * EACH)
}

/// The least of sixteen.
#[inline]
pub(super) fn least(ranks: [u64; 2]) -> Rank {
    Rank(ranks.into_iter().flat_map(u64::to_le_bytes).fold(u8::MAX, u8::min))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rank at a tick, as it is compared.
    fn at(rank: Rank, now: u32) -> u8 {
        aged(u64::from(rank.0) << 16, now).to_le_bytes()[2]
    }

    #[test]
    fn less_worth_and_older_goes_first() {
        // The counts of six bits begin anew in the midst of these.
        for now in (1_000..1_200).chain(u32::MAX - 200..u32::MAX - 2) {
            let seen = (0..=2 * OLDEST).rev().step_by(2).map(|age| now - age).chain([now + 2]);
            let of = |state| seen.clone().map(move |seen| at(Rank::of(state, seen), now));
            let all = of(State::SynSent).chain(of(State::TimeWait));
            let all: Vec<_> = all.chain([at(Rank::of(State::Established, 7), now)]).collect();
            assert!(all.is_sorted_by(|a, b| a < b), "{now}: {all:?}");
        }
    }

    #[test]
    fn what_is_very_old_stays_so() {
        for now in 1_000..1_200 {
            let after = |age: u32| at(Rank::then(State::SynSent, now - 2 * age, now), now);
            let (oldest, younger) = (after(OLDEST), after(OLDEST - 1));
            assert!(oldest < younger);
            assert!([OLDEST + 1, 60, 64, 65, 400].iter().all(|&age| after(age) == oldest));
        }
    }

    #[test]
    fn the_least_is_found_in_each_place() {
        for place in 0..16 {
            let mut bytes = [0x90_u8; 16];
            for least in [0x8f, 0x3f, 0] {
                bytes[place] = least;
                let words = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
                let words: Vec<_> = words.collect();
                assert_eq!(super::least([words[0], words[1]]), Rank(least));
            }
        }
    }

    #[test]
    fn bytes_do_not_meddle_with_each_other() {
        for now in 0..200 {
            for byte in 0..8 {
                for rank in [0x00_u64, 0x3f, 0x40, 0x7f, 0xbf, 0xff] {
                    let others = 0xff_u64.wrapping_mul(EACH) & !(0xff << (8 * byte));
                    let all = aged(others | rank << (8 * byte), now);
                    let alone = aged(rank << (8 * byte), now) >> (8 * byte) & 0xff;
                    assert_eq!(all >> (8 * byte) & 0xff, alone);
                }
            }
        }
    }
}
