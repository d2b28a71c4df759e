//! What policies want logged: packets that a rule with `log` matched.
//!
//! Workers keep the latest ones where they can be read ([`Counters::notes`]); here they are written down, every now and then
//! and not more than a few at once, so that no flood of packets becomes one of lines. Each rule counts
//! all of its packets: `show acl`.
//!
//! [`Counters::notes`]: pipeline::drops::Counters::notes

use super::samples::packet;
use super::state::{State, port_name};
use pipeline::samples::Sample;
use pipeline::snapshot::Snapshot;
use std::convert::Infallible;
use std::time::Duration;

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Lines that are written after each.
const LINES: usize = 20;

/// Writes down what workers take note of, for ever.
pub(super) async fn write_down(state: &State) -> Infallible {
    let mut written: Vec<u64> = state.workers.counters().map(|_| 0).collect();
    loop {
        tokio::time::sleep(PAUSE).await;
        let (mut found, mut count) = (Vec::new(), 0);
        for (counters, written) in state.workers.counters().zip(&mut written) {
            let noted = counters.noted.get();
            if noted != *written {
                count += noted - *written;
                found.extend(counters.notes(*written..noted));
                *written = noted;
            }
        }
        found.sort_by_key(|(_, sample)| sample.at);
        let snapshot = state.snapshot.load();
        let first = found.len().saturating_sub(LINES);
        for (rule, sample) in &found[first..] {
            tracing::info!("{}", line(&snapshot, *rule, sample));
        }
        let more = count.saturating_sub((found.len() - first) as u64);
        if more > 0 {
            tracing::info!("policies want {more} more packets logged, which are counted only");
        }
    }
}

fn line(snapshot: &Snapshot, rule: u32, sample: &Sample) -> String {
    let rules = snapshot.guard.acl().rules();
    let rule = rules.get(rule as usize).map_or_else(|| "a rule".to_owned(), ToString::to_string);
    let peer = sample.peer.and_then(|peer| snapshot.peers.get(peer.into()));
    let from = match peer {
        Some(peer) => format!("from peer {}", peer.name),
        None => format!("by port {}", port_name(snapshot, sample.port)),
    };
    format!("{rule}: {} {from}", packet(snapshot, sample))
}
