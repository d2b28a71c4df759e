//! Policies and flows, as they are told.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// `GET /v1/show/acl`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acl {
    /// Counts the policies that were in force, each unlike the one before.
    pub generation: u32,
    /// What decides, in the order in which it is asked.
    pub acl: Vec<AclRule>,
    /// Ports at which something is enforced.
    pub ports: Vec<AclPort>,
}

/// A rule, or what decides where none does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AclRule {
    /// `ingress` or `egress`.
    pub direction: String,
    /// `failsafe`, `rule`, `tier-end` or `default`.
    pub kind: String,
    /// The tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// The policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Which of the policy's rules for this direction, from 1 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<usize>,
    /// `allow`, `deny`, `log` or `pass`.
    pub action: String,
    /// What it is about, for people.
    pub text: String,
    /// Packets that it decided about, or matched on their way to another one. Packets of flows that were
    /// allowed before do not come here.
    pub hits: u64,
    /// Seconds since the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_hit: Option<u64>,
}

/// A port at which something is enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AclPort {
    /// Its name.
    pub port: String,
    /// Policies that select it for ingress, in the order in which they are asked; absent where all is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<String>>,
    /// The same for egress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<String>>,
}

/// `GET /v1/show/flows`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flows {
    /// Flows that were asked for.
    pub flows: Vec<Flow>,
    /// How many there would have been without the limit.
    pub matched: usize,
    /// The table.
    pub table: FlowTable,
}

/// A flow, as its initiator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// Name or number.
    pub protocol: String,
    /// The initiator's address.
    pub source: IpAddr,
    /// Its port; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// The responder's address.
    pub destination: IpAddr,
    /// Its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Of an ICMP query its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// Of an ICMP query its identifier, of a datagram in fragments the identification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<u32>,
    /// `unreplied`, `replied`; of TCP `syn-sent`, `syn-received`, `established`, `fin-wait`, `close-wait`, `time-wait`,
    /// `aborted` or `refused` (the initiator or the responder reset it); `denied` where policies have ended it.
    pub state: String,
    /// Seconds since it began.
    pub age: u32,
    /// Seconds since its last packet.
    pub idle: u32,
    /// Seconds until it is forgotten.
    pub left: u32,
    /// What let it out of the port that it began at; absent where nothing was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<String>,
    /// What let it into the port that it went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<String>,
    /// Whether that are the policies in force; others are asked anew with its next packet, unless `established` is
    /// `"lenient"`.
    pub is_current: bool,
}

/// The table of flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowTable {
    /// Flows that there is room for.
    pub capacity: usize,
    /// Flows that there are.
    pub live: u64,
    /// Flows that began.
    pub made: u64,
    /// That were silent for too long.
    pub expired: u64,
    /// That gave way to others before both ends had spoken.
    pub evicted_half_open: u64,
    /// That gave way to others after their end.
    pub evicted_closing: u64,
    /// That gave way to others although alive.
    pub evicted_live: u64,
    /// Connections that ended, and of which the ends began another.
    pub replaced: u64,
    /// That two workers noted at once; one of them took it back.
    pub twins: u64,
    /// That were not noted, as other workers were faster at every place.
    pub not_kept: u64,
}

/// Which flows are asked for: those that are all of what is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct FlowFilter {
    /// Of flows: those of this protocol
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Of flows: those with an end in this prefix
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpNet>,
    /// Of flows: those with this port at an end
    #[arg(long, value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Of flows: those in this state
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Of flows: those that this policy let pass
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Of flows: so many at most
    #[arg(long, value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

fn prefix(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<crate::config::Prefix>().map_err(|error| error.to_string())?;
    Ok(net.net())
}
