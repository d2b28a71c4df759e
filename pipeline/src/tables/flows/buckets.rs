//! Where a flow is: in one of sixteen slots.
//!
//! ```text
//!   hash of the key ─┬─▶ tags of its first home  ─▶ slot of the tag that fits
//!                    └─▶ tags of its second home ─▶ slot of the tag that fits
//! ```
//! A home is a bucket of eight slots. A new flow goes where there is more room, so that the table is seven
//! tenths full before the first one finds none. A tag is a byte: eight bits of the hash, or 0 where there
//! is no flow. So a lookup reads two words of tags, which stay in the nearer caches even for a
//! million flows, and most often one slot.
//!
//! Beside the tags are [ranks](Rank), a byte for each slot again: which flow gives way first where there is no
//! room is read from two words, and not from sixteen slots.
//!
//! Invariant: a tag is written only by who holds its slot. A rank is a hint: it may be that of the flow which
//! the slot had before, since of two who write ranks of a bucket at once one may undo what the other did.

use super::Judged;
use super::key::Key;
use super::rank::{self, Rank};
use super::slot::{Entry, Slot, Word};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use std::ops::Range;

/// Slots of a bucket, as many as a word has bytes.
pub const WAYS: usize = 8;

pub(super) struct Buckets {
    heads: Box<[Head]>,
    slots: Box<[[Slot; WAYS]]>,
}

/// What is known of a bucket's slots without reading them: one byte of each word for each slot.
#[repr(align(16))]
struct Head {
    tags: AtomicU64,
    ranks: AtomicU64,
}

impl Buckets {
    /// For at most this many flows, or for two buckets of them if that is more.
    pub(super) fn new(most: usize) -> Buckets {
        let count = (most / WAYS).clamp(2, u32::MAX as usize / WAYS);
        Buckets {
            heads: (0..count).map(|_| Head::new()).collect(),
            slots: (0..count).map(|_| std::array::from_fn(|_| Slot::new())).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }

    #[inline]
    pub(super) fn slot(&self, at: u32) -> &Slot {
        &self.slots[at as usize / WAYS][at as usize % WAYS]
    }

    /// The slot that has the flow with this key and hash, its word, and the flow's verdict. It is looked for where it is
    /// `likely` first.
    #[inline]
    pub(super) fn find(
        &self,
        key: &Key,
        hash: u64,
        likely: Option<u32>,
    ) -> Option<(u32, Word, Judged)> {
        let at = likely.or_else(|| self.likely(hash))?;
        match self.slot(at).get(key) {
            Some((word, judged)) => Some((at, word, judged)),
            None => self.visit(key, hash, |at, word, judged| Some((at, word, judged))),
        }
    }

    /// The first slot whose tag fits.
    #[inline]
    pub(super) fn likely(&self, hash: u64) -> Option<u32> {
        let [a, b] = self.homes(hash);
        let [x, y] = [a, b].map(|home| matches(self.tags(home), tag(hash)));
        // The processor need not guess in which of the two it is.
        let (home, found) = if x != 0 { (a, x) } else { (b, y) };
        (found != 0).then(|| at(home, found.trailing_zeros() as usize / 8))
    }

    /// How many slots have a tag that fits.
    #[inline]
    pub(super) fn fitting(&self, hash: u64) -> u32 {
        self.homes(hash).map(|home| count(matches(self.tags(home), tag(hash)))).iter().sum()
    }

    /// Shows every slot that has the flow with this key and hash, its word, and the flow's verdict, until
    /// `visit` returns something: in the same order to all who ask. There is more than one only while
    /// two workers keep the flow at once.
    #[inline(never)]
    pub(super) fn visit<R>(
        &self,
        key: &Key,
        hash: u64,
        mut visit: impl FnMut(u32, Word, Judged) -> Option<R>,
    ) -> Option<R> {
        for home in self.homes(hash) {
            for way in ways(matches(self.tags(home), tag(hash))) {
                let at = at(home, way);
                if let Some((word, judged)) = self.slot(at).get(key)
                    && let Some(result) = visit(at, word, judged)
                {
                    return Some(result);
                }
            }
        }
        None
    }

    /// The slot that [`free`](Self::free) will try first.
    pub(super) fn likely_free(&self, hash: u64) -> Option<u32> {
        let [(home, free), _] = self.homes_by_room(hash);
        ways(free).next().map(|way| at(home, way))
    }

    /// A free slot for a flow with this hash, in the home that has more of them.
    pub(super) fn free(&self, hash: u64) -> Option<(u32, Word)> {
        for (home, free) in self.homes_by_room(hash) {
            for at in ways(free).map(|way| at(home, way)) {
                let word = self.slot(at).word();
                if word.is_free() {
                    return Some((at, word));
                }
            }
        }
        None
    }

    /// The homes of a hash with their free slots, the one that has more of them first.
    #[inline]
    fn homes_by_room(&self, hash: u64) -> [(usize, u64); 2] {
        let [a, b] = self.homes(hash).map(|home| (home, matches(self.tags(home), 0)));
        if count(a.1) >= count(b.1) { [a, b] } else { [b, a] }
    }

    /// All slots that a flow with this hash may have, in an order of its own.
    pub(super) fn places(&self, hash: u64) -> [u32; 2 * WAYS] {
        let (homes, (turn, _)) = (self.homes(hash), turn(hash));
        std::array::from_fn(|i| at(homes[i / WAYS], (i % WAYS) ^ turn))
    }

    /// The slot whose flow is to give way to one with this hash, by the ranks; `None` where they have only such
    /// as do not tell when they were seen.
    pub(super) fn least(&self, hash: u64, now: u32) -> Option<u32> {
        let homes = self.homes(hash);
        let ranks = homes.map(|home| rank::aged(self.heads[home].ranks.load(Relaxed), now));
        let least = rank::least(ranks);
        let [a, b] = ranks.map(|ranks| matches(ranks, least.0));
        let (turn, prefers_b) = turn(hash);
        let (home, found) =
            if b == 0 || (a != 0 && !prefers_b) { (homes[0], a) } else { (homes[1], b) };
        let way = ways(found.rotate_right(8 * turn as u32)).next()?;
        least.tells_age().then(|| at(home, (way + turn) % WAYS))
    }

    /// The slots of these buckets that have a flow.
    pub(super) fn taken(&self, buckets: Range<usize>) -> impl Iterator<Item = u32> {
        let buckets = buckets.start..buckets.end.min(self.len());
        buckets.flat_map(|bucket| {
            let free = matches(self.tags(bucket), 0);
            ways(!free & HIGH).map(move |way| at(bucket, way))
        })
    }

    /// Writes a flow into a slot, if its word is still this one.
    pub(super) fn put(&self, at: u32, word: Word, entry: &Entry, hash: u64) -> bool {
        let Some(held) = self.slot(at).hold(word) else { return false };
        self.set_tag(at, tag(hash));
        self.set_rank(at, Rank::of(entry.state, entry.seen));
        held.put(entry);
        true
    }

    /// Frees a slot that has a flow, if its word is still this one.
    pub(super) fn take(&self, at: u32, word: Word) -> bool {
        let Some(held) = word.state().and_then(|_| self.slot(at).hold(word)) else { return false };
        self.set_tag(at, 0);
        held.free();
        true
    }

    fn set_tag(&self, at: u32, tag: u8) {
        let (bucket, shift) = (at as usize / WAYS, at as usize % WAYS * 8);
        let old = self.tags(bucket) >> shift & 0xff;
        self.heads[bucket].tags.fetch_xor((old ^ u64::from(tag)) << shift, Relaxed);
    }

    /// Notes when a slot's flow gives way, if that is not what is noted.
    pub(super) fn set_rank(&self, at: u32, Rank(rank): Rank) {
        let (bucket, shift) = (at as usize / WAYS, at as usize % WAYS * 8);
        let ranks = &self.heads[bucket].ranks;
        let old = ranks.load(Relaxed);
        if (old >> shift) as u8 != rank {
            ranks.store(old & !(0xff << shift) | u64::from(rank) << shift, Relaxed);
        }
    }

    #[inline]
    pub(super) fn tags(&self, bucket: usize) -> u64 {
        self.heads[bucket].tags.load(Relaxed)
    }

    /// The two homes of a hash; never the same one.
    #[inline]
    fn homes(&self, hash: u64) -> [usize; 2] {
        let count = self.len() as u64;
        let home = |bits: u64| (((bits & 0xffff_ffff) * count) >> 32) as usize;
        let (a, b) = (home(hash), home(hash >> 20));
        let next = if a + 1 == self.len() { 0 } else { a + 1 };
        [a, if a == b { next } else { b }]
    }
}

impl Head {
    fn new() -> Head {
        Head { tags: AtomicU64::new(0), ranks: AtomicU64::new(0) }
    }
}

#[inline]
fn at(bucket: usize, way: usize) -> u32 {
    (bucket * WAYS + way) as u32
}

/// Eight bits that choose no home, and are not 0.
#[inline]
fn tag(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

/// Where a hash begins among slots that are alike: a way, and whether in the second home.
#[inline]
fn turn(hash: u64) -> (usize, bool) {
    let bits = (hash >> 52) as usize;
    (bits % WAYS, bits & WAYS != 0)
}

/// The highest bit of each byte.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The bytes of a word that equal this one, as their highest bits.
#[inline]
fn matches(word: u64, byte: u8) -> u64 {
    let x = word ^ (u64::from(byte) * 0x0101_0101_0101_0101);
    !(((x & !HIGH) + !HIGH) | x | !HIGH)
}

/// How many these are. (There are processors that count bits in one step, but not all do.)
#[inline]
fn count(matches: u64) -> u32 {
    ((matches >> 7).wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32
}

/// The bytes whose highest bits are set.
#[inline]
fn ways(mut matches: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let way = matches.trailing_zeros() as usize / 8;
        matches &= matches.wrapping_sub(1);
        (way < WAYS).then_some(way)
    })
}
