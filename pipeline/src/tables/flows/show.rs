//! What people see of the flows: a list, and numbers.

use super::key::Kind;
use super::slot::{Entry, Slot};
use super::state::Worth;
use super::{End, Flags, Flows, Judged, Key, Side, State, TICK, Timeouts, is_over, tick};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use std::net::IpAddr;

/// A flow, as its initiator sees it. Times in seconds, exact to half a one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The initiator.
    pub source: IpAddr,
    /// The responder.
    pub destination: IpAddr,
    /// The protocol.
    pub protocol: u8,
    /// What else tells it from others.
    pub numbers: Numbers,
    /// How far it has come.
    pub state: State,
    /// Since it was made.
    pub age: u32,
    /// Since it was last seen.
    pub idle: u32,
    /// Until it is over, if nothing comes.
    pub left: u32,
    /// What policies said of it.
    pub judged: Judged,
}

/// What tells a flow from others between the same addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Ports, both 0 for a protocol without.
    Ports {
        /// The initiator's.
        source: u16,
        /// The responder's.
        destination: u16,
    },
    /// An ICMP query and its replies.
    Query {
        /// The query's type.
        icmp_type: u8,
        /// What query and reply have in common.
        identifier: u16,
    },
    /// One datagram, in fragments.
    Datagram {
        /// What they have in common.
        identification: u32,
    },
}

/// Numbers since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Flows that were kept.
    pub made: u64,
    /// That were silent for too long.
    pub expired: u64,
    /// That gave way to another when half-open.
    pub evicted_half_open: u64,
    /// That gave way to another when they had ended.
    pub evicted_closing: u64,
    /// That gave way to another, although alive.
    pub evicted_live: u64,
    /// Connections that ended and whose ends began another.
    pub replaced: u64,
    /// That two workers made at once, and one of them took back.
    pub twins: u64,
    /// That were not kept, since other workers were faster.
    pub not_kept: u64,
}

impl Counters {
    /// Flows that there are.
    pub fn live(&self) -> u64 {
        let evicted = self.evicted_half_open + self.evicted_closing + self.evicted_live;
        let ended = evicted + self.expired + self.replaced + self.twins;
        // They are not read all at once.
        self.made.saturating_sub(ended)
    }
}

/// The same as the table has them, which all workers add to.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; 8]);

impl Counters {
    pub(super) fn ended(&mut self, end: End) {
        let count = match end {
            End::None => return,
            End::Over | End::Evicted(Worth::Over) => &mut self.expired,
            End::Evicted(Worth::HalfOpen) => &mut self.evicted_half_open,
            End::Evicted(Worth::Closing) => &mut self.evicted_closing,
            End::Evicted(Worth::Live) => &mut self.evicted_live,
            End::Replaced => &mut self.replaced,
            End::Twin => &mut self.twins,
        };
        *count += 1;
    }

    fn each(&mut self) -> [&mut u64; 8] {
        let Counters {
            made,
            expired,
            evicted_half_open,
            evicted_closing,
            evicted_live,
            replaced,
            twins,
            not_kept,
        } = self;
        [made, expired, evicted_half_open, evicted_closing, evicted_live, replaced, twins, not_kept]
    }
}

impl Flows {
    /// What happened so far.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        for (number, count) in counters.each().into_iter().zip(&self.counts.0) {
            *number = count.load(Relaxed);
        }
        counters
    }

    /// Adds what one worker has counted to it.
    pub fn count(&self, mut counters: Counters) {
        for (number, count) in counters.each().into_iter().zip(&self.counts.0) {
            if *number != 0 {
                count.fetch_add(*number, Relaxed);
            }
        }
    }

    /// The flow with this key, if it is not over; it is not seen by that. For what a packet tells of
    /// another one, such as an ICMP error, and for people.
    pub fn peek(&self, key: &Key, timeouts: &Timeouts, now: u64) -> Option<Flow> {
        let sighting = self.sighting((*key, Side::First), Flags::default());
        Flow::of(&self.entry(&sighting)?, timeouts, tick(now))
    }

    /// All flows that are not over, each as it is when its turn comes.
    pub fn iter(&self, timeouts: &Timeouts, now: u64) -> impl Iterator<Item = Flow> {
        let (timeouts, now) = (*timeouts, tick(now));
        let entries = self.buckets.slots().filter_map(Slot::entry);
        entries.filter_map(move |entry| Flow::of(&entry, &timeouts, now))
    }
}

impl Flow {
    /// `None` when it is over at tick `now`.
    fn of(entry: &Entry, timeouts: &Timeouts, now: u32) -> Option<Flow> {
        if is_over(&entry.key, entry.state, entry.seen, timeouts, now) {
            return None;
        }
        let since = |tick: u32| (u64::from(now.saturating_sub(tick)) << TICK) / 1_000_000_000;
        let idle = since(entry.seen) as u32;
        let ((first, second), numbers) = (entry.key.addresses(), entry.key.numbers());
        let (high, low) = ((numbers >> 16) as u16, numbers as u16);
        let is_first = entry.began == Side::First;
        let (source, destination) = if is_first { (first, second) } else { (second, first) };
        Some(Flow {
            source,
            destination,
            protocol: entry.key.protocol(),
            numbers: match entry.key.kind() {
                Kind::Ports if is_first => Numbers::Ports { source: high, destination: low },
                Kind::Ports => Numbers::Ports { source: low, destination: high },
                Kind::Query(_) => Numbers::Query { icmp_type: high as u8, identifier: low },
                Kind::Datagram(_) => Numbers::Datagram { identification: numbers },
            },
            state: entry.state,
            age: since(entry.made) as u32,
            idle,
            left: timeouts.of(&entry.key, entry.state).saturating_sub(idle),
            judged: entry.judged,
        })
    }
}
