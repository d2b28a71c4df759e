//! What `bench lab` tells of one router in one case: a part of the report.

use super::super::arena::{Cores, Underlay};
use super::super::contender::Mode;
use super::super::traffic::{Flow, Side};
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
    /// Who had which core.
    pub cores: Cores,
    /// What is to be known about the figures.
    pub notes: Vec<String>,
    /// As many frames as the sender can make.
    pub overload: Option<Rates>,
}

/// Frames a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Sent.
    pub offered: f64,
    /// Arrived as they should.
    pub delivered: f64,
}

impl From<Flow> for Rates {
    fn from(flow: Flow) -> Rates {
        Rates { offered: flow.offered(), delivered: flow.delivered() }
    }
}
