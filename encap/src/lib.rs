//! Bytes: wire formats and tunnels.
//!
//! Everything here is a function of its arguments: no I/O, no clock, no allocation per packet.
//! Two kinds of thing live in it:
//!
//! * [`wire`] — *views* (checked bytes) and *headers* (validated values) of the protocols;
//! * the tunnels — one folder each, listed once, below. The list makes [`Kind`], [`Configs`],
//!   [`Tunnel`] and [`Encap`]; configuration, demultiplexing, the laws that every tunnel is tested
//!   against, fuzzing and benches all iterate it.
#![forbid(unsafe_code)]

#[macro_use]
mod list;
mod outer;
pub mod tos;
pub mod tunnel;
#[cfg(test)]
mod vectors;
mod vni;
pub mod wire;

pub use tunnel::{Ends, Family, Inner, PopError, Popped, Steer, Strip};

// A new tunnel is a folder beside this file and a line here.
tunnels! {
    vxlan => Vxlan,
    ipip => Ipip,
    udp => Udp,
    geneve => Geneve,
}
