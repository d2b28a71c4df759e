//! A line as a packet. What is wrong with a line is shown where it is wrong.

use super::{FLAGS, Packet, names};
use encap::wire::protocol;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    line: String,
    at: Range<usize>,
    expected: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.line.get(..self.at.start).map_or(0, |before| before.chars().count());
        let within = self.line.get(self.at.clone()).map_or(0, |within| within.chars().count());
        writeln!(f, "{}", self.line)?;
        write!(f, "{:before$}{} expected {}", "", "^".repeat(within.max(1)), self.expected)
    }
}

impl std::error::Error for Mistake {}

/// A word and where it stands.
type Word<'a> = (&'a str, Range<usize>);

/// The words of a line that are not read yet.
struct Words<'a> {
    line: &'a str,
    rest: std::iter::Peekable<std::vec::IntoIter<Word<'a>>>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Words<'a> {
        let words = line.split_whitespace().map(|word| {
            // A word is a part of the line, so the distance of their starts is where it stands.
            let start = word.as_ptr() as usize - line.as_ptr() as usize;
            (word, start..start + word.len())
        });
        Words { line, rest: words.collect::<Vec<_>>().into_iter().peekable() }
    }

    fn next(&mut self, expected: &str) -> Result<Word<'a>, Mistake> {
        let end = self.line.len();
        self.rest.next().ok_or_else(|| self.mistake(end..end, expected))
    }

    fn number<T: FromStr>(&mut self, expected: &str) -> Result<T, Mistake> {
        let (word, at) = self.next(expected)?;
        word.parse().map_err(|_| self.mistake(at, expected))
    }

    fn mistake(&self, at: Range<usize>, expected: impl Into<String>) -> Mistake {
        Mistake { line: self.line.to_owned(), at, expected: expected.into() }
    }
}

impl FromStr for Packet {
    type Err = Mistake;

    fn from_str(line: &str) -> Result<Packet, Mistake> {
        let mut words = Words::new(line);
        let protocol = names::PROTOCOL;
        let (word, at) = words.next(protocol)?;
        let number = names::protocol_number(word).ok_or_else(|| words.mistake(at, protocol))?;
        let (src, src_port) = end(&mut words, number, false)?;
        let (arrow, at) = words.next("`>` and the destination")?;
        if arrow != ">" {
            return Err(words.mistake(at, "`>` between source and destination"));
        }
        let to = words.rest.peek().map(|(_, at)| at.clone());
        let (dst, dst_port) = end(&mut words, number, true)?;
        if src.is_ipv4() != dst.is_ipv4() {
            let family = if src.is_ipv4() { "an IPv4 address" } else { "an IPv6 address" };
            let message = format!("{family}, as the source is one");
            return Err(words.mistake(to.unwrap_or_default(), message));
        }
        let mut packet = Packet::new(number, src, dst);
        packet.ports = [src_port, dst_port];
        options(&mut packet, &mut words)?;
        Ok(packet)
    }
}

/// `ADDRESS` or `ADDRESS:PORT`; the source's port may be left out.
fn end(words: &mut Words<'_>, number: u8, is_dst: bool) -> Result<(IpAddr, u16), Mistake> {
    let has_ports = super::has_ports(number);
    let expected = match (has_ports, is_dst) {
        (true, true) => "an address and a port, as `10.0.0.1:80` or `[fd00::1]:80`",
        (true, false) => "an address and maybe a port, as `10.0.0.1:40000` or `[fd00::1]:40000`",
        (false, _) => "an address without a port: the protocol has none",
    };
    let (word, at) = words.next(expected)?;
    if let (true, Ok(end)) = (has_ports, word.parse::<SocketAddr>()) {
        return Ok((end.ip(), end.port()));
    }
    match word.parse() {
        Ok(address) if !has_ports => Ok((address, 0)),
        Ok(address) if !is_dst => Ok((address, super::SOURCE_PORT)),
        _ => Err(words.mistake(at, expected)),
    }
}

/// What follows the addresses, in any order.
fn options(packet: &mut Packet, words: &mut Words<'_>) -> Result<(), Mistake> {
    let (mut flags, mut message) = (None, None);
    while let Some((word, at)) = words.rest.next() {
        let flag = FLAGS.iter().position(|flag| *flag == word);
        let known = names::message_number(packet.src.is_ipv6(), word);
        match (word, flag, known) {
            ("ttl", ..) => packet.ttl = words.number("a time to live, 0 to 255")?,
            ("len", ..) => {
                let place = words.rest.peek().map(|(_, at)| at.clone());
                packet.len = words.number("the packet's length in bytes")?;
                let least = packet.least();
                if packet.len < least {
                    let message = format!("at least {least} bytes, what its headers have");
                    return Err(words.mistake(place.unwrap_or(at), message));
                }
            }
            ("df", ..) if packet.src.is_ipv4() => packet.dont_fragment = true,
            (_, Some(flag), _) if packet.protocol == protocol::TCP => {
                flags = Some(flags.unwrap_or_default() | 1 << flag);
            }
            (_, _, Some(known)) if packet.is_icmp() && message.is_none() => message = Some(known),
            _ => return Err(words.mistake(at, expected(packet))),
        }
    }
    packet.flags = flags.unwrap_or(packet.flags);
    packet.message = message.unwrap_or(packet.message);
    Ok(())
}

/// What may stand behind the addresses.
fn expected(packet: &Packet) -> String {
    let own = match packet.protocol {
        protocol::TCP => format!("{}, ", FLAGS.join(", ")),
        _ if packet.is_icmp() => {
            "one message: echo-request, echo-reply, … or TYPE/CODE, ".to_owned()
        }
        _ => String::new(),
    };
    let df = if packet.src.is_ipv4() { ", df" } else { "" };
    format!("{own}ttl N, len N{df}")
}
