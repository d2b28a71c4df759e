//! What was measured of a case, as `--json` has it.

use super::case::Case;
use super::measure::Measured;
use super::traffic::Traffic;
use crate::bench::stats::Spread;
use pipeline::stages::STAGES;
use serde::{Deserialize, Serialize};

/// Slices of the time of a measurement; what is told is the median of the slices' medians, with the
/// interval that they give.
const SLICES: usize = 20;

/// One case and its outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The case's name: `action/tunnel/routes/flows/size`.
    pub id: String,
    /// `encap`, `decap`, `path` (both, on one core) or `route` (from pod to pod on the node).
    pub action: String,
    /// The tunnel's name; `null` where there is none.
    pub tunnel: Option<String>,
    /// Routes, besides the node's own.
    pub routes: usize,
    /// Flows.
    pub flows: usize,
    /// How often each flow has a packet: `uniform` or `zipf` (s = 1).
    pub mix: String,
    /// `64B`, `IMIX`, `MTU` or `super-frame`.
    pub size: String,
    /// Packets that one received frame stands for: more than one of a super-frame.
    pub packets_per_frame: usize,
    /// Mean length of received frames, in bytes, link-layer header included.
    pub bytes_per_frame: f64,
    /// Nanoseconds of one core for a packet.
    pub ns_per_packet: Spread,
    /// The same in the fastest round.
    pub least_ns_per_packet: f64,
    /// Packets in a microsecond, of all cores together.
    pub mpps: f64,
    /// What they are in bytes as received: gigabits in a second, of all cores together.
    pub gbit_per_second: f64,
    /// Calls of the allocator for a packet.
    pub allocations_per_packet: f64,
    /// Each core.
    pub cores: Vec<Core>,
    /// Where the time goes, in the order of the list.
    pub stages: Vec<Stage>,
}

/// What one core measured, while the others did the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Core {
    /// Its number.
    pub core: usize,
    /// Nanoseconds for a packet.
    pub ns_per_packet: Spread,
    /// Packets in a microsecond.
    pub mpps: f64,
    /// Rounds that were measured.
    pub rounds: usize,
    /// Packets in all of them.
    pub packets: u64,
}

/// A stage's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The stage; `settle` hands frames to the ports' queues, `port` sends them and frees their memory.
    pub name: String,
    /// Its share of the time, 0 to 1; all of them are 1 together.
    pub share: f64,
    /// Its share of the median of `ns_per_packet`.
    pub ns_per_packet: f64,
}

impl Figure {
    /// Of what each core measured.
    ///
    /// # Panics
    /// When a core measured nothing.
    pub fn new(case: &Case, traffic: &Traffic, measured: &[(usize, Measured)]) -> Figure {
        let cores: Vec<_> =
            measured.iter().map(|(core, measured)| Core::new(*core, measured)).collect();
        let medians = measured.iter().flat_map(|(_, measured)| slices(&measured.rounds));
        let medians: Vec<_> = medians.collect();
        let ns_per_packet = Spread::of(&medians).expect("there is a round");
        let rounds = measured.iter().flat_map(|(_, measured)| &measured.rounds);
        let mpps = cores.iter().map(|core| core.mpps).sum();
        let (packets_per_frame, bytes_per_frame) =
            (traffic.packets_per_frame(), traffic.mean_len());
        let packets: u64 = cores.iter().map(|core| core.packets).sum();
        let allocations: u64 = measured.iter().map(|(_, measured)| measured.allocations).sum();
        Figure {
            id: case.to_string(),
            action: case.action.name().to_owned(),
            tunnel: case.tunnel.clone(),
            routes: case.routes,
            flows: case.flows,
            mix: case.mix.name().to_owned(),
            size: case.size.name().to_owned(),
            packets_per_frame,
            bytes_per_frame,
            ns_per_packet,
            least_ns_per_packet: rounds.copied().fold(f64::INFINITY, f64::min),
            mpps,
            gbit_per_second: mpps * bytes_per_frame / packets_per_frame as f64 * 8.0 / 1e3,
            allocations_per_packet: allocations as f64 / packets as f64,
            cores,
            stages: stages(measured, ns_per_packet.median),
        }
    }
}

impl Core {
    fn new(core: usize, measured: &Measured) -> Core {
        let Measured { rounds, packets, .. } = measured;
        let ns_per_packet = Spread::of(&slices(rounds)).expect("there is a round");
        let mpps = 1e3 / ns_per_packet.median;
        Core { core, ns_per_packet, mpps, rounds: rounds.len(), packets: *packets }
    }
}

/// The medians of slices of rounds that follow each other.
fn slices(rounds: &[f64]) -> Vec<f64> {
    let slices = rounds.chunks(rounds.len().div_ceil(SLICES).max(1));
    slices.filter_map(|slice| Some(Spread::of(slice)?.median)).collect()
}

/// The stages' shares: of each the median of all rounds, so that what interrupts one of them has no
/// part in it.
fn stages(measured: &[(usize, Measured)], whole: f64) -> Vec<Stage> {
    let rounds = || measured.iter().flat_map(|(_, measured)| &measured.stages);
    let medians = (0..STAGES.len()).map(|stage| {
        let times: Vec<_> = rounds().map(|round| round[stage]).collect();
        Spread::of(&times).map_or(0.0, |spread| spread.median)
    });
    let medians: Vec<_> = medians.collect();
    let sum: f64 = medians.iter().sum();
    let shares = STAGES.iter().zip(&medians).filter(|(_, median)| **median > 0.0);
    let stage = |(stage, median): (&pipeline::stages::StageInfo, &f64)| {
        let share = median / sum;
        Stage { name: stage.name.to_owned(), share, ns_per_packet: share * whole }
    };
    shares.map(stage).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::case::{Action, Mix, Size};
    use super::*;

    #[test]
    fn a_slow_while_widens_the_interval_and_leaves_the_median() {
        let rounds: Vec<_> = (0..2_000).map(|i| if i < 700 { 80.0 } else { 40.0 }).collect();
        let slices = slices(&rounds);
        assert_eq!(slices.len(), SLICES);
        let spread = Spread::of(&slices).unwrap();
        assert_eq!((spread.median, spread.low, spread.high), (40.0, 40.0, 80.0));
    }

    #[test]
    fn cores_add_up_and_shares_are_one() {
        let measured = |ns: f64| Measured {
            rounds: vec![ns; 40],
            packets: 4_000,
            allocations: 1_000,
            stages: vec![(0..STAGES.len()).map(|stage| stage as f64).collect(); 3],
        };
        let case = Case {
            action: Action::Encap,
            tunnel: None,
            routes: 1,
            flows: 1,
            mix: Mix::Uniform,
            size: Size::Small,
        };
        let mut traffic = Traffic::default().cut(1);
        traffic.add(&[1; 60], 60);
        let figure = Figure::new(&case, &traffic, &[(0, measured(50.0)), (1, measured(100.0))]);
        assert_eq!((figure.mpps, figure.least_ns_per_packet), (30.0, 50.0));
        assert_eq!(figure.allocations_per_packet, 0.25);
        assert_eq!(figure.ns_per_packet.median, 75.0);
        let shares: f64 = figure.stages.iter().map(|stage| stage.share).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
        let parts: f64 = figure.stages.iter().map(|stage| stage.ns_per_packet).sum();
        assert!((parts - 75.0).abs() < 1e-9, "{parts}");
    }
}
