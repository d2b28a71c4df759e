//! Trials: what is done to a contender, and which measures come of it.

use crate::bench::arena::Underlay;
use crate::bench::contender::Mode;
use std::collections::BTreeSet;

/// Something that is done to a contender for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Small packets from a pod to the wire, more than can be done.
    Encap,
    /// The same from one plain sender.
    EncapGentle,
    /// Tunnel packets from the wire to a pod, more than can be done.
    Decap,
    /// Small packets from pod to pod, more than can be done.
    Path,
    /// Small packets from a pod to the wire, at a rate that all can do.
    Cpu,
    /// iperf3 from pod to pod.
    Tcp {
        /// Streams at once.
        streams: u32,
        /// What is between the nodes.
        underlay: Underlay,
    },
    /// Round trips from pod to pod.
    RoundTrips {
        /// Whether workers sleep.
        mode: Mode,
    },
}

/// All trials, in the order in which they are done, and the ids of what comes of each.
pub const TRIALS: &[(Trial, &[&str])] = {
    use Trial::{Cpu, Decap, Encap, EncapGentle, Path, RoundTrips, Tcp};
    use Underlay::{Super, Wire};
    &[
        (Encap, &["udp60_encap_pps"]),
        (EncapGentle, &["udp60_encap_gentle_pps"]),
        (Decap, &["udp60_decap_pps"]),
        (Path, &["udp60_path_pps"]),
        (Cpu, &["cpu_ns_per_packet"]),
        (Tcp { streams: 1, underlay: Super }, &["tcp1_super"]),
        (Tcp { streams: 1, underlay: Wire }, &["tcp1_wire"]),
        (Tcp { streams: 4, underlay: Super }, &["tcp4_super"]),
        (Tcp { streams: 4, underlay: Wire }, &["tcp4_wire"]),
        (RoundTrips { mode: Mode::Poll }, &["rr_p50_poll", "rr_p99_poll"]),
        (RoundTrips { mode: Mode::Adaptive }, &["rr_p50_adaptive"]),
    ]
};

/// The trials that give these measures.
pub fn for_measures(ids: &BTreeSet<&str>) -> Vec<(Trial, &'static [&'static str])> {
    TRIALS.iter().filter(|(_, of_it)| of_it.iter().any(|id| ids.contains(id))).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::super::measure::MEASURES;
    use super::*;

    #[test]
    fn each_measure_comes_of_one_trial() {
        let mut of_trials: Vec<&str> = TRIALS.iter().flat_map(|(_, ids)| *ids).copied().collect();
        let mut all: Vec<&str> = MEASURES.iter().map(|measure| measure.id).collect();
        of_trials.sort_unstable();
        all.sort_unstable();
        assert_eq!(of_trials, all);
    }
}
