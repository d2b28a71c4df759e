//! How often ICMP errors are sent (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f): a token bucket for each port, so
//! that one pod's noise does not silence the answers to another.

use crate::snapshot::PortId;

/// Errors a second for each port, and each worker that it has frames from.
const RATE: u64 = 100;
/// Errors at once for each port.
const BURST: u64 = 50;

const SECOND: u64 = 1_000_000_000;
const COST: u64 = SECOND / RATE;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// When the bucket will be full again, nanoseconds; never more than BURST tokens ahead of now.
    full_at: u64,
}

/// The buckets of all ports.
#[derive(Debug, Default)]
pub(super) struct Limits {
    buckets: Vec<Bucket>,
}

impl Limits {
    /// Whether an error may be sent on account of what `port` received, at `now` in nanoseconds.
    pub(super) fn allow(&mut self, port: PortId, now: u64) -> bool {
        if self.buckets.len() <= port.index() {
            self.buckets.resize(port.index() + 1, Bucket::default());
        }
        let bucket = &mut self.buckets[port.index()];
        let full_at = bucket.full_at.max(now) + COST;
        let fits = full_at - now <= BURST * COST;
        if fits {
            bucket.full_at = full_at;
        }
        fits
    }
}
