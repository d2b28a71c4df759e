//! What a trace is asked for and what it tells: the JSON of `POST /v1/trace`. Stable as all reports are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A packet to be traced: one of `packet`, `ip` and `frame`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "TraceInput")]
pub struct Input {
    /// The port that it comes in by; with `peer` it may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The peer that it comes from: the packet is put into the peer's tunnel to us.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// In words: `tcp 10.244.1.2:40000 > 10.244.2.2:80 syn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// An IP packet's bytes in hex; it gets the Ethernet header that the port expects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// A frame's bytes in hex, as the port receives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Trace")]
pub struct Report {
    /// The port that it comes in by.
    pub port: String,
    /// The generation of the tables that were asked.
    pub generation: u64,
    /// The packet first; then the frames that were made on its way, in the order in which they were.
    pub frames: Vec<Frame>,
}

/// A frame on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TracedFrame")]
pub struct Frame {
    /// The stage that made it; absent of the one that came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// What it is to begin with, in words.
    pub packet: String,
    /// Its bytes to begin with, in hex.
    pub bytes: String,
    /// The stages that looked at it, in their order.
    pub steps: Vec<Step>,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// What a stage did with a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TraceStep")]
pub struct Step {
    /// Its name.
    pub stage: String,
    /// What it looked up, in words; absent when there was nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_up: Option<String>,
    /// What it found or did, in words; absent when it found nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The frame's bytes behind it, in hex; empty when it was cut, or waits.
    pub bytes: String,
}

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
#[schemars(rename = "TraceOutcome")]
pub enum Outcome {
    /// It leaves by this port.
    Sent {
        /// The port's name.
        port: String,
        /// What it is then, in words.
        packet: String,
    },
    /// It ends.
    Dropped {
        /// `stage.name`, as the counter is called.
        reason: String,
        /// What happened, for people.
        text: String,
    },
    /// It waits until a station has said its MAC, up to three seconds.
    Held,
    /// It was cut into frames of their own, which follow.
    Cut,
}
