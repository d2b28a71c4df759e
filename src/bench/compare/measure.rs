//! What is measured, in words.

/// A measure.
#[derive(Debug, PartialEq, Eq)]
pub struct Measure {
    /// Its id: in JSON, and on the command line.
    pub id: &'static str,
    /// Of its values.
    pub unit: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// What it is.
    pub title: &'static str,
    /// How it is measured, and what it tells.
    pub about: &'static str,
}

macro_rules! measures {
    ($($id:ident [$unit:literal, $better:ident] $title:literal: $about:literal;)*) => {
        /// All measures, in the order in which they are taken and shown.
        pub const MEASURES: &[Measure] = &[$(Measure {
            id: stringify!($id),
            unit: $unit,
            higher_is_better: measures!($better),
            title: $title,
            about: $about,
        }),*];
    };
    (more) => { true };
    (less) => { false };
}

measures! {
    udp60_encap_pps ["packets/s", more] "Small packets out, overloaded":
        "60-byte UDP of 64 flows, as much as the sender can make, from a pod to the wire: what still \
         gets through when more arrives than can be done.";
    udp60_encap_gentle_pps ["packets/s", more] "Small packets out, one plain sender":
        "60-byte UDP of one flow by an ordinary packet socket, which is often the limit itself.";
    udp60_decap_pps ["packets/s", more] "Small packets in, overloaded":
        "Tunnel packets of 64 flows with 60-byte UDP within, from the wire to a pod.";
    udp60_path_pps ["packets/s", more] "Small packets, pod to pod, overloaded":
        "60-byte UDP of 64 flows through both nodes, which share this machine's cores.";
    cpu_ns_per_packet ["ns", less] "CPU time a packet":
        "Of the whole machine but the sender's program, pod to the wire, at a rate that all \
         contenders carry.";
    tcp1_super ["Gbit/s", more] "TCP, one stream, super-frames":
        "iperf3 from pod to pod over a plain veth, which carries 64 KiB frames by reference: the \
         kernel's best case, that no wire has.";
    tcp1_wire ["Gbit/s", more] "TCP, one stream, wire":
        "iperf3 with segmentation off on the underlay, which carries frames of its MTU only, as a real \
         wire does.";
    tcp4_super ["Gbit/s", more] "TCP, four streams, super-frames":
        "iperf3, four streams at once over a plain veth.";
    tcp4_wire ["Gbit/s", more] "TCP, four streams, wire":
        "iperf3, four streams at once, frames of the MTU only.";
    rr_p50_poll ["µs", less] "Round trip, median, polling":
        "64 bytes there and back over TCP, one at a time, while workers never sleep.";
    rr_p50_adaptive ["µs", less] "Round trip, median, adaptive":
        "64 bytes there and back, with workers that sleep when there is nothing to do: what a quiet \
         node has.";
    rr_p99_poll ["µs", less] "Round trip, 99th percentile, polling":
        "What one in a hundred takes at least.";
}

/// The measure of that id.
pub fn find(id: &str) -> Option<&'static Measure> {
    MEASURES.iter().find(|measure| measure.id == id)
}
