//! Room for one flow: a cache line that any worker reads and any worker may take for another flow,
//! without a lock.
//!
//! ```text
//!   word     version 26 │ held 1 │ began 1 │ state 4 │ seen 32      all that changes often
//!   key      five words
//!   verdict  generation 32 │ made 32
//!   rules    egress 32 │ ingress 32
//! ```
//! The version counts the flows that the slot has had. Who gives it to another flow first *holds* it: one
//! exchange makes the version another, takes the state away and sets the bit; then he writes the other
//! words, and last the word with the new state. Who reads takes the word, then the others, then the word
//! again: when the version is still the same, all of it belongs to one flow. Who holds a slot writes
//! eight words and lets go; nobody waits for him, a held slot is passed over.
//!
//! State and time change by exchanging the word, which fails when the slot has another flow by then.
//! A new verdict on the same flow is written under the held bit alone: version and state stay, so that
//! the flow is found all the while.

use super::Judged;
use super::key::{Key, Side};
use super::state::State;
use crate::sync::{AtomicU64, Ordering::*, fence};

const STATE: u32 = 32;
const BEGAN: u32 = 36;
const HELD: u64 = 1 << 37;
const VERSION: u32 = 38;

/// The word that says whose the slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

/// A flow as it is written into a slot. Times are ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// The initiator.
    pub(super) began: Side,
    pub(super) state: State,
    pub(super) seen: u32,
    pub(super) made: u32,
    pub(super) judged: Judged,
}

/// See the [module](self).
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    word: AtomicU64,
    key: [AtomicU64; 5],
    verdict: AtomicU64,
    rules: AtomicU64,
}

/// The right to write a slot, which has no flow meanwhile. It ends with [`put`](Self::put) or
/// [`free`](Self::free); a slot that is held for ever would only be lost.
#[must_use]
pub(super) struct Held<'a> {
    slot: &'a Slot,
    version: u64,
}

impl Word {
    /// `None`: the slot is free, or being written.
    #[inline]
    pub(super) fn state(self) -> Option<State> {
        State::of_bits(self.0 >> STATE)
    }

    #[inline]
    pub(super) fn seen(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(super) fn began(self) -> Side {
        Side::of_bit(self.0 >> BEGAN)
    }

    /// Which of the flows that the slot has had.
    #[inline]
    pub(super) fn version(self) -> u32 {
        (self.0 >> VERSION) as u32
    }

    /// Whether the slot has no flow, and nobody is about to give it one.
    pub(super) fn is_free(self) -> bool {
        self.state().is_none() && !self.is_held()
    }

    pub(super) fn is_held(self) -> bool {
        self.0 & HELD != 0
    }

    /// The same flow in another state, seen later.
    #[inline]
    pub(super) fn advanced(self, state: State, seen: u32) -> Word {
        Word(self.0 & !(15 << STATE | 0xffff_ffff) | (state as u64) << STATE | u64::from(seen))
    }
}

impl Slot {
    pub(super) fn new() -> Slot {
        let zero = || AtomicU64::new(0);
        let key = std::array::from_fn(|_| zero());
        Slot { word: zero(), key, verdict: zero(), rules: zero() }
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Acquire))
    }

    /// The word and the verdict, if the slot has the flow with this key.
    #[inline]
    pub(super) fn get(&self, key: &Key) -> Option<(Word, Judged)> {
        let word = self.word();
        word.state()?;
        let differs = self.key.iter().zip(key.0).fold(0, |sum, (a, b)| sum | a.load(Relaxed) ^ b);
        if differs != 0 {
            return None;
        }
        let (judged, _) = self.verdict();
        self.is_still(word).then_some((word, judged))
    }

    /// The flow that the slot has.
    pub(super) fn entry(&self) -> Option<Entry> {
        let word = self.word();
        let state = word.state()?;
        let key = Key(std::array::from_fn(|i| self.key[i].load(Relaxed)));
        let (judged, made) = self.verdict();
        let entry = Entry { key, began: word.began(), state, seen: word.seen(), made, judged };
        self.is_still(word).then_some(entry)
    }

    /// The key's last word, for its timeout. Right if an exchange of the word that was read before
    /// succeeds.
    pub(super) fn key_without_addresses(&self) -> Key {
        Key([0, 0, 0, 0, self.key[4].load(Relaxed)])
    }

    #[inline]
    fn verdict(&self) -> (Judged, u32) {
        let (verdict, rules) = (self.verdict.load(Relaxed), self.rules.load(Relaxed));
        let judged = Judged {
            generation: (verdict >> 32) as u32,
            egress: (rules >> 32) as u32,
            ingress: rules as u32,
        };
        (judged, verdict as u32)
    }

    /// Whether all that was read since `word` belongs to one flow.
    #[inline]
    fn is_still(&self, word: Word) -> bool {
        fence(Acquire);
        Word(self.word.load(Relaxed)).version() == word.version()
    }

    /// Exchanges the word for another of the same flow; otherwise tells what it is now.
    #[inline]
    pub(super) fn exchange(&self, from: Word, to: Word) -> Result<(), Word> {
        self.word.compare_exchange(from.0, to.0, Relaxed, Relaxed).map(drop).map_err(Word)
    }

    /// Takes the slot from the flow it has, or from none, if the word is still this one.
    #[inline]
    pub(super) fn hold(&self, word: Word) -> Option<Held<'_>> {
        let version = (u64::from(word.version()) + 1) << VERSION;
        if word.is_held() {
            return None;
        }
        self.word.compare_exchange(word.0, version | HELD, Acquire, Relaxed).ok()?;
        // Who reads a word that is written below finds another version.
        fence(Release);
        Some(Held { slot: self, version })
    }

    /// Writes another verdict on the flow of this version. Whether it did: not when the slot has another
    /// flow, or somebody else does the same.
    pub(super) fn judge(&self, version: u32, judged: Judged) -> bool {
        let mut word = self.word();
        while word.version() == version && !word.is_held() {
            match self.word.compare_exchange_weak(word.0, word.0 | HELD, Acquire, Relaxed) {
                Ok(_) => {
                    let made = self.verdict.load(Relaxed) as u32;
                    self.write_verdict(judged, made);
                    self.word.fetch_and(!HELD, Release);
                    return true;
                }
                Err(now) => word = Word(now),
            }
        }
        false
    }

    fn write_verdict(&self, judged: Judged, made: u32) {
        let rules = u64::from(judged.egress) << 32 | u64::from(judged.ingress);
        self.rules.store(rules, Relaxed);
        self.verdict.store(u64::from(judged.generation) << 32 | u64::from(made), Relaxed);
    }
}

impl Held<'_> {
    /// Gives the slot to a flow.
    pub(super) fn put(self, entry: &Entry) {
        for (word, value) in self.slot.key.iter().zip(entry.key.0) {
            word.store(value, Relaxed);
        }
        self.slot.write_verdict(entry.judged, entry.made);
        let began = entry.began.bit() << BEGAN;
        let word = self.version | began | (entry.state as u64) << STATE | u64::from(entry.seen);
        self.slot.word.store(word, Release);
    }

    /// Leaves the slot free.
    pub(super) fn free(self) {
        self.slot.word.store(self.version, Release);
    }
}
