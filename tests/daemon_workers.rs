//! Two nodes with two workers each: flows are spread over them and keep their order. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{Drops, Flows, Ports, Workers};
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::{Space, flows, stream};

/// Kinds of the pods of a node, which have the addresses from 2 on.
const KINDS: [&str; 3] = ["tun", "af_xdp", "af_xdp"];

/// Two nodes joined by a veth pair.
struct Nodes {
    nodes: [Space; 2],
    pods: [Vec<Space>; 2],
}

impl Nodes {
    /// Both ends of the wire have so many queues.
    fn new(queues: u32) -> Nodes {
        let nodes = ["a", "b"].map(Space::new);
        let pods = ["a", "b"]
            .map(|node| (2..).zip(KINDS).map(|(i, _)| Space::new(&format!("{node}{i}"))).collect());
        let many = format!("numrxqueues {queues} numtxqueues {queues}");
        let peer = format!("type veth peer name eth0 netns {} {many}", nodes[1].name);
        nodes[0].ip(&format!("link add eth0 {many} {peer}"));
        for (node, number) in nodes.iter().zip(1..) {
            node.ip(&format!("address add 192.168.78.{number}/24 dev eth0"));
            node.ip("link set eth0 up");
        }
        Nodes { nodes, pods }
    }

    fn start(&self) -> [Daemon; 2] {
        [0, 1].map(|i| {
            let mut daemon = Daemon::new(&self.nodes[i], &self.config(i));
            daemon.start(&self.nodes[i]);
            daemon
        })
    }

    fn config(&self, node: usize) -> String {
        let (n, m) = (node + 1, 2 - node);
        let mut text = format!(
            r#"[node]
name = "n{n}"
[workers]
cores = [0, 1]
[memory]
huge-pages = false
[[uplink]]
device = "eth0"
[[tunnel.vxlan]]
vni = 7
[gateway]
addresses = ["10.9.{n}.1"]
[[peer]]
name = "n{m}"
address = "192.168.78.{m}"
tunnel = "vxlan"
subnets = ["10.9.{m}.0/24"]
"#
        );
        for ((i, kind), pod) in (2..).zip(KINDS).zip(&self.pods[node]) {
            text += &format!(
                "[[port]]\nname = \"p{i}\"\nkind = \"{kind}\"\nnetns = \"{}\"\ndevice = \"eth0\"\n\
                 addresses = [\"10.9.{n}.{i}/24\"]\n",
                pod.name
            );
        }
        text
    }
}

/// Traffic between all pods of both nodes, one pair after the other, and all at once by TCP.
fn talk(nodes: &Nodes) {
    for (i, from) in nodes.pods[0].iter().enumerate() {
        for (j, to) in nodes.pods[1].iter().enumerate() {
            let address = format!("10.9.2.{}", j + 2);
            // While a pod's kernel asks for a MAC, what it sends can overtake what waits for that.
            wait_for("a datagram", || flows::send(from, to, &address, 1, 1).flows == 1);
            let arrived = flows::send(from, to, &address, 8, 1000);
            println!("{} to {}: {arrived:?}", KINDS[i], KINDS[j]);
            assert_eq!((arrived.flows, arrived.late), (8, 0), "{arrived:?}");
            assert!(arrived.datagrams > 4000, "{arrived:?}");
        }
    }
    std::thread::scope(|scope| {
        for (i, from) in nodes.pods[0].iter().enumerate() {
            let j = (i + 1) % KINDS.len();
            let to = &nodes.pods[1][j];
            scope.spawn(move || stream::carry(from, to, &format!("10.9.2.{}", j + 2), 4_000_000));
        }
    });
}

/// What the workers of a node did together, once all of it adds up.
fn share(daemon: &Daemon) -> (Workers, Ports) {
    wait_for("frames to add up", || {
        let drops: Drops = daemon.get("/v1/show/drops");
        drops.conservation.balanced && drops.conservation.held == 0
    });
    let workers: Workers = daemon.get("/v1/show/workers");
    println!("{}\n{}", daemon.show("workers"), daemon.show("ports"));
    assert_eq!(workers.workers.iter().map(|worker| worker.core).collect::<Vec<_>>(), [0, 1]);
    assert!(workers.workers.iter().all(|worker| worker.running && worker.received > 1000));
    let sum = |f: fn(&cableway::control::report::Worker) -> u64| -> u64 {
        workers.workers.iter().map(f).sum()
    };
    assert_eq!(sum(|worker| worker.handed_over), sum(|worker| worker.taken_over));
    (workers, daemon.get("/v1/show/ports"))
}

/// Every chunk is somewhere. The counts are a second old, so this takes its time.
fn no_chunk_is_lost(daemon: &Daemon) {
    wait_for("chunks to add up", || {
        let memory = daemon.get::<Workers>("/v1/show/workers").memory;
        let known = memory.unclaimed as u64 + memory.pooled + memory.with_ports;
        known == u64::from(memory.chunks)
    });
}

#[test]
fn flows_over_two_queues() {
    let nodes = Nodes::new(2);
    let daemons = nodes.start();
    talk(&nodes);
    for (daemon, other) in daemons.iter().zip([1, 0]) {
        let (workers, ports) = share(daemon);
        let queues = |i: usize| ports.ports[i].queues.iter();
        let cores = |i: usize| queues(i).map(|queue| queue.core).collect::<Vec<_>>();
        // Uplink, TUN, and two veths, each of which has one queue.
        assert_eq!([0, 1, 2, 3].map(cores), [vec![0, 1], vec![0, 1], vec![0], vec![1]]);
        assert!(queues(0).all(|queue| queue.rx_frames > 0 && queue.tx_frames > 0));
        // What came for one veth by the other's core was handed over, on the second node at least.
        let handed = workers.workers.iter().all(|worker| worker.handed_over > 0);
        assert!(handed || other == 1, "{workers:?}");
        no_chunk_is_lost(daemon);
    }
    for mut daemon in daemons {
        assert!(daemon.end("TERM").status.success());
    }
}

/// Pods that may begin nothing but what the test sends, and answer: whichever worker sees the answer.
#[test]
fn answers_pass_policies_by_whichever_worker_they_come() {
    let nodes = Nodes::new(2);
    let policy = |direction: &str| {
        format!(
            "{direction} = [{{ ports = [{{ protocol = \"tcp\" }}, {{ protocol = \"udp\" }}] }}]\n"
        )
    };
    let daemons = [("egress", "ingress"), ("ingress", "egress")];
    let daemons = [0, 1].map(|i| {
        let (some, none) = daemons[i];
        let head = "[[policy]]\nname = \"pods\"\napplies-to = [{ labels = \"\" }]\n";
        let config = format!("{}{head}{}{none} = []\n", nodes.config(i), policy(some));
        let mut daemon = Daemon::new(&nodes.nodes[i], &config);
        daemon.start(&nodes.nodes[i]);
        daemon
    });
    talk(&nodes);
    for daemon in &daemons {
        share(daemon);
        let drops: Drops = daemon.get("/v1/show/drops");
        let policies = drops.drops.iter().filter(|drop| drop.reason.starts_with("acl."));
        assert_eq!(policies.map(|drop| drop.count).sum::<u64>(), 0, "{}", daemon.show("drops"));
        let flows: Flows = daemon.get("/v1/show/flows?limit=0");
        assert!(flows.table.made > 0 && flows.table.live > 0, "{flows:?}");
        no_chunk_is_lost(daemon);
    }
    // Who may begin nothing does not.
    assert!(!nodes.pods[1][0].pings("10.9.1.2"));
    for mut daemon in daemons {
        assert!(daemon.end("TERM").status.success());
    }
}

#[test]
fn fewer_queues_than_workers() {
    let nodes = Nodes::new(1);
    let daemons = nodes.start();
    talk(&nodes);
    for daemon in &daemons {
        let (workers, ports) = share(daemon);
        let uplink = &ports.ports[0].queues;
        assert_eq!((uplink.len(), uplink[0].core), (1, 0));
        assert!(workers.workers[1].handed_over > 0 && uplink[0].taken_over > 0, "{workers:?}");
        no_chunk_is_lost(daemon);
    }
    for mut daemon in daemons {
        assert!(daemon.end("TERM").status.success());
    }
}
