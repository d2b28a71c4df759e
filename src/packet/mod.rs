//! Packets in words, for people: `tcp 10.244.1.2:40000 > 10.244.2.2:80 syn ttl 64 len 40`.

mod names;
mod tell;

pub use tell::{tell_frame, tell_packet};

/// TCP's flags in the order of their bits.
const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
