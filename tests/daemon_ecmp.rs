//! Several next hops for a prefix: flows are spread over them, and only those of one that goes move. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::Routes;
use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::flows::landing;
use daemon_support::two::{Two, finish};

const SERVICE: &str = "10.9.100.1";
const FLOWS: u16 = 60;

/// A node of the kernel's own that has the service, as peers b and c of a do.
fn serve(node: &Space, local: &str, remote: &str, mac: &str) {
    node.ip(&format!(
        "link add vx type vxlan id 7 dstport 4789 local {local} remote {remote} nolearning"
    ));
    node.ip(&format!("link set vx address {mac} up"));
    node.ip(&format!("address add {SERVICE}/32 dev vx"));
    node.ip("route add 10.9.1.0/24 dev vx");
}

/// Which next hops of the service's route take packets.
fn up(a: &Daemon) -> Vec<bool> {
    let routes: Routes = a.get("/v1/show/routes");
    let route =
        routes.routes.iter().find(|route| route.prefix.to_string() == format!("{SERVICE}/32"));
    let route = route.unwrap();
    assert_eq!(route.kind, "any");
    route.any.iter().map(|next_hop| next_hop.is_up).collect()
}

#[test]
fn flows_stay_with_their_peer_while_it_is_there() {
    let two = Two::new();
    let c = Space::new("c");
    two.plug(&c, "c", 1);
    c.ip("address add 192.168.71.3/24 dev eth1");
    serve(&two.b, "192.168.70.2", "192.168.70.1", "02:00:00:00:00:0b");
    serve(&c, "192.168.71.3", "192.168.71.1", "02:00:00:00:00:0c");
    // A next hop that does not answer is noticed within seconds.
    two.a.exec("sysctl -q -w net.ipv4.neigh.eth1.base_reachable_time_ms=1000");
    two.a.exec("sysctl -q -w net.ipv4.neigh.eth1.delay_first_probe_time=1");
    two.a.exec("sysctl -q -w net.ipv4.neigh.eth1.interval_probe_time_ms=1000");
    let config = two.config("a", "eth0 eth1", "192.168.70.2")
        + "vtep-mac = '02:00:00:00:00:0b'\n\
           [[peer]]\nname = 'c'\naddress = '192.168.71.3'\ntunnel = 'vxlan'\n\
           subnets = ['10.9.3.0/24']\nvtep-mac = '02:00:00:00:00:0c'\n\
           [[route]]\nprefix = '10.9.100.1/32'\nvia = [{ peer = 'b' }, { peer = 'c' }]\n";
    let mut a = Daemon::new(&two.a, &config);
    a.start(&two.a);
    wait_for("both peers to answer", || up(&a) == [true, true]);
    let landed = || landing(&two.a1, &[&two.b, &c], SERVICE, FLOWS);
    let (b_has, c_has) = (Some(0), Some(1));
    let before = landed();
    for has in [b_has, c_has] {
        let share = before.iter().filter(|reached| **reached == has).count();
        assert!((15..=45).contains(&share), "{share} of {FLOWS}: {before:?}");
    }
    assert_eq!(landed(), before, "a flow keeps its way");

    // The peer is silent: nothing on this node says so but that it does not answer.
    c.ip("link set eth1 down");
    wait_for("the silent peer to be left out", || up(&a) == [true, false]);
    assert_eq!(landed(), vec![b_has; FLOWS.into()], "those that were b's are still");
    c.ip("link set eth1 up");
    wait_for("the peer to be back", || up(&a) == [true, true]);
    assert_eq!(landed(), before, "everybody has their flows again");

    // The device that leads to it is gone.
    two.a.ip("link delete eth1");
    wait_for("the peer without a device to be left out", || up(&a) == [true, false]);
    assert_eq!(landed(), vec![b_has; FLOWS.into()]);

    // By command: a peer that routes need is not deleted, a route may be changed.
    a.must_not("del peer c");
    a.must("add route 10.9.100.1/32 --peer c --peer b --port a1");
    wait_for("a third next hop", || up(&a) == [false, true, true]);
    a.must("add route 10.9.100.1/32 --peer b");
    assert_eq!(landed(), vec![b_has; FLOWS.into()]);
    println!("{}", a.show("drops"));
    finish([&mut a]);
}
