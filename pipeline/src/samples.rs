//! The latest frames that were dropped, a few for each reason, for whoever asks what they were; and those
//! that rules took note of, for the log.
//!
//! Their worker writes them, over the oldest each time; anyone may read them meanwhile. A slot has a
//! sequence number, odd while it is written: who reads the same even number before and after has read
//! one sample and not parts of two (a seqlock, without a lock on either side).

use crate::drops::Reason;
use crate::frame::{Frame, NO_PEER};
use crate::snapshot::PortId;
use crate::stages::STAGES;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Frames that are kept for each reason.
pub const EACH: usize = 4;
/// Frames that rules took note of, until somebody writes them down.
pub const NOTES: usize = 64;
/// Bytes that are kept of a frame: the headers, and a little of what they carry.
pub const BYTES: usize = 128;

const WORD: usize = size_of::<u64>();
/// `Facts::packet` where none was found.
const NOWHERE: u16 = u16::MAX;
/// Times that a reader tries again when it was disturbed.
const TRIES: usize = 8;

/// A frame at the moment when it was dropped, or noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, by its worker's clock: monotonic, nanoseconds.
    pub at: u64,
    /// The port that it came in by, or, of one that we made, the one that this was made for.
    pub port: PortId,
    /// The peer whose tunnel it came out of, an index into `Snapshot::peers`.
    pub peer: Option<u16>,
    /// Bytes that it had; 0 when it could not even be received.
    pub len: usize,
    /// The first of them: as it came in, without headers that were taken off, with those put on.
    pub bytes: Vec<u8>,
    /// Where in `bytes` the innermost packet starts that was found: an IP header, or ARP. `None` when the
    /// frame was dropped before.
    pub packet: Option<usize>,
}

/// Samples of one worker.
pub(crate) struct Samples {
    /// By stage and by code.
    rings: Vec<Vec<Ring>>,
}

#[derive(Default)]
struct Ring([Slot; EACH]);

#[derive(Default)]
struct Slot {
    /// Twice the number of samples before this one, and 2 when it is whole, 1 while it is written.
    sequence: AtomicU64,
    facts: [AtomicU64; 3],
    bytes: [AtomicU64; BYTES / WORD],
}

impl Default for Samples {
    fn default() -> Self {
        let rings = STAGES.iter().map(|stage| stage.drops.iter().map(|_| Ring::default()));
        Samples { rings: rings.map(Iterator::collect).collect() }
    }
}

impl Samples {
    /// Keeps a frame that is dropped, the `n`th for its reason.
    pub(crate) fn keep(&self, n: u64, reason: Reason, frame: &Frame, at: u64) {
        if let Some(Ring(slots)) = self.ring(reason) {
            slots[n as usize % EACH].keep(n, 0, frame, at);
        }
    }

    /// The same for one that could not even be received by `port`.
    pub(crate) fn keep_none(&self, n: u64, reason: Reason, port: PortId, at: u64) {
        let ids = u64::from(port.0) | u64::from(NO_PEER) << 16 | u64::from(NOWHERE) << 32;
        if let Some(Ring(slots)) = self.ring(reason) {
            slots[n as usize % EACH].write(n, [at, 0, ids], &[]);
        }
    }

    /// What is kept for a reason, the oldest first.
    pub(crate) fn read(&self, reason: Reason) -> Vec<Sample> {
        let slots = self.ring(reason).into_iter().flat_map(|Ring(slots)| slots);
        let mut found: Vec<_> = slots.filter_map(Slot::read).collect();
        found.sort_by_key(|(n, ..)| *n);
        found.into_iter().map(|(_, _, sample)| sample).collect()
    }

    fn ring(&self, reason: Reason) -> Option<&Ring> {
        self.rings.get(reason.stage())?.get(reason.code())
    }
}

/// The latest frames of one worker that rules took note of.
pub(crate) struct Notes([Slot; NOTES]);

impl Default for Notes {
    fn default() -> Self {
        Notes(std::array::from_fn(|_| Slot::default()))
    }
}

impl Notes {
    /// Keeps a frame that this rule took note of, the `n`th.
    pub(crate) fn keep(&self, n: u64, rule: u32, frame: &Frame, at: u64) {
        self.0[n as usize % NOTES].keep(n, rule, frame, at);
    }

    /// What is kept of these, with the rules, the oldest first.
    pub(crate) fn read(&self, which: Range<u64>) -> Vec<(u32, Sample)> {
        let mut found: Vec<_> = self.0.iter().filter_map(Slot::read).collect();
        found.retain(|(n, ..)| which.contains(n));
        found.sort_by_key(|(n, ..)| *n);
        found.into_iter().map(|(_, rule, sample)| (rule, sample)).collect()
    }
}

impl Slot {
    /// Keeps a frame, the `n`th, and a number.
    fn keep(&self, n: u64, number: u32, frame: &Frame, at: u64) {
        let meta = &frame.meta;
        let packet = match meta.l3 {
            0 => NOWHERE,
            l3 => l3.wrapping_sub(frame.offset() as u16),
        };
        let ids = u64::from(meta.in_port.0) | u64::from(meta.peer) << 16 | u64::from(packet) << 32;
        let len = frame.len() as u64 | u64::from(number) << 32;
        self.write(n, [at, len, ids], frame.head());
    }

    fn write(&self, n: u64, [at, len, ids]: [u64; 3], bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(BYTES)];
        // As many words each time: that costs less than to count them.
        let mut room = [0; BYTES];
        room[..bytes.len()].copy_from_slice(bytes);
        self.sequence.store(2 * n + 1, Ordering::Relaxed);
        // Whoever sees one of the words below sees the odd number.
        fence(Ordering::Release);
        let kept = (bytes.len() as u64) << 48;
        for (word, value) in self.facts.iter().zip([at, len, ids | kept]) {
            word.store(value, Ordering::Relaxed);
        }
        for (word, value) in self.bytes.iter().zip(room.as_chunks().0) {
            word.store(u64::from_ne_bytes(*value), Ordering::Relaxed);
        }
        self.sequence.store(2 * n + 2, Ordering::Release);
    }

    /// The frame, which one it is, and the number that was kept with it; `None` of a slot that was never
    /// written, or is written all the time.
    fn read(&self) -> Option<(u64, u32, Sample)> {
        (0..TRIES).find_map(|_| self.try_read())
    }

    fn try_read(&self) -> Option<(u64, u32, Sample)> {
        let before = self.sequence.load(Ordering::Acquire);
        let [at, len, ids] = self.facts.each_ref().map(|word| word.load(Ordering::Relaxed));
        let bytes = self.bytes.each_ref().map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        fence(Ordering::Acquire);
        let after = self.sequence.load(Ordering::Relaxed);
        if before == 0 || before % 2 == 1 || before != after {
            return None;
        }
        let [port, peer, packet, kept] = [0, 16, 32, 48].map(|shift| (ids >> shift) as u16);
        let bytes = bytes.as_flattened().iter().copied().take(kept.into()).collect();
        let sample = Sample {
            at,
            port: PortId(port),
            peer: (peer != NO_PEER).then_some(peer),
            len: len as u32 as usize,
            bytes,
            packet: (packet < kept).then_some(packet.into()),
        };
        Some((after / 2 - 1, (len >> 32) as u32, sample))
    }
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Samples").finish_non_exhaustive()
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notes").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
