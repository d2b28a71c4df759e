//! What waits for a MAC keeps its place among what follows.

use crate::testing::{A1, A1_MAC, A2, TUN, VETH, World};
use crate::frame::Frame;
use etherparse::PacketBuilder;

/// A datagram from pod a2 to a1; the source port numbers it.
fn numbered(world: &mut World, n: u16) -> Frame {
    let mut bytes = Vec::new();
    let packet = PacketBuilder::ipv4(A2.octets(), A1.octets(), 64).udp(n, 9);
    packet.write(&mut bytes, b"in order").expect("a vector takes all");
    world.frame(TUN, &bytes)
}

/// The numbers of what is sent to pod a1.
fn numbers(sent: Vec<(crate::snapshot::PortId, Frame)>, world: &mut World) -> Vec<u16> {
    let sent = world.bytes(sent).into_iter();
    // An ARP request is shorter.
    let to_a1 = sent.filter(|(port, bytes)| *port == VETH && bytes[12..14] == [8, 0]);
    to_a1.map(|(_, bytes)| u16::from_be_bytes([bytes[34], bytes[35]])).collect()
}

#[test]
fn nothing_overtakes_what_waited() {
    let mut world = World::default();
    world.snapshot.neighbours[0].clear();
    for n in 0..3 {
        let frame = numbered(&mut world, n);
        let sent = world.run([frame]);
        assert!(numbers(sent, &mut world).is_empty());
    }
    // Another worker has heard of the station; this one has not ticked yet.
    world.snapshot.neighbours[0].learn(A1_MAC, world.now);
    let batch = [3, 4, 5].map(|n| numbered(&mut world, n));
    let sent = world.run(batch);
    assert_eq!(numbers(sent, &mut world), [0, 1, 2, 3, 4, 5]);
    let frame = numbered(&mut world, 6);
    let sent = world.run([frame]);
    assert_eq!(numbers(sent, &mut world), [6]);
    world.check_laws();
}
