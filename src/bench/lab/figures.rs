//! What `bench lab` tells of one router in one case: a part of the report.

use super::super::arena::{Cores, Underlay};
use super::super::contender::Mode;
use super::super::cpu::Cpu;
use super::super::latency::Latency;
use super::super::rate::Highest;
use super::super::traffic::{Flow, Generator, Side};
use serde::{Deserialize, Serialize};

/// A router, measured with frames of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The contender's name.
    pub contender: String,
    /// What the router said about how it works here.
    pub modes: Vec<String>,
    /// Whether the router's own threads could sleep.
    pub mode: Mode,
    /// What the underlay was.
    pub underlay: Underlay,
    /// Which way frames went.
    pub side: Side,
    /// Bytes of the pod's Ethernet frame, without its check sequence.
    pub size: usize,
    /// UDP source ports.
    pub flows: u32,
    /// Who sent.
    pub generator: Generator,
    /// Who had which core.
    pub cores: Cores,
    /// What is to be known about the figures.
    pub notes: Vec<String>,
    /// When the sender sent as many frames as it could.
    pub overload: Rates,
    /// The highest rate with next to no loss.
    pub highest: Highest,
    /// How long frames were under way, at shares of that rate; none where there is no such rate.
    pub latency: Vec<Latency>,
    /// What a packet took at half of that rate; none where there is no such rate.
    pub cpu: Option<Cpu>,
}

/// Frames a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Sent.
    pub offered: f64,
    /// Arrived as they should.
    pub delivered: f64,
}

/// A router that could not be measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The contender's name.
    pub contender: String,
    /// What went wrong.
    pub why: String,
}

impl From<Flow> for Rates {
    fn from(flow: Flow) -> Rates {
        Rates { offered: flow.offered(), delivered: flow.delivered() }
    }
}
