//! Reads bytes as everything they could be; tests and fuzzing share it.

use encap::wire::ndp::Message;
use encap::wire::{arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, tcp, udp};
use std::net::Ipv6Addr;

/// Makes every view of `bytes` that can be made, and calls all that can be called.
pub(crate) fn read_everything(bytes: &[u8]) {
    let (a, b) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
    if let Ok(v) = ethernet::View::new(bytes) {
        assert_eq!(v.header_len() + v.payload().len(), bytes.len());
        assert_eq!(v.tags().count() * ethernet::TAG_LEN + ethernet::LEN, v.header_len());
        assert_eq!(v.tag().map(|t| t.vlan()), v.tags().next().map(|t| t.tci & 0xfff));
        let _ = (v.src(), v.dst(), v.ethertype());
    }
    if let Ok(v) = arp::View::new(bytes) {
        let _ = (v.operation(), v.sender_mac(), v.sender_ip(), v.target_mac(), v.target_ip());
    }
    for len in [bytes.len(), usize::MAX] {
        if let Ok(v) = ipv4::View::of_head(bytes, len) {
            assert!(usize::from(v.total_len()) >= v.header_len() && v.payload().len() < 65_536);
            let _ = (v.options().count(), v.is_source_routed(), v.verify());
            let _ = (v.tos(), v.ident(), v.dont_fragment(), v.is_fragment(), v.ttl());
            let _ = (v.fragment_offset(), v.more_fragments(), v.protocol(), v.src(), v.dst());
        }
        if let Ok(v) = ipv6::View::of_head(bytes, len) {
            if let Ok(upper) = v.upper_layer() {
                assert!(upper.offset <= bytes.len());
            }
            assert_eq!(v.total_len(), ipv6::LEN + usize::from(v.payload_len()));
            let _ = (v.traffic_class(), v.flow_label(), v.hop_limit(), v.src(), v.dst());
        }
        if let Ok(v) = udp::View::of_head(bytes, len) {
            assert!(v.payload().len() + udp::LEN <= usize::from(v.length()));
            let _ = (v.verify_v6(a, b), v.verify_v4([1; 4].into(), [2; 4].into()));
        }
    }
    if let Ok(v) = tcp::View::new(bytes) {
        assert_eq!(tcp::LEN + v.options().len() + v.payload().len(), bytes.len());
        let _ = (v.verify_v6(a, b), v.verify_v4([1; 4].into(), [2; 4].into()), v.reserved());
    }
    if let Ok(v) = icmpv4::View::new(bytes) {
        let _ = (v.verify(), v.is_error(), v.kind(), v.code(), v.rest(), v.payload());
    }
    if let Ok(v) = icmpv6::View::new(bytes) {
        let _ = (v.verify(a, b), v.is_error(), v.kind(), v.code(), v.rest(), v.payload());
    }
    let _ = (Message::parse(bytes), ipv6::upper_layer(bytes));
    let _ = (ethernet::Header::parse(bytes), arp::Header::parse(bytes), udp::Header::parse(bytes));
    let _ = (ipv4::Header::parse(bytes), ipv6::Header::parse(bytes), tcp::Header::parse(bytes));
    let _ = (icmpv4::Header::parse(bytes), icmpv6::Header::parse(bytes, a, b));
}
