//! How long frames are under way at a constant rate: an open loop.
//!
//! A frame's time runs from when it should have been sent, whether the sender came to it or not, so that
//! a router that stalls and holds up the sender too does not hide that (what is called coordinated
//! omission). The sink's program reads the clock; user space is not on the way.

use super::Result;
use super::traffic::Traffic;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Shares of the highest rate at which it is measured.
pub const SHARES: [f64; 3] = [0.1, 0.5, 0.9];

/// Times of the frames of a constant rate, in nanoseconds, to 3 %. Those that were lost have none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The share of the highest rate.
    pub share: f64,
    /// Frames a second that were asked for.
    pub rate: f64,
    /// Frames a second that were sent.
    pub offered: f64,
    /// Frames that arrived, and were timed.
    pub frames: u64,
    /// The share of frames that did not arrive, 0 to 1.
    pub loss: f64,
    /// The least.
    pub min: u64,
    /// The median.
    pub p50: u64,
    /// 90 % are at most this.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// The greatest.
    pub max: u64,
}

/// Sends `share` of `highest` frames a second for a time.
///
/// # Errors
/// When the kernel does not send or count, or the user asked to stop.
pub fn measure(traffic: &Traffic, highest: f64, share: f64, time: Duration) -> Result<Latency> {
    let rate = highest * share;
    let before = traffic.sink().times()?;
    let flow = traffic.constant(rate, time)?;
    let times = traffic.sink().times()?.since(&before);
    Ok(Latency {
        share,
        rate,
        offered: flow.offered(),
        frames: times.len(),
        loss: flow.loss().max(0.0),
        min: times.min(),
        p50: times.value_at_quantile(0.5),
        p90: times.value_at_quantile(0.9),
        p99: times.value_at_quantile(0.99),
        p999: times.value_at_quantile(0.999),
        max: times.max(),
    })
}
