//! Who may talk to whom: policies, in the words of Kubernetes' NetworkPolicy and of Calico's tiers.
//!
//! What they mean is said where they are judged: [`pipeline::tables::acl`].

mod text;

pub use text::{Labels, Protocol, Selector};

use super::{Bounded, Name, Prefix};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The tier of policies that name none. It is the last one, unless `[[tier]]` says where it is.
pub const DEFAULT_TIER: &str = "default";

/// `[acl]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Acl {
    /// What may be sent to a port that no policy selects for `ingress`.
    pub ingress: DefaultAction,
    /// What a port may send that no policy selects for `egress`.
    pub egress: DefaultAction,
    /// What becomes of flows that are under way when policies change.
    pub established: Established,
    /// Whether pods' policies are asked about what their own node sends them, from its own address. Kubernetes
    /// has it allowed, for the sake of probes.
    pub node_to_pods: NodeToPods,
    /// Flows that are remembered at most, 66 bytes each; memory for all of them is taken as soon as there is a
    /// policy. When there are more, the ones that matter least are forgotten; when this changes, all are.
    pub flows: Bounded<1_024, 67_108_864>,
    /// What may always be sent to the node by its own ports, those without `netns`, whatever policies
    /// say.
    pub failsafe_ingress: Vec<Service>,
    /// What the node may always send by them.
    pub failsafe_egress: Vec<Service>,
    /// How long a flow is remembered of which nothing is heard, in seconds.
    pub timeouts: Timeouts,
}

/// What is done where no policy says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultAction {
    /// It passes.
    Allow,
    /// It is dropped.
    Deny,
}

/// What becomes of flows that are under way when policies change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Established {
    /// They are judged again, and end if they are no longer allowed.
    Strict,
    /// They live on.
    Lenient,
}

/// What the node itself may send to its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeToPods {
    /// Anything.
    Allow,
    /// What policies say.
    Judge,
}

/// `[acl.timeouts]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Timeouts {
    /// TCP that does not stand yet, or of which one end only is heard.
    pub tcp_opening: Bounded<1, 2_592_000>,
    /// TCP that stands.
    pub tcp_established: Bounded<1, 2_592_000>,
    /// TCP after one end's FIN.
    pub tcp_fin_wait: Bounded<1, 2_592_000>,
    /// TCP after the FINs of both.
    pub tcp_time_wait: Bounded<1, 2_592_000>,
    /// TCP after a reset.
    pub tcp_reset: Bounded<1, 2_592_000>,
    /// UDP that was not answered.
    pub udp: Bounded<1, 2_592_000>,
    /// UDP that was.
    pub udp_replied: Bounded<1, 2_592_000>,
    /// Queries of ICMP, such as ping.
    pub icmp: Bounded<1, 2_592_000>,
    /// Any other protocol.
    pub other: Bounded<1, 2_592_000>,
    /// The fragments of a datagram, behind its first one.
    pub fragments: Bounded<1, 2_592_000>,
}

/// `[[tier]]`: policies that are asked together. Tiers are asked in the order of the file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tier {
    /// What policies call it.
    pub name: Name,
    /// What becomes of a packet that policies of the tier select and none of their rules decides.
    #[serde(default)]
    pub end: TierEnd,
}

/// What becomes of a packet at the end of a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TierEnd {
    /// It is dropped.
    #[default]
    Deny,
    /// The next tier is asked.
    Pass,
}

/// `[[set]]`: prefixes under one name.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Set {
    /// What rules call it.
    pub name: Name,
    /// What is in it, of either family.
    pub prefixes: Vec<Prefix>,
}

/// `[[endpoint]]`: who is elsewhere in the cluster, as far as rules speak of its labels. (What is on this
/// node is a `[[port]]`.)
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Endpoint {
    /// Its name, for people.
    pub name: Name,
    /// Its addresses.
    pub addresses: Vec<Prefix>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// `[[policy]]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// Its name, which drops, traces and counters tell.
    pub name: Name,
    /// The tier that it is asked in; `"default"` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Name>,
    /// Of a tier's policies the one with the least number is asked first; of those with the same, and of
    /// those without one, which come last, the one whose name comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Bounded<0, 2_147_483_647>>,
    /// The ports that it selects, by any of these.
    #[schemars(length(min = 1))]
    pub applies_to: Vec<Subject>,
    /// What may be sent to them. With an empty list nothing may; when absent the policy says nothing
    /// about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<Rule>>,
    /// What they may send. With an empty list nothing; when absent the policy says nothing about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<Rule>>,
}

/// Ports that a policy selects: those that are all of what is said.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Subject {
    /// The port of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Name>,
    /// Ports with such labels, as `kubectl get -l` takes them: `"app=web,tier in (a, b),!legacy"`. An empty
    /// text selects all ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Selector>,
    /// Ports that have an address within.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
}

/// What a packet is, and what becomes of it. The first rule that a packet is all of decides.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// What becomes of the packet.
    #[serde(default)]
    pub action: Action,
    /// Whom it is from, any of these; anybody when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Party>,
    /// Whom it is to, any of these; anybody when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Party>,
    /// What it is for, any of these; anything when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Service>,
}

/// What becomes of a packet that a rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It passes, as far as this direction is concerned.
    #[default]
    Allow,
    /// It is dropped.
    Deny,
    /// It is logged, and the next rule asked.
    Log,
    /// The next tier is asked.
    Pass,
}

/// Who is at one end of a packet: who is all of what is said.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Party {
    /// Addresses within this prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
    /// Parts of `prefix` that are not meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Prefix>,
    /// Addresses within the `[[set]]` of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Name>,
    /// The addresses of ports, and of an `[[endpoint]]`, with such labels, as in `applies-to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Selector>,
    /// The addresses of the port of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Name>,
}

/// What a packet is for: a protocol, and of that some ports or one type of ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Service {
    /// The protocol above IP: `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, or its number.
    pub protocol: Protocol,
    /// Of TCP, UDP and SCTP the destination port, or the first of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_port: Option<u16>,
    /// Of ICMP and ICMPv6 the type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<u8>,
    /// And its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
}

impl Acl {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Policy {
    /// The name of its tier.
    pub fn tier(&self) -> &str {
        self.tier.as_ref().map_or(DEFAULT_TIER, Name::as_str)
    }
}

impl Service {
    /// A port of TCP or UDP.
    fn at(protocol: u8, port: u16) -> Service {
        let protocol = Protocol::from(protocol);
        Service { protocol, port: Some(port), end_port: None, kind: None, code: None }
    }
}

impl Default for Acl {
    /// Failsafes as Calico has them, for what a node can't do without: ssh, DHCP, DNS, etcd, BGP, and
    /// Kubernetes' API.
    fn default() -> Self {
        use encap::wire::protocol::{TCP, UDP};
        let services = |list: &[(u8, u16)]| list.iter().map(|s| Service::at(s.0, s.1)).collect();
        let shared = [(TCP, 179), (TCP, 2379), (TCP, 2380), (TCP, 5473), (TCP, 6443)];
        Self {
            ingress: DefaultAction::Allow,
            egress: DefaultAction::Allow,
            established: Established::Strict,
            node_to_pods: NodeToPods::Allow,
            flows: Bounded::of::<262_144>(),
            failsafe_ingress: services(&[&[(TCP, 22), (UDP, 68)], &shared[..]].concat()),
            failsafe_egress: services(&[&[(UDP, 53), (UDP, 67)], &shared[..]].concat()),
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_opening: Bounded::of::<60>(),
            tcp_established: Bounded::of::<86_400>(),
            tcp_fin_wait: Bounded::of::<120>(),
            tcp_time_wait: Bounded::of::<60>(),
            tcp_reset: Bounded::of::<10>(),
            udp: Bounded::of::<30>(),
            udp_replied: Bounded::of::<120>(),
            icmp: Bounded::of::<30>(),
            other: Bounded::of::<600>(),
            fragments: Bounded::of::<30>(),
        }
    }
}
