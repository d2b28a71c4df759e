//! The netlink module against the real kernel, in namespaces of the test's own. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::netlink::{Change, Netlink, Table, Veth, VethEnd, Via};
use daemon_support::Space;
use encap::wire::Mac;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

const NEAR: Mac = Mac([2, 0, 0, 0, 0, 1]);
const FAR: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// A pair of namespaces joined by `near0` and `far0`, and a connection to each.
async fn joined() -> (Space, Space, Netlink, Netlink) {
    let (near, far) = (Space::new("near"), Space::new("far"));
    let here = Netlink::connect(Some(&near.path())).unwrap();
    let there = Netlink::connect(Some(&far.path())).unwrap();
    let file = File::open(far.path()).unwrap();
    here.add_veth(&Veth {
        near: VethEnd { name: "near0", mac: Some(NEAR) },
        far: VethEnd { name: "far0", mac: Some(FAR) },
        netns: Some(file.as_fd()),
        mtu: 1430,
        alias: "cableway:test:near0",
    })
    .await
    .unwrap();
    let up = Change { up: Some(true), ..Change::default() };
    here.change_link("near0", &up).await.unwrap();
    there.change_link("far0", &up).await.unwrap();
    (near, far, here, there)
}

#[tokio::test]
async fn a_veth_pair_is_made_in_two_namespaces_and_removed() {
    let (_near, _far, here, there) = joined().await;
    let near0 = here.link("near0").await.unwrap().unwrap();
    assert_eq!(near0.mac, Some(NEAR));
    assert_eq!(near0.mtu, 1430);
    assert_eq!(near0.kind.as_deref(), Some("veth"));
    assert_eq!(near0.alias.as_deref(), Some("cableway:test:near0"));
    assert!(near0.up);
    let far0 = there.link("far0").await.unwrap().unwrap();
    assert_eq!((far0.mac, far0.mtu), (Some(FAR), 1430));
    assert_eq!(there.link_name(far0.index).await.unwrap().as_deref(), Some("far0"));
    here.delete_link(near0.index).await.unwrap();
    assert_eq!(there.link("far0").await.unwrap(), None);
    here.delete_link(near0.index).await.expect("what is gone is no error");
}

#[tokio::test]
async fn a_link_is_renamed_and_changed() {
    let (_near, _far, here, _there) = joined().await;
    let down = Change { up: Some(false), ..Change::default() };
    here.change_link("near0", &down).await.unwrap();
    let change = Change {
        name: Some("other0".to_owned()),
        mtu: Some(1300),
        mac: Some(Mac([2, 0, 0, 0, 0, 9])),
        ..Change::default()
    };
    here.change_link("near0", &change).await.unwrap();
    let link = here.link("other0").await.unwrap().unwrap();
    assert_eq!((link.mtu, link.mac), (1300, Some(Mac([2, 0, 0, 0, 0, 9]))));
    assert_eq!(here.link("near0").await.unwrap(), None);
}

#[tokio::test]
async fn addresses_are_good_at_once() {
    let (_near, far, _here, there) = joined().await;
    let index = there.link("far0").await.unwrap().unwrap().index;
    for address in ["10.9.0.2/24", "fd00:9::2/64"] {
        there.add_address(index, address.parse().unwrap()).await.unwrap();
    }
    let addresses = there.addresses(index).await.unwrap();
    assert!(addresses.contains(&"10.9.0.2/24".parse().unwrap()), "{addresses:?}");
    assert!(addresses.contains(&"fd00:9::2/64".parse().unwrap()), "{addresses:?}");
    assert!(!far.ip("-6 address show dev far0 to fd00:9::2").contains("tentative"));
}

#[tokio::test]
async fn routes_are_added_and_looked_up() {
    let (_near, far, _here, there) = joined().await;
    let index = there.link("far0").await.unwrap().unwrap().index;
    there.add_address(index, "10.9.0.2/32".parse().unwrap()).await.unwrap();
    there.add_address(index, "fd00:9::2/128".parse().unwrap()).await.unwrap();
    let gateway4 = Via::Onlink("169.254.1.1".parse().unwrap());
    let gateway6 = Via::Onlink("fe80::1".parse().unwrap());
    let source = Some("10.9.0.2".parse().unwrap());
    there.add_route(index, "0.0.0.0/0".parse().unwrap(), gateway4, source).await.unwrap();
    there.add_route(index, "::/0".parse().unwrap(), gateway6, None).await.unwrap();
    there.add_route(index, "10.77.0.0/16".parse().unwrap(), Via::Device, None).await.unwrap();

    let route = there.route_to("192.0.2.1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(route.link, index);
    assert_eq!(route.gateway, Some("169.254.1.1".parse().unwrap()));
    assert_eq!(route.source, source);
    assert!(!route.local);
    let route = there.route_to("2001:db8::1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(route.gateway, Some("fe80::1".parse().unwrap()));
    let route = there.route_to("10.77.1.1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(route.gateway, None);
    assert!(there.route_to("10.9.0.2".parse().unwrap()).await.unwrap().unwrap().local);
    far.ip("route add unreachable 10.88.0.0/16");
    assert_eq!(there.route_to("10.88.0.1".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn no_route_is_an_answer_and_no_error() {
    let space = Space::new("empty");
    let netlink = Netlink::connect(Some(&space.path())).unwrap();
    assert_eq!(netlink.route_to("192.0.2.1".parse().unwrap()).await.unwrap(), None);
    assert_eq!(netlink.route_to("2001:db8::1".parse().unwrap()).await.unwrap(), None);
    assert_eq!(netlink.link("none0").await.unwrap(), None);
}

#[tokio::test]
async fn the_kernel_is_made_to_resolve_a_neighbour_and_to_keep_it() {
    let (near, _far, here, there) = joined().await;
    let near0 = here.link("near0").await.unwrap().unwrap().index;
    let far0 = there.link("far0").await.unwrap().unwrap().index;
    here.add_address(near0, "10.9.0.1/24".parse().unwrap()).await.unwrap();
    there.add_address(far0, "10.9.0.2/24".parse().unwrap()).await.unwrap();
    let far = "10.9.0.2".parse().unwrap();
    here.manage_neighbour(near0, far).await.unwrap();
    let mut mac = None;
    for _ in 0..200 {
        let all = here.neighbours().await.unwrap();
        mac = all.iter().find(|n| n.address == far && n.link == near0).and_then(|n| n.mac);
        if mac.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(mac, Some(FAR));
    assert!(near.ip("neighbour show 10.9.0.2").contains("managed"));
    here.release_neighbour(near0, far).await.unwrap();
    assert!(!near.ip("neighbour show 10.9.0.2").contains("managed"));
}

#[tokio::test]
async fn a_burst_of_changes_is_told_once() {
    let (near, _far, here, _there) = joined().await;
    let near0 = here.link("near0").await.unwrap().unwrap().index;
    let mut events = here.subscribe(1 << 20).unwrap();
    here.add_address(near0, "10.9.0.1/24".parse().unwrap()).await.unwrap();
    near.ip("rule add to 10.1.0.0/16 lookup 99");
    near.ip("neighbour replace 10.9.0.2 lladdr 02:00:00:00:00:02 dev near0");
    let mut tables = std::collections::BTreeSet::new();
    let mut macs = Vec::new();
    let all = [Table::Addresses, Table::Rules, Table::Routes, Table::Neighbours];
    while !all.iter().all(|table| tables.contains(table)) || macs.is_empty() {
        let changes = events.next().await.unwrap();
        assert_eq!(changes.incomplete, None);
        tables.extend(changes.tables);
        let is_it = |n: &&_| {
            let n: &cableway::control::netlink::NeighbourFacts = n;
            n.link == near0 && n.address.to_string() == "10.9.0.2"
        };
        macs.extend(changes.neighbours.iter().filter(is_it).map(|n| n.mac));
    }
    assert_eq!(macs, [Some(FAR)]);
    near.ip("neighbour delete 10.9.0.2 dev near0");
    let mut last = Some(FAR);
    while last.is_some() {
        let changes = events.next().await.unwrap();
        last = changes.neighbours.last().map_or(last, |neighbour| neighbour.mac);
    }
}

#[tokio::test]
async fn what_the_kernel_could_not_tell_is_everything() {
    let (near, _far, here, _there) = joined().await;
    // The least that the kernel grants holds few events.
    let mut events = here.subscribe(1).unwrap();
    for third in 0..40 {
        near.ip(&format!("route add 10.77.{third}.0/24 dev near0"));
    }
    let changes = events.next().await.unwrap();
    assert_eq!(changes.tables.len(), 5, "{changes:?}");
    assert!(changes.incomplete.is_some());
    // And it goes on.
    near.ip("route delete 10.77.1.0/24 dev near0");
    let changes = events.next().await.unwrap();
    assert_eq!((changes.tables, changes.incomplete), ([Table::Routes].into(), None));
}

#[tokio::test]
async fn an_error_says_what_and_where() {
    let space = Space::new("errors");
    let netlink = Netlink::connect(Some(&space.path())).unwrap();
    let error = netlink.change_link("none0", &Change::default()).await.unwrap_err().to_string();
    assert!(error.contains("configuring device none0"), "{error}");
    assert!(error.contains(&space.name), "{error}");
}
