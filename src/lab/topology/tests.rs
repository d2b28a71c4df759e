#![allow(clippy::unwrap_used)]

use super::*;

/// Two nodes of one pod each, with something put into each place.
fn two(top: &str, a: &str, b: &str) -> String {
    format!(
        "{top}\n\
         [[node]]\n\
         name = \"a\"\n\
         underlay = [\"192.0.2.1/24\"]\n\
         subnets = [\"10.1.0.0/24\", \"fd00:1::/64\"]\n\
         pods = [\"a1\"]\n\
         {a}\n\
         [[node]]\n\
         name = \"b\"\n\
         underlay = [\"192.0.2.2/24\"]\n\
         subnets = [\"10.2.0.0/24\"]\n\
         {b}\n"
    )
}

fn parse(text: &str) -> Result<Topology, Error> {
    Topology::parse("lab.toml", text, &Overrides::default())
}

/// The text is refused at this place with these words.
#[track_caller]
fn refused(text: &str, place: &str, words: &str) {
    let error = parse(text).unwrap_err().to_string();
    assert!(error.starts_with(&format!("lab.toml:{place}: ")), "{error}");
    assert!(error.contains(words), "{error}");
}

#[test]
fn every_lab_of_ours_is_valid_with_every_family() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/lab");
    let mut read = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for family in [Family::V4, Family::V6] {
            let overrides = Overrides { family: Some(family), ..Overrides::default() };
            let topology = Topology::parse(path.to_str().unwrap(), &text, &overrides);
            assert_eq!(topology.unwrap_or_else(|e| panic!("{e}")).family, family);
        }
        read += 1;
    }
    assert!(read > 1);
}

#[test]
fn addresses_follow_from_the_subnets() {
    let topology = parse(&two("", "", "")).unwrap();
    let node = &topology.nodes[0];
    assert_eq!(node.netns, "cableway-a");
    assert_eq!(node.gateway.v4.unwrap().to_string(), "10.1.0.1");
    assert_eq!(node.gateway.v6.unwrap().to_string(), "fd00:1::1");
    assert_eq!(node.host.v4.unwrap().to_string(), "10.1.0.254");
    let pod = &node.pods[0];
    assert_eq!(pod.netns, "cableway-a1");
    assert_eq!(pod.addresses.v4.unwrap().to_string(), "10.1.0.2");
    assert_eq!(pod.addresses.v6.unwrap().to_string(), "fd00:1::2");
    assert_eq!(topology.nodes[1].gateway.v6, None);
}

#[test]
fn a_tunnel_takes_its_overhead_from_the_pods_mtu() {
    assert_eq!(parse(&two("", "", "")).unwrap().pod_mtu(), 1450);
    assert_eq!(parse(&two("[underlay]\nmtu = 9000\n", "", "")).unwrap().pod_mtu(), 8950);
}

#[test]
fn what_is_not_known_is_refused_where_it_stands() {
    refused(&two("speed = 1", "", ""), "1:1", "unknown field `speed`");
    refused(&two("[overlay]\nio = \"tin\"", "", ""), "2:6", "unknown variant `tin`");
    refused(&two("", "router = \"bird\"", ""), "7:10", "unknown variant `bird`");
    refused("[[node]]\nname = 1", "2:8", "expected a string");
}

#[test]
fn names_are_short_plain_and_given_once() {
    refused(&two("", "", "pods = [\"a1\"]"), "12:9", "\"a1\" is taken");
    refused(&two("", "", "pods = [\"wire\"]"), "12:9", "\"wire\" is taken");
    refused(&two("", "", "pods = [\"B1\"]"), "12:9", "lower-case");
    refused(&two("", "", "pods = [\"b-0123456789\"]"), "12:9", "1 to 10");
}

#[test]
fn addresses_must_make_sense_together() {
    let text = two("", "", "");
    refused(&text.replace("10.2.0.0/24", "10.1.0.128/25"), "11:12", "overlaps 10.1.0.0/24");
    refused(&text.replace("10.2.0.0/24", "10.2.0.1/24"), "11:12", "expected 10.2.0.0/24");
    refused(&text.replace("10.2.0.0/24", "10.2.0.0/30"), "11:12", "no room");
    refused(&text.replace("10.2.0.0/24\"", "10.2.0.0/24\", \"10.3.0.0/24\""), "11:27", "second");
    refused(&text.replace("192.0.2.2", "192.0.2.1"), "10:13", "is node \"a\"'s");
    refused(&two("[overlay]\nfamily = \"v6\"", "", ""), "4:8", "needs an underlay address");
}

#[test]
fn a_kernel_router_needs_the_tunnel_that_it_speaks() {
    let flannel = "router = { kernel-vxlan = \"flannel\" }";
    let calico = "router = { kernel-vxlan = \"calico\" }";
    assert!(parse(&two("", "", flannel)).is_ok());
    refused(&two("", "", calico), "12:10", "vni = 4096 and port = 4789");
    let tunnel = "[[tunnel.vxlan]]\nvni = 4096\nport = 4789";
    assert!(parse(&two(tunnel, "", calico)).is_ok());
    refused(&two(tunnel, "", flannel), "14:10", "vni = 1 and port = 8472");
}

#[test]
fn a_tunnel_is_one_that_there_is() {
    refused(&two("[overlay]\nencap = \"gre\"", "", ""), "1:1", "[[tunnel.gre]]");
    refused(&two("[[tunnel.gre]]\nname = \"x\"", "", ""), "1:3", "gre");
    refused(&two("[[tunnel.vxlan]]\nvni = 16777216", "", ""), "1:3", "16777216");
}

#[test]
fn an_underlay_must_fit_its_nodes() {
    refused(&two("[underlay]\nmtu = 1000", "", ""), "2:7", "found 1000");
    let third = "[[node]]\nname = \"c\"\nunderlay = [\"192.0.2.3/24\"]\nsubnets = []";
    refused(&two("[underlay]\nkind = \"veth\"", "", third), "2:8", "two nodes, found 3");
    refused("[[node]]\nname = \"a\"\nunderlay = []\nsubnets = []", "1:1", "found 1");
}
