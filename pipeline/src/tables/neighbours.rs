//! Link-layer addresses of stations on Ethernet ports and of next hops on the underlay.
//!
//! An entry is made with the configuration that mentions it and then shared by all workers and all
//! generations of the snapshot; what changes in it is atomic. Underlay entries are set by the control
//! side from the kernel's own table; pods' entries are learned from ARP and ND and age here.

use crate::snapshot::PortId;
use encap::wire::Mac;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// After this long without a word from a station it is asked whether it is still there, nanoseconds.
/// (RFC 4861 §10 REACHABLE_TIME.)
pub const REACHABLE: u64 = 30_000_000_000;

/// A station that stays silent this long after it was first asked so is forgotten, nanoseconds.
/// (RFC 4861 §10: MAX_UNICAST_SOLICIT times RETRANS_TIMER.)
pub const PROBE: u64 = 3_000_000_000;

/// Least time between two requests for one station, nanoseconds. (RFC 4861 §10 RETRANS_TIMER.)
pub const RETRANSMIT: u64 = 1_000_000_000;

/// Bit of the state word that says that a MAC is known.
const KNOWN: u64 = 1 << 48;
/// Bit that says that it does not age: the kernel or the config vouches for it.
const PERMANENT: u64 = 1 << 49;

/// A station and what is known of its MAC. Times are nanoseconds of the workers' clock.
#[derive(Debug)]
pub struct Neighbour {
    /// The port it is on.
    pub port: PortId,
    /// Its address.
    pub address: IpAddr,
    state: AtomicU64,
    confirmed: AtomicU64,
    asked: AtomicU64,
    /// When the first of the probes was sent that are not answered yet; of no meaning when that was
    /// before `confirmed`.
    probed: AtomicU64,
}

/// A copy knows what is known now, and learns on its own.
impl Clone for Neighbour {
    fn clone(&self) -> Neighbour {
        let copy = |word: &AtomicU64| AtomicU64::new(word.load(Relaxed));
        Neighbour {
            port: self.port,
            address: self.address,
            state: copy(&self.state),
            confirmed: copy(&self.confirmed),
            asked: copy(&self.asked),
            probed: copy(&self.probed),
        }
    }
}

/// What to do about a station, by [`Neighbour::resolve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Send to this MAC.
    Known(Mac),
    /// Send to this MAC, and ask whether it is still right.
    Probe(Mac),
    /// Not known. `ask` when it is time for another request.
    Unknown {
        /// Whether to send a request now.
        ask: bool,
    },
}

/// The state of an entry as people know it from `ip neighbour`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Never heard of, or forgotten.
    Incomplete,
    /// Heard of lately.
    Reachable,
    /// Silent for long; used until probes fail.
    Stale,
    /// Does not age.
    Permanent,
}

impl Neighbour {
    /// An entry of which nothing is known.
    pub fn new(port: PortId, address: IpAddr) -> Neighbour {
        Neighbour {
            port,
            address,
            state: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            probed: AtomicU64::new(0),
        }
    }

    /// The station itself said at `now` that it has `mac`. Does nothing to a permanent entry.
    pub fn learn(&self, mac: Mac, now: u64) {
        if self.state.load(Relaxed) & PERMANENT == 0 {
            self.confirmed.store(now, Relaxed);
            self.state.store(mac.to_bits() | KNOWN, Relaxed);
        }
    }

    /// The kernel or the config says that it has `mac`; it does not age.
    pub fn set_permanent(&self, mac: Mac) {
        self.state.store(mac.to_bits() | KNOWN | PERMANENT, Relaxed);
    }

    /// Forgets the MAC, whoever set it.
    pub fn clear(&self) {
        self.state.store(0, Relaxed);
    }

    /// The MAC, when there is nothing to ask at `now`: as [`resolve`](Self::resolve) without its
    /// effects.
    #[inline]
    pub fn peek(&self, now: u64) -> Option<Mac> {
        self.sure(self.state.load(Relaxed), now)
    }

    #[inline]
    fn sure(&self, state: u64, now: u64) -> Option<Mac> {
        let fresh = || now.saturating_sub(self.confirmed.load(Relaxed)) < REACHABLE;
        let known = state & PERMANENT != 0 || (state & KNOWN != 0 && fresh());
        known.then(|| Mac::from_bits(state))
    }

    /// What to do with a packet for this station at `now`. At most one caller in [`RETRANSMIT`] is told
    /// to ask.
    #[inline]
    pub fn resolve(&self, now: u64) -> Resolution {
        let state = self.state.load(Relaxed);
        if let Some(mac) = self.sure(state, now) {
            return Resolution::Known(mac);
        }
        let ask = self.is_due(now);
        if state & KNOWN == 0 {
            return Resolution::Unknown { ask };
        }
        // A station nobody sent to for minutes gets its three probes too: time counts from the first.
        let probed = self.probed.load(Relaxed);
        let is_probed = probed > self.confirmed.load(Relaxed);
        if is_probed && now.saturating_sub(probed) >= PROBE {
            self.state.store(0, Relaxed);
            return Resolution::Unknown { ask };
        }
        if !ask {
            return Resolution::Known(Mac::from_bits(state));
        }
        if !is_probed {
            self.probed.store(now, Relaxed);
        }
        Resolution::Probe(Mac::from_bits(state))
    }

    fn is_due(&self, now: u64) -> bool {
        let asked = self.asked.load(Relaxed);
        let due = asked == 0 || now.saturating_sub(asked) >= RETRANSMIT;
        due && self.asked.compare_exchange(asked, now.max(1), Relaxed, Relaxed).is_ok()
    }

    /// MAC, if known, and state at `now`.
    pub fn state(&self, now: u64) -> (Option<Mac>, NeighbourState) {
        let state = self.state.load(Relaxed);
        if state & KNOWN == 0 {
            return (None, NeighbourState::Incomplete);
        }
        let fresh = now.saturating_sub(self.confirmed.load(Relaxed)) < REACHABLE;
        let name = match (state & PERMANENT != 0, fresh) {
            (true, _) => NeighbourState::Permanent,
            (false, true) => NeighbourState::Reachable,
            (false, false) => NeighbourState::Stale,
        };
        (Some(Mac::from_bits(state)), name)
    }
}
