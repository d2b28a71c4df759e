//! What a stage looked up for a frame and what it found, in words: told from the frame before and behind
//! it, and from the tables that it asked.

use super::Tables;
use super::follow::Look;
use crate::control::state::{port_name, state_name};
use encap::Steer;
use encap::wire::{ipv4, ipv6, protocol, udp};
use pipeline::frame::{Frame, Link, NO_PEER, Packet, Verdict};
use pipeline::snapshot::{Hop, NextHop, PortId, PortInfo, Role, Snapshot, TunnelInfo};
use pipeline::stages::StageId;
use pipeline::stages::acl::{Finding, explain, judge};
use pipeline::stages::route::{PEER_SOURCE, SOURCE};
use pipeline::tables::acl::RuleId;
use pipeline::tables::neighbours::NeighbourState;
use std::net::IpAddr;

/// A step in words; none where a stage had nothing to do.
#[derive(Default)]
pub(super) struct Words {
    pub(super) looked_up: Option<String>,
    pub(super) found: Option<String>,
}

impl Words {
    fn new(looked_up: impl Into<String>, found: Option<String>) -> Words {
        Words { looked_up: Some(looked_up.into()), found }
    }
}

/// What a stage did; `now` is `None` when the frame was taken out of the batch.
pub(super) fn step(
    stage: StageId,
    before: &Look,
    now: Option<&Look>,
    tables: &Tables<'_>,
) -> Words {
    match (stage, now) {
        (StageId::Parse, Some(now)) => parse(before, now, tables),
        (StageId::Decap, Some(now)) => decap(before, now, tables),
        (StageId::Resolve, Some(now)) => resolve(before, now),
        (StageId::Route, Some(now)) => route(before, now, tables),
        (StageId::Ttl, _) => ttl(before, now, tables),
        (StageId::Tunnel, Some(now)) => tunnel(before, now, tables),
        (StageId::Neighbour, _) => neighbour(before, tables),
        (StageId::Finish, _) => finish(before, now, tables),
        _ => Words::default(),
    }
}

fn port<'a>(look: &Look, snapshot: &'a Snapshot) -> Option<&'a PortInfo> {
    snapshot.ports.get(look.meta.in_port.index())
}

/// The packet's source and destination.
fn ends(look: &Look) -> Option<(IpAddr, IpAddr)> {
    let packet = look.bytes.get(look.packet?..)?;
    match look.meta.packet.family()? {
        encap::Family::V4 => {
            let (src, dst) = ipv4::addresses(packet.first_chunk::<{ ipv4::LEN }>()?);
            Some((src.into(), dst.into()))
        }
        encap::Family::V6 => {
            let (src, dst) = ipv6::addresses(packet.first_chunk::<{ ipv6::LEN }>()?);
            Some((src.into(), dst.into()))
        }
    }
}

fn parse(before: &Look, now: &Look, tables: &Tables<'_>) -> Words {
    let Some(port) = port(before, tables.snapshot) else {
        return Words::new("the port it came by", None);
    };
    let link = match port.link {
        Link::Ethernet => format!("Ethernet, for {}", port.mac),
        Link::Ip => "IP".to_owned(),
    };
    let len = before.bytes.len();
    let is_good = !matches!(now.meta.verdict, Verdict::Drop(_));
    let looked_up = format!("{len} bytes from port {} ({link})", port.name);
    Words::new(looked_up, is_good.then(|| now.tell(port.link)))
}

fn decap(before: &Look, now: &Look, tables: &Tables<'_>) -> Words {
    let snapshot = tables.snapshot;
    let is_outer = port(before, snapshot).is_some_and(|port| port.role == Role::Uplink);
    if !is_outer || before.meta.packet == Packet::Arp {
        return Words::default();
    }
    let peer = (now.meta.peer != NO_PEER).then(|| snapshot.peers.get(now.meta.peer.into()));
    let found = peer.flatten().map(|peer| {
        let inner = now.tell(Link::Ip);
        if now.bytes.len() == before.bytes.len() {
            return format!("from peer {}, without a tunnel", peer.name);
        }
        match tunnel_of(before, snapshot) {
            Some(tunnel) => format!("from peer {} by {}: {inner}", peer.name, name(tunnel)),
            None => format!("from peer {}: {inner}", peer.name),
        }
    });
    Words::new(format!("whose packet {} is", before.tell(Link::Ip)), found)
}

/// The tunnel that an outer packet is of.
fn tunnel_of<'a>(outer: &Look, snapshot: &'a Snapshot) -> Option<&'a TunnelInfo> {
    let header = usize::from(outer.meta.l4 - outer.meta.l3);
    let payload = outer.bytes.get(outer.packet? + header..)?;
    let (steer, payload) = match outer.meta.protocol {
        protocol::UDP => {
            let port = payload.get(udp::field::DST_PORT)?;
            (Steer::Udp(u16::from_be_bytes(port.try_into().ok()?)), payload.get(udp::LEN..)?)
        }
        other => (Steer::Protocol(other), payload),
    };
    let mut steered = snapshot.tunnels.iter().filter(|tunnel| tunnel.steers.contains(&steer));
    steered.find(|info| info.tunnel.pop(steer, payload).is_ok_and(|popped| popped.key == info.key))
}

/// `tunnel vx (vxlan 7)`
fn name(info: &TunnelInfo) -> String {
    let kind = info.tunnel.kind().name();
    match info.key {
        0 => format!("tunnel {} ({kind})", info.name),
        key => format!("tunnel {} ({kind} {key})", info.name),
    }
}

fn resolve(before: &Look, now: &Look) -> Words {
    let is_arp = before.meta.packet == Packet::Arp;
    match now.meta.verdict {
        Verdict::Emit(_) => Words::new(
            format!("who answers {}", before.tell(Link::Ip)),
            Some(format!("the router: {}", now.tell(Link::Ethernet))),
        ),
        _ if is_arp => Words::new(format!("who answers {}", before.tell(Link::Ip)), None),
        Verdict::Drop(_) => Words::new(format!("who answers {}", before.tell(Link::Ip)), None),
        _ => Words::default(),
    }
}

fn route(before: &Look, now: &Look, tables: &Tables<'_>) -> Words {
    let Some((src, dst)) = ends(before) else { return Words::default() };
    if matches!(now.meta.verdict, Verdict::Drop(why) if ![SOURCE, PEER_SOURCE].contains(&why)) {
        return Words::new(format!("whether {src} and {dst} are routed at all"), None);
    }
    let snapshot = tables.snapshot;
    let lead = |address: IpAddr| {
        let prefix = (tables.prefix)(address).map_or_else(String::new, |net| format!("{net} "));
        let to = snapshot.route(address);
        match to.hop() {
            Hop::None => "no route".to_owned(),
            Hop::Group(_) => {
                let members = snapshot.members(to).map(|member| hop(member, snapshot));
                let members = members.collect::<Vec<_>>().join(", ");
                format!("{prefix}leads to one of {members}")
            }
            _ => format!("{prefix}leads to {}", hop(to, snapshot)),
        }
    };
    let picked = match snapshot.route(dst).hop() {
        Hop::Group(_) => format!(", for this flow {}", hop(now.meta.next_hop, snapshot)),
        _ => String::new(),
    };
    // A source that is one of the port's own needs no route back.
    let stations = port(before, snapshot).map_or(&[][..], |port| &port.stations);
    let is_own = before.meta.peer == NO_PEER && stations.iter().any(|(own, _)| *own == src);
    let source = match is_own {
        true => format!("{src} is the port's own"),
        false => format!("back to {src}: {}", lead(src)),
    };
    Words::new(format!("the route to {dst}"), Some(format!("{}{picked}; {source}", lead(dst))))
}

/// A next hop by name.
fn hop(next_hop: NextHop, snapshot: &Snapshot) -> String {
    match next_hop.hop() {
        Hop::None => "nowhere".to_owned(),
        Hop::Local => "the router itself".to_owned(),
        Hop::Port(port) => format!("port {}", port_name(snapshot, port)),
        Hop::Neighbour(index) => match snapshot.neighbours.get(index) {
            Some(station) => {
                format!("{} on port {}", station.address, port_name(snapshot, station.port))
            }
            None => "a station that does not exist".to_owned(),
        },
        Hop::Peer(index) => match snapshot.peers.get(index) {
            Some(peer) => format!("peer {}", peer.name),
            None => "a peer that does not exist".to_owned(),
        },
        Hop::Unreachable => "`unreachable`".to_owned(),
        Hop::Blackhole => "`blackhole`".to_owned(),
        Hop::Group(_) => "several".to_owned(),
    }
}

/// Who lets a packet pass from where it came to where it goes, or not; by tables that have not seen it.
pub(super) fn acl(frame: &Frame, snapshot: &Snapshot, now: u64) -> Words {
    let Some(finding) = explain(frame, snapshot, now) else { return Words::default() };
    let Ok(Finding { between, flow, judged, noted, is_trusted }) = finding else {
        return Words::new("whether policies can judge it", None);
    };
    let end = |port: Option<PortId>| match port {
        Some(port) => format!("port {}", port_name(snapshot, port)),
        None if frame.meta.peer == NO_PEER => hop(frame.meta.next_hop, snapshot),
        None => "a peer".to_owned(),
    };
    let rule = |rule: RuleId| snapshot.guard.acl().rule(rule).to_string();
    let looked_up = format!("who may go from {} to {}", end(between.from), end(between.to));
    let mut parts = Vec::new();
    if let Some(flow) = flow {
        let rules = judge::rules(&flow.judged);
        let what = match rules.iter().find(|(_, denies)| *denies) {
            _ if judged.is_some() => "by policies of before".to_owned(),
            Some((Some(by), _)) => format!("which {} has ended", rule(*by)),
            _ => "which passes".to_owned(),
        };
        parts.push(format!("a flow, seen {} s ago, {what}", flow.idle));
    }
    parts.extend(noted.into_iter().map(|noted| format!("{} matches", rule(noted))));
    for (by, denies) in judged.iter().flat_map(judge::rules) {
        let says = if denies { "denies it" } else { "allows it" };
        parts.extend(by.map(|by| format!("{} {says}", rule(by))));
    }
    if is_trusted {
        parts.push("the node itself may reach its pods".to_owned());
    }
    if parts.is_empty() {
        parts.push("nobody is asked in this direction".to_owned());
    }
    Words::new(looked_up, Some(parts.join("; ")))
}

/// A packet's time to live.
fn hops_left(look: &Look) -> Option<u8> {
    let packet = look.bytes.get(look.packet?..)?;
    let field = match look.meta.packet.family()? {
        encap::Family::V4 => ipv4::field::TTL,
        encap::Family::V6 => ipv6::field::HOP_LIMIT,
    };
    packet.get(field).copied()
}

fn ttl(before: &Look, now: Option<&Look>, tables: &Tables<'_>) -> Words {
    let next_hop = before.meta.next_hop;
    let len = before.bytes.len();
    let Some(left) = hops_left(before) else { return Words::default() };
    let Some(mtu) = tables.snapshot.mtu(next_hop) else {
        let answered = now.filter(|now| now.meta.verdict == Verdict::Continue);
        let found = answered.map(|now| format!("answered: {}", now.tell(Link::Ip)));
        return Words::new(
            format!("what to do with a packet for {}", hop(next_hop, tables.snapshot)),
            found,
        );
    };
    let looked_up = format!("ttl {left}, and {len} bytes for a way of {mtu}");
    let passed = now.filter(|now| now.meta.verdict == Verdict::Continue);
    Words::new(looked_up, passed.and_then(hops_left).map(|left| format!("ttl {left}, and it fits")))
}

fn tunnel(before: &Look, now: &Look, tables: &Tables<'_>) -> Words {
    let Hop::Peer(index) = before.meta.next_hop.hop() else { return Words::default() };
    let Some(peer) = tables.snapshot.peers.get(index) else {
        return Words::new("the peer", None);
    };
    let looked_up = format!("the tunnel to peer {}", peer.name);
    let Some((id, _)) = &peer.encap else {
        return Words::new(looked_up, Some("none is needed".to_owned()));
    };
    let added = now.bytes.len().saturating_sub(before.bytes.len());
    let found = tables.snapshot.tunnels.get(id.index()).filter(|_| added > 0).map(|info| {
        format!("{}, {} > {}: {added} bytes in front", name(info), peer.local, peer.address)
    });
    Words::new(looked_up, found)
}

fn neighbour(before: &Look, tables: &Tables<'_>) -> Words {
    let snapshot = tables.snapshot;
    let station = match before.meta.next_hop.hop() {
        Hop::Neighbour(index) => snapshot.neighbours.get(index),
        Hop::Peer(index) => {
            snapshot.peers.get(index).and_then(|peer| snapshot.neighbours.get(peer.neighbour))
        }
        _ => return Words::default(),
    };
    let Some(station) = station else { return Words::new("a station", None) };
    let port = port_name(snapshot, station.port);
    let found = match station.state(tables.now) {
        (Some(mac), state) => format!("{mac}, {}", state_name(state)),
        (None, NeighbourState::Incomplete) => {
            "not known: it is asked, and the packet waits".to_owned()
        }
        (None, state) => state_name(state).to_owned(),
    };
    Words::new(format!("the MAC of {} on port {port}", station.address), Some(found))
}

fn finish(before: &Look, now: Option<&Look>, tables: &Tables<'_>) -> Words {
    let Some(port) = tables.snapshot.ports.get(before.meta.egress.index()) else {
        return Words::new("the port", None);
    };
    let looked_up = format!("what port {} takes: packets of {} bytes", port.name, port.mtu);
    let found = now.filter(|now| matches!(now.meta.verdict, Verdict::Emit(_))).map(|now| {
        let is_completed = before.bytes != now.bytes;
        (if is_completed { "its checksum is completed" } else { "as it is" }).to_owned()
    });
    Words::new(looked_up, found)
}
