//! `cableway trace`: what the daemon would do with a packet, and why.

use crate::control::management::client::{self, ClientError, Content};
use crate::control::trace::{Frame, Input, Outcome, Report};
use crate::io::pcap::{self, PcapFileError};
use crate::packet::Packet;
use encap::wire::ethernet;
use pipeline::frame::Link;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// How a packet is written.
const WORDS: &str = "\
The packet in words: 'PROTOCOL SRC[:PORT] > DST[:PORT] [WORD]...'

PROTOCOL is tcp, udp, icmp, icmpv6, sctp, ... or a number; tcp, udp and sctp have ports.
WORDs are
  ttl N, len N (of the IP packet, in bytes), df
  fin, syn, rst, psh, ack, urg, ece, cwr    of tcp; syn without any
  echo-request, echo-reply, ... TYPE/CODE   of icmp and icmpv6; echo-request without one

'tcp 10.244.1.2:40000 > 10.244.2.2:80 syn'
'udp [fd00::1]:53 > [fd00::2]:53 len 1500'
'icmp 10.244.1.2 > 10.244.2.2 echo-request ttl 1 df'";

/// Tell what a running daemon would do with a packet, and why
///
/// The packet goes through the daemon's own stages and tables, and nothing comes of it: nothing is
/// sent, learned or counted. What was sent lately is not considered: frames that wait for the same
/// station, and the limit on ICMP errors.
///
/// The exit code is 0 when the trace was made, whatever becomes of the packet.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
#[command(group = clap::ArgGroup::new("from").required(true).multiple(true))]
pub struct Args {
    /// The port that the packet comes in by
    #[arg(long, value_name = "NAME", group = "from")]
    port: Option<String>,
    /// The peer that it comes from, in its tunnel, by the peer's uplink if no port is named
    #[arg(long, value_name = "NAME", group = "from")]
    peer: Option<String>,
    /// The packet in words: 'tcp 10.244.1.2:40000 > 10.244.2.2:80 syn'
    #[arg(long, value_name = "WORDS", group = "what", value_parser = packet, long_help = WORDS)]
    packet: Option<String>,
    /// A frame of a capture, pcap or pcapng
    #[arg(long, value_name = "FILE", group = "what")]
    pcap: Option<PathBuf>,
    /// Which one of it
    #[arg(long, value_name = "N", default_value = "1", requires = "pcap", value_parser = clap::value_parser!(u32).range(1..))]
    frame: u32,
    /// A frame's bytes as the port receives it, two digits each; - reads them from standard input
    #[arg(long, value_name = "BYTES", group = "what")]
    hex: Option<String>,
    /// Of bytes, that they begin with the IP header, as those that come from a peer do; of a captured frame,
    /// that its Ethernet header counts for nothing. The port's own is put in front, if it has one
    #[arg(long, conflicts_with = "packet")]
    ip: bool,
    /// Print the bytes before the first stage and behind each one that changed them
    #[arg(short = 'x')]
    hex_dump: bool,
    /// Print JSON; its format is stable
    #[arg(long)]
    json: bool,
    /// Management socket of the daemon
    #[arg(long, value_name = "PATH", default_value = crate::control::DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// A packet in words, which it stays: the daemon reads it anew.
fn packet(words: &str) -> Result<String, String> {
    match words.parse::<Packet>() {
        Ok(_) => Ok(words.to_owned()),
        Err(mistake) => Err(format!("\n{mistake}")),
    }
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The daemon did not answer, or found something wrong with the packet.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The capture has no such frame.
    #[error(transparent)]
    Capture(#[from] PcapFileError),
    /// Standard input can't be read, or standard output not written.
    #[error("standard input or output: {0}")]
    Io(#[from] io::Error),
}

/// Asks and prints.
///
/// # Errors
/// When the packet can't be read, or the daemon does not answer.
pub fn run(args: &Args) -> Result<(), TraceError> {
    let input = serde_json::to_value(input(args)?).expect("names and text are JSON");
    let report: Report = client::call(&args.socket, "POST", "/v1/trace", Content::Json(input))?;
    let mut text = match args.json {
        true => serde_json::to_string_pretty(&report).expect("a report is JSON: it just was"),
        false => tell(&report, args.hex_dump),
    };
    text.push('\n');
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn input(args: &Args) -> Result<Input, TraceError> {
    let plain = Input { port: args.port.clone(), peer: args.peer.clone(), ..Input::default() };
    let of_bytes = |hex: String, is_ip: bool| match is_ip {
        true => Input { ip: Some(hex), ..plain.clone() },
        false => Input { frame: Some(hex), ..plain.clone() },
    };
    let is_ip = args.ip || args.peer.is_some();
    match (&args.pcap, &args.hex) {
        (Some(file), _) => {
            let (link, bytes) = pcap::frame(file, args.frame as usize)?;
            let skip = if link == Link::Ethernet && is_ip { ethernet::LEN } else { 0 };
            let bytes = bytes.get(skip..).unwrap_or_default();
            let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(of_bytes(hex, is_ip || link == Link::Ip))
        }
        (None, Some(hex)) if hex == "-" => {
            let mut hex = String::new();
            io::stdin().lock().read_to_string(&mut hex)?;
            Ok(of_bytes(hex, is_ip))
        }
        (None, Some(hex)) => Ok(of_bytes(hex.clone(), is_ip)),
        (None, None) => Ok(Input { packet: args.packet.clone(), ..plain }),
    }
}

/// For people: a paragraph for each frame.
fn tell(report: &Report, hex_dump: bool) -> String {
    let frames = report.frames.iter().map(|frame| tell_frame(frame, &report.port, hex_dump));
    frames.collect::<Vec<_>>().join("\n\n")
}

fn tell_frame(frame: &Frame, port: &str, hex_dump: bool) -> String {
    let mut lines = vec![match &frame.made_by {
        None => format!("{} by port {port}", frame.packet),
        Some(stage) => format!("{} made by {stage}", frame.packet),
    }];
    let mut last = &frame.bytes;
    if hex_dump {
        lines.extend(dump(last));
    }
    for step in &frame.steps {
        let words = [&step.looked_up, &step.found];
        let mut words = words.into_iter().flatten();
        lines.push(format!("  {:<10} {}", step.stage, words.next().map_or("-", String::as_str)));
        lines.extend(words.map(|words| format!("  {:<10}   {words}", "")));
        if hex_dump && step.bytes != *last && !step.bytes.is_empty() {
            lines.extend(dump(&step.bytes));
            last = &step.bytes;
        }
    }
    lines.push(match &frame.outcome {
        Outcome::Sent { port, packet } => format!("  => sent by port {port}: {packet}"),
        Outcome::Dropped { reason, text } => format!("  => dropped: {reason}: {text}"),
        Outcome::Held => "  => waits for a MAC, up to three seconds".to_owned(),
        Outcome::Cut => "  => goes on as the frames below".to_owned(),
    });
    lines.join("\n")
}

/// Bytes in lines of 32.
fn dump(hex: &str) -> impl Iterator<Item = String> {
    hex.as_bytes().chunks(64).map(|line| {
        let pairs = line.chunks(2).map(String::from_utf8_lossy);
        format!("             {}", pairs.collect::<Vec<_>>().join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::trace::Step;

    #[test]
    fn a_trace_is_told() {
        let step = |stage: &str, looked_up: Option<&str>, found: Option<&str>, bytes: &str| Step {
            stage: stage.to_owned(),
            looked_up: looked_up.map(str::to_owned),
            found: found.map(str::to_owned),
            bytes: bytes.to_owned(),
        };
        let frame = Frame {
            made_by: None,
            packet: "udp".to_owned(),
            bytes: "4501".to_owned(),
            steps: vec![
                step("parse", Some("4 bytes"), Some("udp"), "4501"),
                step("decap", None, None, "4501"),
                step("ttl", Some("ttl 1"), None, "4502"),
            ],
            outcome: Outcome::Dropped { reason: "ttl.expired".into(), text: "it ran out".into() },
        };
        let made = Frame {
            made_by: Some("ttl".to_owned()),
            packet: "icmp".to_owned(),
            steps: Vec::new(),
            outcome: Outcome::Sent { port: "a1".into(), packet: "icmp".into() },
            ..frame.clone()
        };
        let report = Report { port: "a1".to_owned(), generation: 1, frames: vec![frame, made] };
        let expected = "\
udp by port a1
  parse      4 bytes
               udp
  decap      -
  ttl        ttl 1
  => dropped: ttl.expired: it ran out

icmp made by ttl
  => sent by port a1: icmp";
        assert_eq!(tell(&report, false), expected);
        let with_bytes = tell(&report, true);
        assert_eq!(with_bytes.matches("\n             45 01").count(), 2, "{with_bytes}");
        assert_eq!(with_bytes.matches("\n             45 02").count(), 1, "{with_bytes}");
    }
}
