//! tshark, a dissector that nobody here wrote: it verifies every checksum, and puts fragments together.

use pcap_file::pcap::{PcapPacket, PcapWriter};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The severity from which on something is wrong, and not only odd: a warning's.
const WARNING: u32 = 0x60_0000;
/// The group of what is said about the order of packets, which is not in a single one.
const SEQUENCE: u32 = 0x0200_0000;

/// What it is asked of a frame: the last three have a value for each thing that it has to say.
const FIELDS: [&str; 4] =
    ["frame.protocols", "_ws.expert.severity", "_ws.expert.group", "_ws.expert.message"];

/// What it makes of a frame.
#[derive(Debug)]
pub(crate) struct Dissected {
    /// Protocols, the outermost first: `eth:ethertype:ip:udp:vxlan:…`.
    pub(crate) protocols: String,
    /// What it finds wrong with it.
    pub(crate) faults: Vec<String>,
}

/// Whether it is here.
pub(crate) fn is_here() -> bool {
    let is_here = Command::new("tshark").arg("--version").output().is_ok();
    if !is_here {
        let what = "tshark is not here; `./setup.sh compare` installs it";
        assert!(std::env::var_os("CI").is_none(), "{what}");
        eprintln!("not tested: {what}");
    }
    is_here
}

/// Has it dissect Ethernet frames as one capture. `decode_as` says what is in a UDP port's datagrams, as in
/// `udp.port==8285,ip`.
pub(crate) fn dissect(frames: &[Vec<u8>], decode_as: &[String]) -> Vec<Dissected> {
    let mut tshark = Command::new("tshark");
    tshark.args(["-r", "-", "-n", "-T", "fields", "-E", "aggregator=;"]);
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    for preference in [
        "ip.check_checksum:TRUE",
        "tcp.check_checksum:TRUE",
        "udp.check_checksum:TRUE",
        // RFC 6935 allows it to a tunnel.
        "udp.ignore_ipv6_zero_checksum:TRUE",
        // It is no conversation that it is shown.
        "tcp.analyze_sequence_numbers:FALSE",
    ] {
        tshark.args(["-o", preference]);
    }
    for decode_as in decode_as {
        tshark.args(["-d", decode_as]);
    }
    let pipes = tshark.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("tshark is here");
    let input = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = PcapWriter::new(input).expect("tshark reads");
            for (frame, second) in frames.iter().zip(0..) {
                let time = Duration::from_secs(second);
                let packet = PcapPacket::new(time, frame.len() as u32, frame);
                writer.write_packet(&packet).expect("tshark reads");
            }
        });
        child.wait_with_output().expect("it is a child of ours")
    });
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {error}");
    let dissected: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(read).collect();
    assert_eq!(dissected.len(), frames.len(), "frames that tshark read: {error}");
    dissected
}

fn read(line: &str) -> Dissected {
    let fields: Vec<_> = line.split('\t').collect();
    let [protocols, severities, groups, messages] = fields[..] else {
        panic!("expected {FIELDS:?}, found {line:?}");
    };
    let numbers = |field: &str| -> Vec<u32> { field.split(';').flat_map(str::parse).collect() };
    let said = numbers(severities).into_iter().zip(numbers(groups)).zip(messages.split(';'));
    let is_fault = |severity, group| severity >= WARNING && group != SEQUENCE;
    let faults = said.filter(|((severity, group), _)| is_fault(*severity, *group));
    let faults = faults.map(|(_, message)| message.to_owned()).collect();
    Dissected { protocols: protocols.to_owned(), faults }
}
