//! The checks that look at a lab from within its pods and nodes.

use super::super::file::{Family, Preset, Router};
use super::super::shell;
use super::super::topology::{Node, Pod};
use super::echo::{self, Asker, TIMES};
use super::{Fault, Scene, Verdict, law, traffic};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Bytes that `tcp*-hash` sends in each direction.
const STREAM: u64 = 100_000_000;
/// Bytes that two pods of one node exchange.
const SHORT_STREAM: u64 = 4_000_000;
/// Payloads of `udp-echo`, in bytes.
const DATAGRAMS: RangeInclusive<usize> = 1..=1400;
/// How long counters may take to come to rest once traffic has ended.
const REST_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn ping4(scene: &Scene) -> Verdict {
    ping_all(scene, Family::V4)
}

pub(super) fn ping6(scene: &Scene) -> Verdict {
    ping_all(scene, Family::V6)
}

/// Every pod pings every other pod.
fn ping_all(scene: &Scene, family: Family) -> Verdict {
    let pods = scene.topology.pods().filter_map(|(_, pod)| Some((pod, pod.addresses.of(family)?)));
    let pods: Vec<_> = pods.collect();
    let askers = pods.iter().enumerate().map(|(i, (pod, _))| {
        // Each begins behind itself, so that they don't all ask for the same pod at once.
        let others = pods[i + 1..].iter().chain(&pods[..i]);
        Asker { netns: &pod.netns, to: others.map(|(_, address)| *address).collect() }
    });
    let pairs = echo::ask_all(&askers.collect::<Vec<_>>())?;
    if pairs == 0 {
        return Err(Fault::NotApplicable(format!("no two pods with {family} addresses")));
    }
    Ok(format!("{pairs} pairs of pods, {TIMES} of {TIMES} replies each"))
}

pub(super) fn ping4_mtu_df(scene: &Scene) -> Verdict {
    let [from, to] = scene.pods()?;
    let to = address(to, Family::V4)?;
    let mtu = scene.topology.pod_mtu();
    // 20 bytes of IPv4 header, 8 of ICMP.
    let largest = mtu - 28;
    let ping = |size: u16| {
        let line = format!("ping -n -c 1 -W 1 -M do -s {size} {to}");
        in_netns(&from.netns, &line)
    };
    let fits = ping(largest)?;
    if !fits.success {
        return Err(Fault::Failed(format!(
            "a packet of {mtu} bytes got no reply: {}",
            fits.brief()
        )));
    }
    let over = ping(largest + 1)?;
    let told = ["essage too long", "rag needed"].iter().any(|words| over.text.contains(words));
    if over.success || !told {
        return Err(Fault::Failed(format!(
            "a packet of {} bytes: expected \"message too long\", got {}",
            mtu + 1,
            over.brief()
        )));
    }
    Ok(format!("{mtu} bytes pass, {} are refused as too long", mtu + 1))
}

pub(super) fn tcp4_hash(scene: &Scene) -> Verdict {
    tcp_hash(scene, Family::V4)
}

pub(super) fn tcp6_hash(scene: &Scene) -> Verdict {
    tcp_hash(scene, Family::V6)
}

fn tcp_hash(scene: &Scene, family: Family) -> Verdict {
    let [from, to] = scene.pods()?;
    exchange(from, to, family, STREAM)
}

fn exchange(from: &Pod, to: &Pod, family: Family, bytes: u64) -> Verdict {
    let done = traffic::exchange(&from.netns, &to.netns, address(to, family)?, bytes)?;
    let megabytes = bytes / 1_000_000;
    Ok(format!("{megabytes} MB each way in {:.1} s, SHA-256 equal", done.as_secs_f64()))
}

pub(super) fn udp_echo(scene: &Scene) -> Verdict {
    let [from, to] = scene.pods()?;
    let mut families = Vec::new();
    for address in to.addresses.iter() {
        traffic::udp_echo(&from.netns, &to.netns, address, DATAGRAMS)?;
        families.push(Family::from(address).to_string());
    }
    let (first, last) = (DATAGRAMS.start(), DATAGRAMS.end());
    Ok(format!("every size from {first} to {last} bytes, {}", families.join(" and ")))
}

pub(super) fn same_node(scene: &Scene) -> Verdict {
    let mut pairs = 0;
    for node in &scene.topology.nodes {
        let [from, to, ..] = node.pods.as_slice() else { continue };
        for to_address in to.addresses.iter() {
            ping(&from.netns, to_address)?;
            traffic::exchange(&from.netns, &to.netns, to_address, SHORT_STREAM)?;
        }
        pairs += 1;
    }
    if pairs == 0 {
        return Err(Fault::NotApplicable("no node has two pods".into()));
    }
    Ok(format!("{pairs} pairs of pods: ping, and {} MB of TCP each way", SHORT_STREAM / 1_000_000))
}

/// Every node and a pod of the next one.
pub(super) fn node_to_remote_pod(scene: &Scene) -> Verdict {
    let mut pairs = 0;
    let nodes = &scene.topology.nodes;
    for (node, next) in nodes.iter().zip(nodes.iter().cycle().skip(1)) {
        let Some(to) = next.pods.first() else { continue };
        for address in to.addresses.iter() {
            ping(&node.netns, address)?;
            traffic::exchange(&node.netns, &to.netns, address, SHORT_STREAM)?;
        }
        pairs += 1;
    }
    Ok(format!("{pairs} pairs: ping, and {} MB of TCP each way", SHORT_STREAM / 1_000_000))
}

pub(super) fn pod_to_gateway(scene: &Scene) -> Verdict {
    // What Calico's pods have for a gateway is nobody's address.
    let has_gateway = |node: &Node| node.router != Router::KernelVxlan(Preset::Calico);
    let pods: Vec<_> = scene.topology.pods().filter(|(node, _)| has_gateway(node)).collect();
    let mut pairs = 0;
    for family in [Family::V4, Family::V6] {
        let askers = pods.iter().map(|(node, pod)| {
            let to = node.gateway.of(family).into_iter().collect();
            Asker { netns: &pod.netns, to }
        });
        pairs += echo::ask_all(&askers.collect::<Vec<_>>())?;
    }
    if pairs == 0 {
        return Err(Fault::NotApplicable("no pod has a gateway with an address".into()));
    }
    Ok(format!("{} pods, {TIMES} of {TIMES} replies for each address", pods.len()))
}

pub(super) fn ttl_exceeded(scene: &Scene) -> Verdict {
    let [from, to] = scene.pods()?;
    let node = scene.nodes()[0];
    let mut told = Vec::new();
    for address in to.addresses.iter() {
        let line = format!("ping -n -c 1 -W 1 -t 1 {address}");
        let ping = in_netns(&from.netns, &line)?;
        let exceeded = ["Time to live exceeded", "Hop limit"];
        let error = ping.text.lines().find(|l| exceeded.iter().any(|words| l.contains(words)));
        let by = error.and_then(|line| line.strip_prefix("From ")?.split(' ').next());
        let expected = gateway_of(node, address).map(|gateway| gateway.to_string());
        match by {
            Some(by) if expected.as_ref().is_none_or(|gateway| gateway == by) => {
                told.push(by.to_string())
            }
            _ => {
                let gateway = expected.as_deref().unwrap_or("the node");
                let message =
                    format!("expected time exceeded from {gateway}, got {}", ping.brief());
                return Err(Fault::Failed(message));
            }
        }
    }
    Ok(format!("time exceeded from {}", told.join(" and ")))
}

/// Who must answer, where the node says so.
fn gateway_of(node: &Node, like: IpAddr) -> Option<IpAddr> {
    if node.router == Router::KernelVxlan(Preset::Calico) {
        return None;
    }
    node.gateway.iter().find(|gateway| gateway.is_ipv4() == like.is_ipv4())
}

/// Every frame of every daemon is accounted for. The law is the daemon's own to state; here its two
/// sides are added up again.
pub(super) fn conservation(scene: &Scene) -> Verdict {
    let ours = scene.topology.nodes.iter().filter(|node| node.router == Router::Cableway);
    let mut told = Vec::new();
    for node in ours {
        let deadline = std::time::Instant::now() + REST_WITHIN;
        loop {
            match law::check(&law::read(&node.name)?) {
                Ok(text) => break told.push(format!("{}: {text}", node.name)),
                Err(_) if std::time::Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(text) => return Err(Fault::Failed(format!("node {}: {text}", node.name))),
            }
        }
    }
    if told.is_empty() {
        return Err(Fault::NotApplicable("no node is cableway's".into()));
    }
    Ok(told.join("; "))
}

/// Every request must be replied to, the first included. Each is a `ping` of its own: one with
/// several requests waits for its last reply only twice as long as it did for the others, which on
/// a busy machine is no proof of loss.
fn ping(netns: &str, to: IpAddr) -> Result<(), Fault> {
    for _ in 0..TIMES {
        let ping = in_netns(netns, &format!("ping -n -c 1 -W 1 {to}"))?;
        if !ping.success || ping.text.contains("duplicate") {
            let what = format!("{to} from {netns}: expected one reply, got {}", ping.brief());
            return Err(Fault::Failed(what));
        }
    }
    Ok(())
}

/// What a command in a namespace came to.
struct Answer {
    success: bool,
    text: String,
}

impl Answer {
    /// On one line.
    fn brief(&self) -> String {
        let lines = self.text.lines().filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("; ")
    }
}

fn in_netns(netns: &str, line: &str) -> Result<Answer, Fault> {
    let output = shell::output(&format!("ip netns exec {netns} {line}"))
        .map_err(super::super::Error::from)?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Answer {
        success: output.status.success(),
        text: String::from_utf8_lossy(&text).trim().to_string(),
    })
}

fn address(pod: &Pod, family: Family) -> Result<IpAddr, Fault> {
    let none = || Fault::NotApplicable(format!("pod {} has no {family} address", pod.name));
    pod.addresses.of(family).ok_or_else(none)
}
