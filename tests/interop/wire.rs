//! What is on the wire between the nodes: tcpdump keeps it, tshark judges ours, and the headers around the
//! first ping of each side are told.

use crate::daemon_support::Space;
use crate::tshark;
use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use pcap_file::pcap::PcapReader;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// How tshark is to know what passes: FOU, and no protocol within TCP.
const DECODE_AS: [&str; 3] = ["udp.port==8285,ip", "udp.port==8286,ip", "tcp.port==5201,data"];
/// Frames that are kept.
const COUNT: &str = "4000";

/// A capture under way.
pub(crate) struct Capture {
    file: PathBuf,
    tcpdump: Child,
}

/// What was captured.
pub(crate) struct Captured(Vec<Vec<u8>>);

/// What there is to say of it.
pub(crate) struct Seen {
    /// What tshark finds wrong with what we sent.
    pub(crate) faults: Result<(), String>,
    /// The headers around our first ping, and around the peer's.
    pub(crate) ours: String,
    pub(crate) theirs: String,
}

impl Capture {
    /// Begins one of what passes a device.
    pub(crate) fn start(space: &Space, device: &str) -> Capture {
        let file = std::env::temp_dir().join(format!("{}.pcap", space.name));
        let words = format!("-Z root -i {device} -U -s 0 -c {COUNT} -w {}", file.display());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &space.name, "tcpdump"]).args(words.split_whitespace());
        let mut tcpdump = command.stderr(Stdio::piped()).spawn().expect("ip is there");
        let mut said = BufReader::new(tcpdump.stderr.take().expect("a pipe"));
        let mut line = String::new();
        said.read_line(&mut line).expect("tcpdump says that it listens");
        assert!(line.contains("listening on"), "{line}");
        Capture { file, tcpdump }
    }

    /// Ends it.
    pub(crate) fn finish(mut self) -> Captured {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
        let mut reader = PcapReader::new(File::open(&self.file).unwrap()).unwrap();
        let mut frames = Vec::new();
        // The last one may have been cut off.
        while let Some(Ok(packet)) = reader.next_packet() {
            frames.push(packet.data.into_owned());
        }
        Captured(frames)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Captured {
    /// What the nodes with these MACs have sent.
    pub(crate) fn look(&self, our_mac: &str, their_mac: &str) -> Seen {
        let dissected = tshark::dissect(&self.0, &DECODE_AS.map(str::to_owned));
        let is_from = |frame: &[u8], mac: &str| {
            let source = frame[6..12].iter().map(|byte| format!("{byte:02x}"));
            source.collect::<Vec<_>>().join(":") == mac
        };
        let of = |mac| {
            let both = self.0.iter().zip(&dissected);
            both.filter(move |(frame, _)| is_from(frame, mac))
        };
        let headers = |mac| {
            let mut pings = of(mac).filter(|(_, seen)| {
                let protocols = &seen.protocols;
                protocols.ends_with("icmp:data") || protocols.ends_with("icmpv6:data")
            });
            pings.next().map_or_else(String::new, |(frame, _)| describe(frame))
        };
        let faulty = of(our_mac).find(|(_, seen)| !seen.faults.is_empty());
        let faults = faulty.map_or(Ok(()), |(_, seen)| Err(format!("{seen:?}")));
        Seen { faults, ours: headers(our_mac), theirs: headers(their_mac) }
    }
}

/// What the outer headers say that tunnels may do in more ways than one.
fn describe(frame: &[u8]) -> String {
    let headers = PacketHeaders::from_ethernet_slice(frame).expect("tshark understood it");
    let mut said = Vec::new();
    match &headers.net {
        Some(NetHeaders::Ipv4(ip, _)) => {
            said.push(format!("TTL {}", ip.time_to_live));
            said.push(if ip.dont_fragment { "DF" } else { "no DF" }.to_owned());
            said.push(format!("ECN {}", ip.ecn.value()));
        }
        Some(NetHeaders::Ipv6(ip, extensions)) => {
            said.push(format!("hop limit {}", ip.hop_limit));
            said.push(format!("ECN {}", ip.traffic_class & 3));
            let label = ip.flow_label.value() != 0;
            said.push(if label { "flow label" } else { "no flow label" }.to_owned());
            let options = extensions.destination_options.as_ref().map(|options| options.payload());
            said.extend(options.map(|options| match options {
                [4, 1, limit, ..] => format!("encapsulation limit {limit}"),
                other => format!("options {other:02x?}"),
            }));
        }
        other => said.push(format!("{other:?}")),
    }
    if let Some(TransportHeader::Udp(udp)) = &headers.transport {
        said.push(if udp.checksum == 0 { "no UDP checksum" } else { "UDP checksum" }.to_owned());
    }
    said.join(", ")
}
