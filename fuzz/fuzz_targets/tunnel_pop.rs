//! Every listed tunnel takes any bytes apart: as what stands behind the outer headers, and as
//! a whole outer packet; and gets back what it was given to carry.
#![no_main]

#[path = "../../encap/tests/common/outer.rs"]
mod outer;
#[path = "../../encap/tests/common/read.rs"]
mod read;

use encap::wire::{Mac, ethernet};
use encap::{Configs, Ends, Family, Inner, Steer, Strip, Tunnel};
use std::sync::LazyLock;

static TUNNELS: LazyLock<Vec<Tunnel>> =
    LazyLock::new(|| Configs::samples().tunnels().map(|(_, tunnel)| tunnel).collect());

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for tunnel in TUNNELS.iter() {
        let steers = tunnel.steers();
        for by in &steers {
            pop(tunnel, *by, bytes);
        }
        if let Some((by, payload)) = outer::steered(&steers, bytes) {
            pop(tunnel, by, payload);
        }
        for ends in ends() {
            carry(tunnel, &ends, bytes);
        }
    }
});

/// Reads on as the pipeline would.
fn pop<'a>(tunnel: &Tunnel, by: Steer, payload: &'a [u8]) -> Option<&'a [u8]> {
    let popped = tunnel.pop(by, payload).ok()?;
    let rest = &payload[popped.header_len..];
    let packet = match popped.strip {
        Strip::Ethernet => ethernet::View::new(rest).ok()?.payload(),
        Strip::Ip(_) => rest,
    };
    read::read_everything(packet);
    Some(packet)
}

/// `packet` comes out as it went in.
fn carry(tunnel: &Tunnel, ends: &Ends, packet: &[u8]) {
    let Some(family) = Family::of_packet(packet) else { return };
    let encap = tunnel.encap(ends);
    let tos = packet[packet.len() / 2];
    let inner = Inner { family, len: packet.len(), tos, flow_hash: u32::from(tos) << 18 };
    let mut outer = vec![0; encap.overhead()];
    encap.push(&mut outer, &inner);
    outer.extend_from_slice(packet);
    if outer.len() < 1 << 16 {
        let steered = outer::steered(&tunnel.steers(), &outer);
        let (by, payload) = steered.expect("the packet is the tunnel's");
        assert_eq!(pop(tunnel, by, payload), Some(packet));
    }
}

/// A pair of ends over each family.
fn ends() -> [Ends; 2] {
    let v4 = Ends {
        local: [192, 168, 77, 1].into(),
        remote: [192, 168, 77, 2].into(),
        local_mac: Mac::derive("a"),
        remote_mac: Mac::derive("b"),
    };
    let [local, remote] = [1, 2].map(|n| [0x2001, 0xdb8, 0x77, 0, 0, 0, 0, n].into());
    [v4, Ends { local, remote, ..v4 }]
}
