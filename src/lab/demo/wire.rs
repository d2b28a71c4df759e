//! The check `on-the-wire`: what a capture between the nodes saw, taken apart by code that is not
//! ours (`etherparse`), but for where a tunnel's own header ends; VXLAN's is compared bit by bit.
//!
//! Two captures run while the checks do. *Inside* has the first packets of the tunnel: each must be
//! one of ours, from node to node and around a packet from pod to pod; without a tunnel, the first ones
//! between pods. *Outside* has all others: no address of a pod may be in it.

use super::super::file::Family;
use super::super::state::DIRECTORY;
use super::super::topology::{Topology, Tunnel, WIRE, netns};
use super::super::{Error, Result, shell, underlay};
use super::{Fault, Scene, Verdict, echo};
use encap::{Kind, Steer, Strip};
use etherparse::{LaxIpPayloadSlice, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use ipnet::IpNet;
use pcap_file::pcap::PcapReader;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// Packets that *inside* keeps, or all that pods ping each other with if that is more.
const INSIDE: usize = 20_000;
/// Bytes that are kept of each: all headers, and those of an error's quoted packet.
const SNAP: usize = 256;
/// Bytes of a VXLAN header (RFC 7348 §5).
const VXLAN: usize = 8;

/// Captures at work.
pub(super) struct Capture {
    inside: Tcpdump,
    outside: Tcpdump,
}

impl Capture {
    /// Starts them where the wire can be tapped.
    pub(super) fn start(topology: &Topology) -> Result<Option<Self>> {
        let Some(device) = underlay::tap(topology) else { return Ok(None) };
        let parts: Vec<String> = match &topology.tunnel {
            Some(tunnel) => tunnel.tunnel.steers().into_iter().map(filter).collect(),
            None => {
                let pods = topology.nodes.iter().flat_map(|node| node.subnets.iter());
                pods.map(|net| format!("( not arp and net {net} )")).collect()
            }
        };
        let tunnel = format!("( {} )", parts.join(" or "));
        // Of both families; a request and a reply.
        let pings = topology.pods().count().pow(2) * echo::TIMES * 2 * 2;
        let inside = format!("-c {} {tunnel}", INSIDE.max(pings));
        let outside = format!("not ( {tunnel} )");
        Ok(Some(Self {
            inside: Tcpdump::start(&device, "inside", &inside)?,
            outside: Tcpdump::start(&device, "outside", &outside)?,
        }))
    }

    /// Ends them; what they saw is in their files.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.inside.stop()?;
        self.outside.stop()
    }
}

/// As tcpdump says it.
fn filter(steer: Steer) -> String {
    match steer {
        Steer::Udp(port) => format!("udp port {port}"),
        // Over IPv6 maybe behind Destination Options.
        Steer::Protocol(number) => format!(
            "ip proto {number} or ip6 proto {number} or ( ip6 proto 60 and ip6[40] == {number} )"
        ),
    }
}

struct Tcpdump {
    child: Child,
    file: PathBuf,
}

impl Tcpdump {
    fn start(device: &str, name: &str, rest: &str) -> Result<Self> {
        let file = Path::new(DIRECTORY).join(format!("{name}.pcap"));
        let line = format!(
            "ip netns exec {} tcpdump -Z root -n -U -s {SNAP} -i {device} -w {} {rest}",
            netns(WIRE),
            file.display()
        );
        let fail = |source| shell::Error::Start { line: line.clone(), source };
        let mut command = shell::command(&line);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(fail)?;
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut said = String::new();
        // It listens once it says so.
        while !said.contains("listening on") {
            if stderr.read_line(&mut said).map_err(fail)? == 0 {
                let status = child.wait().map_err(fail)?;
                return Err(shell::Error::Failed { line, status, stderr: said }.into());
            }
        }
        child.stderr = Some(stderr.into_inner());
        Ok(Self { child, file })
    }

    fn stop(&mut self) -> Result<()> {
        let doing = || "end tcpdump".to_string();
        let pid = rustix::process::Pid::from_child(&self.child);
        // One that has all its packets has ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        self.child.wait().map_err(|source| Error::Io { doing: doing(), source })?;
        Ok(())
    }

    /// Hands every captured frame to `each`; how many there were.
    fn read(&self, mut each: impl FnMut(&[u8]) -> std::result::Result<(), Fault>) -> Frames {
        let unreadable =
            |e: &dyn std::fmt::Display| Fault::Failed(format!("{}: {e}", self.file.display()));
        let file = File::open(&self.file).map_err(|e| unreadable(&e))?;
        let mut pcap = PcapReader::new(file).map_err(|e| unreadable(&e))?;
        let mut frames = 0;
        // Raw: a super-frame is longer than what was kept of it, which the reader finds invalid.
        while let Some(packet) = pcap.next_raw_packet() {
            let packet = packet.map_err(|e| unreadable(&e))?;
            each(&packet.data)?;
            frames += 1;
        }
        Ok(frames)
    }
}

type Frames = std::result::Result<usize, Fault>;

/// Judges what was captured.
pub(super) fn verdict(scene: &Scene) -> Verdict {
    let topology = scene.topology;
    let Some(capture) = &scene.capture else {
        return Err(Fault::NotApplicable("this underlay has no wire that can be tapped".into()));
    };
    let nodes: Vec<_> =
        topology.nodes.iter().map(|n| n.underlay_address(topology.family)).collect();
    let pods: Vec<_> = topology.nodes.iter().flat_map(|n| n.subnets.iter()).collect();
    let (mut v4, mut v6) = (0, 0);
    let inside = capture.inside.read(|frame| {
        let inner = inner(topology, &nodes, frame).map_err(|what| wrong(what, frame))?;
        let from_and_to_pods = inner.iter().all(|ip| pods.iter().any(|net| net.contains(ip)));
        if !from_and_to_pods {
            let what = format!("a tunnel's packet around one from {} to {}", inner[0], inner[1]);
            return Err(wrong(what, frame));
        }
        *(if inner[0].is_ipv4() { &mut v4 } else { &mut v6 }) += 1;
        Ok(())
    })?;
    let outside = capture.outside.read(|frame| match leaked(&pods, frame) {
        Some(ip) => Err(wrong(format!("the pods' address {ip} is outside of a tunnel"), frame)),
        None => Ok(()),
    })?;
    let both = topology.nodes.iter().all(|n| n.subnets.v6.is_some());
    if v4 == 0 || (both && v6 == 0) {
        return Err(Fault::Failed(format!(
            "expected tunnel packets around IPv4 and IPv6, captured {v4} and {v6}"
        )));
    }
    Ok(format!(
        "{inside} tunnel packets ({v4} around IPv4, {v6} around IPv6), {outside} others, \
         no pod's packet outside"
    ))
}

fn wrong(what: impl std::fmt::Display, frame: &[u8]) -> Fault {
    let start = &frame[..frame.len().min(128)];
    let hex: String = start.iter().map(|byte| format!("{byte:02x}")).collect();
    Fault::Failed(format!("{what}; the frame begins {hex}"))
}

/// Source and destination of the packet that a tunnel's frame carries.
fn inner(
    topology: &Topology,
    nodes: &[IpAddr],
    frame: &[u8],
) -> std::result::Result<[IpAddr; 2], String> {
    let outer = slice(frame)?;
    let ends = addresses(&outer).ok_or("a tunnel's frame without IP")?;
    let Some(Tunnel { tunnel, .. }) = &topology.tunnel else { return Ok(ends) };
    if ends[0].is_ipv4() != (topology.family == Family::V4)
        || !ends.iter().all(|ip| nodes.contains(ip))
    {
        return Err(format!(
            "a tunnel's packet from {} to {}, which are not nodes",
            ends[0], ends[1]
        ));
    }
    let (by, payload) = match (&outer.transport, &outer.net) {
        (Some(TransportSlice::Udp(udp)), _) => (Steer::Udp(udp.destination_port()), udp.payload()),
        (_, Some(LaxNetSlice::Ipv4(ip))) => behind(ip.payload()),
        (_, Some(LaxNetSlice::Ipv6(ip))) => behind(ip.payload()),
        _ => return Err("a tunnel's frame without IP".into()),
    };
    if !tunnel.steers().contains(&by) {
        return Err(format!("a tunnel's packet that came by {by:?}"));
    }
    let header = 0x08 << 56 | u64::from(tunnel.key()) << 8;
    let is_vxlan = tunnel.kind() == Kind::Vxlan;
    if is_vxlan && (payload.len() < VXLAN || payload[..VXLAN] != header.to_be_bytes()) {
        return Err(format!("a VXLAN header that is not {header:016x}"));
    }
    let popped = tunnel.pop(by, payload).map_err(|e| format!("a tunnel's header: {e}"))?;
    if popped.key != tunnel.key() {
        return Err(format!("network {} in a tunnel's header, not {}", popped.key, tunnel.key()));
    }
    let rest = &payload[popped.header_len..];
    let inner = match popped.strip {
        Strip::Ethernet => slice(rest)?,
        Strip::Ip(_) => LaxSlicedPacket::from_ip(rest)
            .map_err(|e| format!("a packet within a tunnel that ends early: {e}"))?,
    };
    addresses(&inner).ok_or("a tunnel's packet around one without IP".into())
}

fn behind<'a>(ip: &LaxIpPayloadSlice<'a>) -> (Steer, &'a [u8]) {
    (Steer::Protocol(ip.ip_number.0), ip.payload)
}

/// An address of the pods' that a frame has outside of a tunnel.
fn leaked(pods: &[IpNet], frame: &[u8]) -> Option<IpAddr> {
    let sliced = slice(frame).ok()?;
    let arp = match &sliced.net {
        Some(LaxNetSlice::Arp(arp)) => {
            let words = [arp.sender_protocol_addr(), arp.target_protocol_addr()];
            words.map(|w| <[u8; 4]>::try_from(w).ok().map(IpAddr::from)).to_vec()
        }
        _ => Vec::new(),
    };
    let ends = addresses(&sliced).into_iter().flatten();
    let mut all = arp.into_iter().flatten().chain(ends);
    all.find(|ip| pods.iter().any(|net| net.contains(ip)))
}

/// Lax, for what was kept of a packet ends before its payload does.
fn slice(frame: &[u8]) -> std::result::Result<LaxSlicedPacket<'_>, String> {
    LaxSlicedPacket::from_ethernet(frame).map_err(|e| format!("a frame that ends early: {e}"))
}

fn addresses(packet: &LaxSlicedPacket) -> Option<[IpAddr; 2]> {
    match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => Some([
            IpAddr::V4(ip.header().source_addr()),
            IpAddr::V4(ip.header().destination_addr()),
        ]),
        LaxNetSlice::Ipv6(ip) => Some([
            IpAddr::V6(ip.header().source_addr()),
            IpAddr::V6(ip.header().destination_addr()),
        ]),
        LaxNetSlice::Arp(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::super::topology::{DEFAULT, Overrides};
    use super::*;
    use etherparse::PacketBuilder;

    fn topology() -> Topology {
        Topology::parse(DEFAULT.0, DEFAULT.1, &Overrides::default()).unwrap()
    }

    fn udp(from: [u8; 4], to: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(from, to, 64)
            .udp(4000, port)
            .write(&mut frame, payload)
            .unwrap();
        frame
    }

    fn tunnelled(vni: u8, outer_to: [u8; 4]) -> Vec<u8> {
        let mut payload = vec![8, 0, 0, 0, 0, 0, vni, 0];
        payload.extend(udp([10, 244, 1, 2], [10, 244, 2, 2], 7, b"hello"));
        udp([192, 168, 77, 1], outer_to, 8472, &payload)
    }

    fn judge(frame: &[u8]) -> std::result::Result<[IpAddr; 2], String> {
        let topology = topology();
        let nodes: Vec<_> = topology.nodes.iter().map(|n| n.underlay_address(Family::V4)).collect();
        inner(&topology, &nodes, frame)
    }

    #[test]
    fn a_tunnels_packet_shows_the_pods_it_is_between() {
        let pods = judge(&tunnelled(1, [192, 168, 77, 2])).unwrap();
        assert_eq!(pods.map(|ip| ip.to_string()), ["10.244.1.2", "10.244.2.2"]);
    }

    #[test]
    fn another_network_or_a_stranger_is_not_ours() {
        assert!(judge(&tunnelled(2, [192, 168, 77, 2])).unwrap_err().contains("VXLAN"));
        assert!(judge(&tunnelled(1, [192, 168, 77, 9])).unwrap_err().contains("not nodes"));
    }

    #[test]
    fn a_pods_address_outside_is_found_in_packets_and_in_arp() {
        let topology = topology();
        let pods: Vec<_> = topology.nodes.iter().flat_map(|n| n.subnets.iter()).collect();
        let bare = udp([10, 244, 1, 2], [8, 8, 8, 8], 53, b"");
        assert_eq!(leaked(&pods, &bare), Some(IpAddr::from([10, 244, 1, 2])));
        assert_eq!(leaked(&pods, &tunnelled(1, [192, 168, 77, 2])), None);
        let mut arp = vec![0xff; 12];
        arp.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 2, 2, 2, 2, 2, 192, 168, 77, 1]);
        arp.extend([0, 0, 0, 0, 0, 0, 10, 244, 2, 2]);
        assert_eq!(leaked(&pods, &arp), Some(IpAddr::from([10, 244, 2, 2])));
    }
}
