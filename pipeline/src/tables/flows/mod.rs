//! Flows: who has spoken to whom, so that the answer passes, and that only first packets are judged.
//!
//! One table for the process, shared by all workers, since an answer may come to another one. It
//! is as large as it will ever be from the start: 66 bytes a flow.
//!
//! What always holds:
//!
//! 1. Nobody waits. Who finds a slot taken tries another a few times, then goes without: a flow that
//!    is not kept has been judged all the same.
//! 2. Of two entries with one key, which two workers can make at once, the one that a lookup comes to first
//!    stays. Each looks again after it made its own, behind a fence: at least one of them sees both,
//!    and both would choose alike.
//! 3. Nothing ends a flow but its silence, or a newer one that finds no room: then none goes that is worth the
//!    most ([`Worth`]) while one of those in its way is worth less.
//!
//! [`buckets`] says where a flow is, [`slot`] how that is read while others write, [`tcp`] what a connection's
//! segments mean.

mod buckets;
mod key;
#[cfg(all(test, loom))]
mod loom;
mod rank;
mod show;
mod slot;
mod state;
pub mod tcp;
#[cfg(test)]
mod tests;

pub use buckets::WAYS;
pub use key::{Key, Side};
pub use show::{Counters, Flow, Numbers};
pub use state::{Party, State, Timeouts};
pub use tcp::Flags;

use crate::sync::{Ordering::*, fence};
use buckets::Buckets;
use crossbeam::utils::CachePadded;
use key::Secret;
use rank::Rank;
use show::Counts;
use slot::{Entry, Word};
use state::Worth;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

/// A tick is 2^28 nanoseconds, a little more than a quarter of a second: a flow's slot is written
/// at most once in a tick, whatever comes.
const TICK: u32 = 28;
/// Times that a change is tried when other workers come first.
const TRIES: usize = 4;
/// Flows that a sketch has room for.
const SKETCH: usize = 1024;

/// What of a packet concerns its flow; made by [`Flows::sighting`].
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// Of the flow.
    pub key: Key,
    /// The sender.
    pub side: Side,
    /// TCP's flags, nothing for other protocols.
    pub flags: Flags,
    hash: u64,
    likely: Likely,
}

impl Sighting {
    /// The same packet, as if the other end had sent it.
    #[must_use]
    pub fn reversed(self) -> Sighting {
        Sighting { side: self.side.other(), ..self }
    }
}

/// Where a flow will most likely be found, by [`Flows::touch`].
#[derive(Clone, Copy, Debug)]
enum Likely {
    /// Nobody has looked.
    Anywhere,
    /// In this slot.
    At(u32),
    /// Nowhere; this slot would be given to it, unless that has another flow by then.
    New(u32, Version),
}

/// Which of the flows that a slot has had.
type Version = u32;

/// What policies said of a flow: why it began, or why it goes on no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// The policies that were in force.
    pub generation: u32,
    /// The caller's number for what the source's port says.
    pub egress: u32,
    /// That for what the destination's port says.
    pub ingress: u32,
}

/// A packet's flow.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    at: u32,
    version: u32,
    /// Who sent the packet.
    pub by: Party,
    /// The state after it.
    pub state: State,
    /// What policies said of the flow.
    pub judged: Judged,
}

impl Hit {
    /// Whether nothing follows from another packet like the one that it was, in the same tick.
    #[inline]
    pub fn is_settled(&self, flags: Flags) -> bool {
        self.state.stays(self.by, flags)
    }
}

/// What became of a flow that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is a new one.
    Made,
    /// It was there already.
    Known,
    /// There is nothing to remember: the packet is none that a flow begins with, such as a reset, a SYN
    /// with ACK, or an echo reply.
    Needless,
    /// Others were faster, for every slot that was tried.
    Full,
}

/// The flow table; see the [module](self).
pub struct Flows {
    secret: Secret,
    buckets: Buckets,
    counts: CachePadded<Counts>,
    /// For a sketch: what it is one of.
    below: Option<Arc<Flows>>,
}

impl Flows {
    /// A table for at most this many flows, in whole buckets of eight and no fewer than two. The seed
    /// should be random: who knows it can choose flows that push each other out.
    pub fn new(most: usize, seed: u64) -> Flows {
        Flows::with(most, Secret::new(seed), None)
    }

    /// A small table in front of this one: flows it does not have are looked up below and copied, and
    /// what is done to them is done to the copy.
    pub fn sketch(self: &Arc<Self>) -> Flows {
        Flows::with(SKETCH, self.secret, Some(self.clone()))
    }

    fn with(most: usize, secret: Secret, below: Option<Arc<Flows>>) -> Flows {
        Flows { secret, buckets: Buckets::new(most), counts: CachePadded::default(), below }
    }

    /// Flows that there is room for.
    pub fn capacity(&self) -> usize {
        self.buckets.len() * buckets::WAYS
    }

    /// Buckets, for [`expire`](Self::expire).
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// A packet of the flow with this key, from this side.
    #[inline]
    pub fn sighting(&self, (key, side): (Key, Side), flags: Flags) -> Sighting {
        Sighting { key, side, flags, hash: self.secret.hash(&key), likely: Likely::Anywhere }
    }

    /// Loads what [`pass`](Self::pass) or [`keep`](Self::keep) will read for each of these, in rounds: of each round the
    /// accesses to memory do not wait for each other.
    #[inline]
    pub fn touch(&self, sightings: &mut [Sighting], now: u64) {
        for sighting in &mut *sightings {
            sighting.likely =
                self.buckets.likely(sighting.hash).map_or(Likely::Anywhere, Likely::At);
        }
        for sighting in &mut *sightings {
            if let Likely::Anywhere = sighting.likely
                && let Some(at) = self.likely_room(sighting.hash, tick(now))
            {
                sighting.likely = Likely::New(at, 0);
            }
        }
        for sighting in sightings {
            if let Likely::At(at) | Likely::New(at, _) = sighting.likely {
                let found = black_box(self.buckets.slot(at).word().version());
                if let Likely::New(_, version) = &mut sighting.likely {
                    *version = found;
                }
            }
        }
    }

    /// The slot that [`room`](Self::room) will most likely find.
    #[inline(never)]
    fn likely_room(&self, hash: u64, now: u32) -> Option<u32> {
        self.buckets.likely_free(hash).or_else(|| self.buckets.least(hash, now))
    }

    /// The flow of a packet, which is seen by that, and goes to the state that the packet leads to.
    ///
    /// `None`: the packet is to be judged, since there is no such flow, or it was silent for too long, or
    /// the packet begins another one between the same ends (a SYN after the connection's end, or from the
    /// end that was called). If it may pass, [`keep`](Self::keep) comes next.
    #[inline]
    pub fn pass(&self, sighting: &Sighting, timeouts: &Timeouts, now: u64) -> Option<Hit> {
        let (at, mut word, judged) = match self.find(sighting) {
            Some(found) => found,
            None => self.copy_from_below(sighting)?,
        };
        let (by, now) = (party(word, sighting.side), tick(now));
        if word.seen() < now || !word.state()?.stays(by, sighting.flags) {
            word = self.advance(at, word, sighting, timeouts, now)?;
        }
        Some(Hit { at, version: word.version(), by, state: word.state()?, judged })
    }

    /// Keeps a flow that begins with this packet, which may pass because of that verdict. Where there is
    /// no room one of the least worth goes; where there is a connection of the same key that has
    /// ended, this one is instead of it. What becomes of flows so is added to these counters, for [`count`](Self::count).
    pub fn keep(
        &self,
        sighting: &Sighting,
        judged: Judged,
        timeouts: &Timeouts,
        now: u64,
        counters: &mut Counters,
    ) -> Kept {
        let Sighting { key, side, flags, .. } = *sighting;
        let Some(state) = State::first(&key, side, flags) else { return Kept::Needless };
        let now = tick(now);
        let entry = Entry { key, began: side, state, seen: now, made: now, judged };
        for _ in 0..TRIES {
            let (at, word, end) = match self.offered(sighting, timeouts, now) {
                Some(room) => room,
                None => match self.find(sighting) {
                    None => match self.room(sighting.hash, timeouts, now) {
                        Some(room) => room,
                        None => continue,
                    },
                    Some((at, word, _)) => match self.end_before(word, sighting, timeouts, now) {
                        Some(end) => (at, word, end),
                        None => return Kept::Known,
                    },
                },
            };
            if self.buckets.put(at, word, &entry, sighting.hash) {
                counters.made += 1;
                counters.ended(end);
                self.settle_twins(sighting, counters);
                return Kept::Made;
            }
        }
        counters.not_kept += 1;
        Kept::Full
    }

    /// Gives a flow the verdict that policies of another generation came to. It may have gone
    /// meanwhile, or got one from another worker.
    pub fn rejudge(&self, hit: &Hit, judged: Judged) {
        self.buckets.slot(hit.at).judge(hit.version, judged);
    }

    /// Frees what is over in these buckets, and tells how many flows are left there. A worker that
    /// goes on by a part of [`buckets`](Self::buckets) with each of its ticks has a bounded bit of
    /// work, and the table is clean once in a round.
    pub fn expire(&self, buckets: Range<usize>, timeouts: &Timeouts, now: u64) -> usize {
        let (now, mut live, mut counters) = (tick(now), 0, Counters::default());
        for at in self.buckets.taken(buckets) {
            let word = self.buckets.slot(at).word();
            let is_over = self.worth(at, word, timeouts, now) == Some(Worth::Over);
            let is_freed = is_over && self.take(at, word, End::Over, &mut counters);
            if let (Some(state), false) = (word.state(), is_freed) {
                self.buckets.set_rank(at, Rank::then(state, word.seen(), now));
                live += 1;
            }
        }
        self.count(counters);
        live
    }

    /// Where the flow is, its word, and its verdict.
    #[inline]
    fn find(&self, sighting: &Sighting) -> Option<(u32, Word, Judged)> {
        let likely = match sighting.likely {
            Likely::At(at) => Some(at),
            Likely::Anywhere | Likely::New(..) => None,
        };
        self.buckets.find(&sighting.key, sighting.hash, likely)
    }

    /// The word of a flow after a packet of it; `None` when the packet is none of it after all.
    #[inline(never)]
    fn advance(
        &self,
        at: u32,
        mut word: Word,
        sighting: &Sighting,
        timeouts: &Timeouts,
        now: u32,
    ) -> Option<Word> {
        let Sighting { key, side, flags, .. } = sighting;
        for _ in 0..TRIES {
            let state = word.state()?;
            let next = state.next(key, party(word, *side), *flags)?;
            if next == state && word.seen() >= now {
                return Some(word);
            }
            if is_over(key, state, word.seen(), timeouts, now) {
                return None;
            }
            let seen = now.max(word.seen());
            let advanced = word.advanced(next, seen);
            match self.buckets.slot(at).exchange(word, advanced) {
                Ok(()) => {
                    self.buckets.set_rank(at, Rank::of(next, seen));
                    return Some(advanced);
                }
                Err(other) if other.version() == word.version() => word = other,
                // It has gone since it was found; the packet came before that.
                Err(_) => break,
            }
        }
        Some(word)
    }

    /// For a sketch that has no such flow: a copy of that below, if there is one.
    #[inline]
    fn copy_from_below(&self, sighting: &Sighting) -> Option<(u32, Word, Judged)> {
        let below = self.below.as_ref()?;
        self.copy_from(below, sighting)
    }

    #[cold]
    fn copy_from(&self, below: &Flows, sighting: &Sighting) -> Option<(u32, Word, Judged)> {
        // Each table has its own slots.
        let sighting = Sighting { likely: Likely::Anywhere, ..*sighting };
        let entry = below.entry(&sighting)?;
        // Nothing is over yet in the beginning of time.
        let (at, word, end) = self.room(sighting.hash, &Timeouts::default(), 0)?;
        if self.buckets.put(at, word, &entry, sighting.hash) {
            let mut counters = Counters { made: 1, ..Counters::default() };
            counters.ended(end);
            self.count(counters);
        }
        self.find(&sighting)
    }

    /// All that is written of a flow, here or below.
    fn entry(&self, sighting: &Sighting) -> Option<Entry> {
        let here = self.find(sighting).and_then(|(at, ..)| self.buckets.slot(at).entry());
        let here = here.filter(|entry| entry.key == sighting.key);
        here.or_else(|| self.below.as_ref()?.entry(sighting))
    }

    /// The slot that [`touch`](Self::touch) found for a new flow, if it has the same flow as then, or none: nobody who came by
    /// the same way has kept the new one meanwhile.
    #[inline]
    fn offered(
        &self,
        sighting: &Sighting,
        timeouts: &Timeouts,
        now: u32,
    ) -> Option<(u32, Word, End)> {
        let Likely::New(at, version) = sighting.likely else { return None };
        self.room_at(at, timeouts, now).filter(|(_, word, _)| word.version() == version)
    }

    /// A slot for a new flow: a free one, or one whose flow is worth the least. Of equals the one that was
    /// silent longest goes, and where that is the same too the hash chooses.
    ///
    /// By the ranks, unless they tell of none but flows that are worth the most. They do not say which
    /// of these are over; [`expire`](Self::expire) frees those in its turn.
    fn room(&self, hash: u64, timeouts: &Timeouts, now: u32) -> Option<(u32, Word, End)> {
        if let Some((at, word)) = self.buckets.free(hash) {
            return Some((at, word, End::None));
        }
        let least = self.buckets.least(hash, now);
        let room = least.and_then(|at| self.room_at(at, timeouts, now));
        room.or_else(|| self.least_of_all(hash, timeouts, now))
    }

    /// A slot that is free, or whose flow is not worth the most.
    fn room_at(&self, at: u32, timeouts: &Timeouts, now: u32) -> Option<(u32, Word, End)> {
        let word = self.buckets.slot(at).word();
        if word.is_free() {
            return Some((at, word, End::None));
        }
        let worth = self.worth(at, word, timeouts, now)?;
        (worth != Worth::Live).then(|| (at, word, worth.into()))
    }

    /// The slot that is to be had by what all of them say.
    #[cold]
    fn least_of_all(&self, hash: u64, timeouts: &Timeouts, now: u32) -> Option<(u32, Word, End)> {
        // First all are read, so that these accesses to memory do not wait for each other.
        let places = self.buckets.places(hash).map(|at| (at, self.buckets.slot(at).word()));
        let (mut least, mut room) = (u64::MAX, None);
        for (at, word) in places {
            let Some(worth) = self.worth(at, word, timeouts, now) else { continue };
            let rank = (worth as u64) << 32 | u64::from(word.seen());
            if rank < least {
                (least, room) = (rank, Some((at, word, worth)));
            }
        }
        room.map(|(at, word, worth)| (at, word, worth.into()))
    }

    /// What the flow of a slot is worth; `None` when it has none, or is held.
    fn worth(&self, at: u32, word: Word, timeouts: &Timeouts, now: u32) -> Option<Worth> {
        let state = word.state().filter(|_| !word.is_held())?;
        let key = self.buckets.slot(at).key_without_addresses();
        let is_over = is_over(&key, state, word.seen(), timeouts, now);
        Some(if is_over { Worth::Over } else { state.worth() })
    }

    /// What ended the flow in a slot before this packet, which is to begin another with the same key;
    /// `None` when nothing has.
    fn end_before(
        &self,
        word: Word,
        Sighting { key, side, flags, .. }: &Sighting,
        timeouts: &Timeouts,
        now: u32,
    ) -> Option<End> {
        let state = word.state()?;
        if is_over(key, state, word.seen(), timeouts, now) {
            return Some(End::Over);
        }
        let is_next = state.next(key, party(word, *side), *flags).is_none();
        // Of a connection that was seen in its midst, and from one end, only a SYN tells who began it.
        let gives_way = state.worth() == Worth::Closing || state == State::Unreplied;
        (is_next && gives_way).then_some(End::Replaced)
    }

    /// Frees a slot, if it has what it had.
    fn take(&self, at: u32, word: Word, end: End, counters: &mut Counters) -> bool {
        let is_taken = self.buckets.take(at, word);
        if is_taken {
            counters.ended(end);
        }
        is_taken
    }

    /// See the second of the [module](self)'s laws.
    fn settle_twins(&self, sighting: &Sighting, counters: &mut Counters) {
        fence(SeqCst);
        if self.buckets.fitting(sighting.hash) < 2 {
            return;
        }
        let mut is_first = true;
        self.buckets.visit(&sighting.key, sighting.hash, |at, word, _| {
            if !std::mem::take(&mut is_first) {
                self.take(at, word, End::Twin, counters);
            }
            None::<()>
        });
    }
}

impl Default for Flows {
    /// As few as there can be.
    fn default() -> Flows {
        Flows::new(0, 0)
    }
}

impl std::fmt::Debug for Flows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flows").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

/// What ends the flow that a slot had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It had none.
    None,
    Over,
    /// A new one needed the room.
    Evicted(Worth),
    /// The next one between the same ends.
    Replaced,
    /// The same flow, kept by another worker.
    Twin,
}

impl From<Worth> for End {
    fn from(worth: Worth) -> End {
        match worth {
            Worth::Over => End::Over,
            _ => End::Evicted(worth),
        }
    }
}

/// Whether a flow that was last seen at tick `seen` has been silent for its time at tick `now`: never
/// too early, and at most two ticks too late.
#[inline]
fn is_over(key: &Key, state: State, seen: u32, timeouts: &Timeouts, now: u32) -> bool {
    let idle = now.saturating_sub(seen).saturating_sub(1);
    idle != 0 && u64::from(idle) << TICK >= u64::from(timeouts.of(key, state)) * 1_000_000_000
}

#[inline]
fn party(word: Word, side: Side) -> Party {
    if word.began() == side { Party::Initiator } else { Party::Responder }
}

/// The tick of a time in nanoseconds.
#[inline]
fn tick(now: u64) -> u32 {
    (now >> TICK) as u32
}
