//! Every way to a peer: the frames of `every-kind` by each sample of each tunnel, and by none, over both
//! families. What leaves is shown to [`tshark`].

use crate::input::{Event, Step, parse};
use crate::node::Node;
use crate::{pool, root, tshark};
use cableway::config::Config;
use encap::wire::{ethernet, ipv4};
use encap::{Kind, Steer};
use std::fs;
use toml::{Table, Value};

/// What tshark is to find innermost in each of the frames that leave.
const INNERMOST: &str = "
    ip:tcp:data ipv6:tcp:data ip:udp:data ipv6:udp:data ip:icmp:data ipv6:icmpv6:data
    ip:tcp:data ipv6:tcp:data ip:udp:data ipv6:udp:data
    ip:data ip:udp:data ipv6:ipv6.fraghdr:data ipv6:ipv6.fraghdr:udp:data ip:data ip:udp:data
    ip:tcp:data ip:tcp:data ip:tcp:data ipv6:tcp:data ipv6:tcp:data ipv6:tcp:data
    ip:udp:data ip:udp:data ip:udp:data ipv6:udp:data ipv6:udp:data ipv6:udp:data";

#[test]
fn tshark_finds_no_fault_in_what_is_sent() {
    if !tshark::is_here() {
        return;
    }
    configs().for_each(|(config, _)| judge(&config));
}

/// A node for each way, and the name of the tunnel, as far as it has one.
pub(crate) fn configs() -> impl Iterator<Item = (Config, String)> {
    let samples = Table::try_from(encap::Configs::samples()).unwrap();
    let tunnels: Vec<_> = samples
        .iter()
        .flat_map(|(kind, samples)| {
            samples.as_array().unwrap().iter().map(move |s| Some((kind, s)))
        })
        .chain([None])
        .map(|tunnel| tunnel.map(|(kind, sample)| (kind.clone(), sample.clone())))
        .collect();
    tunnels.into_iter().flat_map(|tunnel| {
        let tunnel = tunnel.as_ref().map(|(kind, sample)| (kind.as_str(), sample));
        let name =
            tunnel.map_or("without a tunnel", |(_, sample)| sample["name"].as_str().unwrap());
        ["192.168.77.2", "fd77::2"].map(|address| (config(tunnel, address), name.to_owned()))
    })
}

/// The scenarios' node with one peer, which has this address and is reached by this tunnel.
fn config(tunnel: Option<(&str, &Value)>, address: &str) -> Config {
    let mut node: Table =
        toml::from_str(&fs::read_to_string(root().join("node.toml")).unwrap()).unwrap();
    node.remove("tunnel");
    let peers = node["peer"].as_array_mut().unwrap();
    peers.truncate(1);
    let peer = peers[0].as_table_mut().unwrap();
    peer.insert("address".into(), address.into());
    peer.remove("vtep-mac");
    match tunnel {
        Some((kind, sample)) => {
            peer.insert("tunnel".into(), sample["name"].clone());
            let tunnels = Table::from_iter([(kind.to_owned(), vec![sample.clone()].into())]);
            node.insert("tunnel".into(), tunnels.into());
        }
        None => {
            peer.remove("tunnel");
            peer.insert("mode".into(), "never".into());
        }
    }
    Config::parse(&toml::to_string(&node).unwrap(), "node.toml").unwrap_or_else(|e| panic!("\n{e}"))
}

/// Has tshark judge what leaves this node, and behind that the first frame with some harm done to it, to see
/// that it would tell.
fn judge(config: &Config) {
    let what = format!("{:?} by {:?}", config.peer[0].address, config.tunnel);
    let mut frames = sent(config);
    let harmed = harmed(&frames[0]);
    frames.extend_from_slice(&harmed);
    let dissected = tshark::dissect(&frames, &decode_as(config));
    let (sound, harmed) = dissected.split_at(frames.len() - harmed.len());
    for frame in sound {
        assert!(frame.faults.is_empty(), "{what}: {frame:?}");
        let packets = frame.protocols.split(':').filter(|name| matches!(*name, "ip" | "ipv6"));
        let is_tunnelled = config.tunnel.tunnels().count() > 0;
        assert_eq!(packets.count() > 1, is_tunnelled, "a packet in a packet, {what}: {frame:?}");
    }
    for frame in harmed {
        assert!(
            !frame.faults.is_empty(),
            "tshark has nothing against a harmed frame, {what}: {frame:?}"
        );
    }
    let innermost = sound.iter().map(|frame| innermost(&frame.protocols));
    assert_eq!(
        innermost.collect::<Vec<_>>(),
        INNERMOST.split_whitespace().collect::<Vec<_>>(),
        "{what}"
    );
}

/// Everything from the last IP header on.
fn innermost(protocols: &str) -> &str {
    let names = protocols.match_indices(':').map(|(colon, _)| &protocols[colon + 1..]);
    let mut packets = names.filter(|rest| rest.starts_with("ip:") || rest.starts_with("ipv6:"));
    packets.next_back().unwrap_or_default()
}

/// What leaves the node by its uplink when everything of the scenario comes in.
fn sent(config: &Config) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(root().join("every-kind/in.txt")).unwrap();
    let steps: Vec<Step> = parse(&text).unwrap();
    let mut pool = pool();
    let mut node = Node::new(config.clone(), &root(), &mut pool);
    let mut frames = Vec::new();
    for step in steps.chunks(1) {
        assert!(matches!(step[0].event, Event::Frame { .. }));
        for (port, frame) in node.step(step) {
            assert_eq!((port.as_str(), frame.partial), ("eth0", false));
            frames.push(frame.bytes);
        }
    }
    assert_eq!(node.reasons(), []);
    node.close();
    frames
}

/// How tshark is to know what is behind UDP ports that are not a protocol's own.
fn decode_as(config: &Config) -> Vec<String> {
    let mut all = Vec::new();
    for (_, tunnel) in config.tunnel.tunnels() {
        let protocol = match tunnel.kind() {
            Kind::Udp => "ip",
            kind => kind.name(),
        };
        all.extend(tunnel.steers().iter().filter_map(|steer| match steer {
            Steer::Udp(port) => Some(format!("udp.port=={port},{protocol}")),
            Steer::Protocol(_) => None,
        }));
    }
    all
}

/// The frame with another last byte, without it, and, of IPv4, with another TTL.
fn harmed(frame: &[u8]) -> Vec<Vec<u8>> {
    const TTL: usize = ethernet::LEN + ipv4::field::TTL;
    let flipped = |at: usize| {
        let mut frame = frame.to_vec();
        frame[at] ^= 1;
        frame
    };
    let (last, is_v4) = (frame.len() - 1, frame[ethernet::LEN] >> 4 == 4);
    let mut all = vec![flipped(last), frame[..last].to_vec()];
    all.extend(is_v4.then(|| flipped(TTL)));
    all
}
