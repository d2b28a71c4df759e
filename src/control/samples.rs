//! The latest dropped frames, as the daemon tells them.

use super::state::{self, State};
use crate::packet::{tell_frame, tell_packet};
use pipeline::drops::{self, Reason};
use pipeline::frame::Link;
use pipeline::samples::Sample;
use pipeline::snapshot::Snapshot;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `GET /v1/drops/samples`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropSamples {
    /// By time, the latest last. For each reason every worker keeps its latest four.
    pub samples: Vec<DropSample>,
}

/// A frame that was dropped, as it was at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropSample {
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// `stage.name`.
    pub reason: String,
    /// The port that it came in by.
    pub port: String,
    /// The peer whose tunnel it came out of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The innermost packet that was found in it, or the frame when none was, in words.
    pub packet: String,
    /// Bytes that the frame had; 0 when it could not even be received.
    pub len: usize,
    /// The first of them in hex, 128 at most: without headers that were taken off by then, with those
    /// that were put on.
    pub bytes: String,
}

impl State {
    /// `/v1/drops/samples`: of one reason, or of all.
    pub fn drop_samples(&self, of: Option<Reason>) -> DropSamples {
        let snapshot = self.snapshot.load();
        let (now, clock) = (SystemTime::now(), self.now());
        let reasons = drops::all().filter(|reason| of.is_none_or(|of| of == *reason));
        let samples = reasons.flat_map(|reason| {
            let each = self.workers.counters().flat_map(move |counters| counters.samples(reason));
            each.map(move |sample| (reason, sample)).collect::<Vec<_>>()
        });
        let samples = samples.map(|(reason, sample)| {
            let ago = Duration::from_nanos(clock.saturating_sub(sample.at));
            let at = (now - ago).duration_since(UNIX_EPOCH).unwrap_or_default();
            let unix_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
            tell(&snapshot, reason, &sample, unix_ms)
        });
        let mut samples: Vec<_> = samples.collect();
        samples.sort_by_key(|sample| sample.unix_ms);
        DropSamples { samples }
    }
}

/// The innermost packet that was found in a sample, or the frame when none was, in words.
pub(super) fn packet(snapshot: &Snapshot, sample: &Sample) -> String {
    let link = snapshot.ports.get(sample.port.index()).map_or(Link::Ethernet, |port| port.link);
    match sample.packet {
        _ if sample.bytes.is_empty() => "(nothing of it was received)".to_owned(),
        Some(at) => tell_packet(sample.bytes.get(at..).unwrap_or_default()),
        None => tell_frame(&sample.bytes, link),
    }
}

fn tell(snapshot: &Snapshot, reason: Reason, sample: &Sample, unix_ms: u64) -> DropSample {
    let peer = sample.peer.map(|index| match snapshot.peers.get(index.into()) {
        Some(peer) => peer.name.clone(),
        None => format!("#{index}"),
    });
    DropSample {
        unix_ms,
        reason: reason.name(),
        port: state::port_name(snapshot, sample.port),
        peer,
        packet: packet(snapshot, sample),
        len: sample.len,
        bytes: sample.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
