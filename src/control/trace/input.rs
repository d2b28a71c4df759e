//! The frame to be traced: as its port would receive it.

use super::{Input, Tables};
use crate::packet::Packet;
use encap::wire::{Mac, checksum, ethernet};
use encap::{Encap, Ends, Family, Inner};
use pipeline::frame::{Link, MemoryError};
use pipeline::snapshot::{Peer, PortId, PortInfo, Snapshot};
use std::net::IpAddr;

/// Bytes of a frame: a packet's most, and an Ethernet header.
const LONGEST: usize = 65_535 + ethernet::LEN;

/// There is no such packet to be traced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Wrong {
    /// The part of the input that is wrong, as a JSON pointer.
    pub pointer: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl Wrong {
    fn new(pointer: &'static str, message: impl Into<String>) -> Wrong {
        Wrong { pointer, message: message.into() }
    }

    pub(super) fn of_memory(error: MemoryError) -> Wrong {
        Wrong::new("", error.to_string())
    }

    pub(super) fn of_length(len: usize) -> Wrong {
        Wrong::new("", format!("a frame of {len} bytes; expected {LONGEST} at most"))
    }
}

/// The port and the bytes.
pub(super) fn frame(input: &Input, tables: &Tables<'_>) -> Result<(PortId, Vec<u8>), Wrong> {
    let snapshot = tables.snapshot;
    let peer = input.peer.as_ref().map(|name| {
        let known = snapshot.peers.iter().find(|peer| peer.name == *name);
        known.ok_or_else(|| {
            Wrong::new("/peer", unknown("peer", name, snapshot.peers.iter().map(|p| &p.name)))
        })
    });
    let peer = peer.transpose()?;
    let id = match (&input.port, peer) {
        (Some(name), _) => {
            let mut ports = snapshot.ports.entries();
            let found = ports.find(|(_, port)| port.name == *name);
            let names = || snapshot.ports.iter().map(|port| &port.name);
            let (index, _) =
                found.ok_or_else(|| Wrong::new("/port", unknown("port", name, names())))?;
            PortId(index as u16)
        }
        (None, Some(peer)) => peer.uplink,
        (None, None) => return Err(Wrong::new("/port", "expected a port, or a peer")),
    };
    let port = snapshot.ports.get(id.index());
    let port = port.ok_or_else(|| Wrong::new("/port", "the peer's uplink is not there now"))?;
    let (packet, is_whole) = match (&input.packet, &input.ip, &input.frame) {
        (Some(line), None, None) => {
            let packet: Packet = line.parse().map_err(|e| Wrong::new("/packet", format!("{e}")))?;
            (packet.to_bytes(), false)
        }
        (None, Some(hex), None) => (unhex(hex, "/ip")?, false),
        (None, None, Some(hex)) if peer.is_none() => (unhex(hex, "/frame")?, true),
        (None, None, Some(_)) => {
            let message = "a frame comes as it is; of a peer expected `packet` or `ip`";
            return Err(Wrong::new("/frame", message));
        }
        _ => return Err(Wrong::new("", "expected one of `packet`, `ip` and `frame`")),
    };
    let bytes = match (is_whole, peer) {
        (true, _) => packet,
        (false, Some(peer)) => link(outer(packet, peer, snapshot), port, tables, Some(peer)),
        (false, None) => link(packet, port, tables, None),
    };
    match bytes.len() {
        0..=LONGEST => Ok((id, bytes)),
        len => Err(Wrong::of_length(len)),
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<_> = known.map(String::as_str).collect();
    match known.is_empty() {
        true => format!("no {what} is called `{name}`, and there is no other"),
        false => format!("no {what} is called `{name}`; expected one of {}", known.join(", ")),
    }
}

/// Digits of bytes; blanks, line breaks and colons between them do not count.
fn unhex(hex: &str, pointer: &'static str) -> Result<Vec<u8>, Wrong> {
    let digits = hex.chars().filter(|c| !c.is_whitespace() && *c != ':');
    let digits: Option<Vec<u32>> = digits.map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0 && !digits.is_empty());
    let digits = digits.ok_or_else(|| {
        Wrong::new(pointer, "expected bytes in hex, two digits each, as `45 00 00 28`")
    })?;
    Ok(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

/// A packet as a peer sends it to us: in its tunnel, if it has one.
fn outer(mut packet: Vec<u8>, peer: &Peer, snapshot: &Snapshot) -> Vec<u8> {
    let tunnel = peer.encap.as_ref().and_then(|(id, _)| snapshot.tunnels.get(id.index()));
    let (Some(info), Some(family)) = (tunnel, Family::of_packet(&packet)) else { return packet };
    // What we do not look at may be anything: the MAC of the peer's VTEP, and the flow's hash.
    let ends = Ends {
        local: peer.address,
        remote: peer.local,
        local_mac: Mac::derive(&peer.name),
        remote_mac: info.mac,
    };
    let encap = info.tunnel.encap(&ends);
    let start = [packet[0], packet.get(1).copied().unwrap_or_default()];
    let inner = Inner { family, len: packet.len(), tos: family.tos(start), flow_hash: 0 };
    let mut bytes = vec![0; encap.overhead()];
    encap.push(&mut bytes, &inner);
    bytes.append(&mut packet);
    complete(&mut bytes, &encap);
    bytes
}

/// Completes the outer checksum, if there is one.
fn complete(bytes: &mut [u8], encap: &Encap) {
    let Some((start, field)) = encap.checksum_offset() else { return };
    let mut sum = checksum::Sum::new(0);
    sum.add(&bytes[start..]);
    let sum = checksum::nonzero(sum.finish());
    bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Puts the Ethernet header in front that a port's frames have.
fn link(packet: Vec<u8>, port: &PortInfo, tables: &Tables<'_>, peer: Option<&Peer>) -> Vec<u8> {
    if port.link == Link::Ip {
        return packet;
    }
    let family = Family::of_packet(&packet).unwrap_or(Family::V4);
    let station = match peer {
        Some(peer) => Some(peer.neighbour),
        None => source(&packet, family).and_then(|src| {
            port.stations.iter().find(|(station, _)| *station == src).map(|(_, index)| *index)
        }),
    };
    let station = station.and_then(|index| tables.snapshot.neighbours.get(index));
    let mac = station.and_then(|station| station.state(tables.now).0);
    let mut bytes = vec![0; ethernet::LEN];
    let src = mac.unwrap_or_else(|| Mac::derive(&port.name));
    ethernet::Header { dst: port.mac, src, ethertype: family.ethertype() }.emit(&mut bytes);
    bytes.extend(packet);
    bytes
}

fn source(packet: &[u8], family: Family) -> Option<IpAddr> {
    use encap::wire::{ipv4, ipv6};
    Some(match family {
        Family::V4 => ipv4::addresses(packet.first_chunk::<{ ipv4::LEN }>()?).0.into(),
        Family::V6 => ipv6::addresses(packet.first_chunk::<{ ipv6::LEN }>()?).0.into(),
    })
}
