//! Two workers and a hundred and ten pods, which come and go while others talk. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::config;
use cableway::control::workers::Workers;
use cableway::io::af_xdp::{AfXdp, AfXdpConfig, Attach, Umem};
use cableway::io::tun::{Kind, Tun, TunConfig};
use cableway::io::{Port, device, netns};
use daemon_support::Space;
use daemon_support::daemon::wait_for;
use daemon_support::stream::Stream;
use pipeline::frame::{Link, Memory};
use pipeline::snapshot::{Hop, NextHop, PortId, PortInfo, Role, Snapshot};
use pipeline::tables::Rib;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PODS: u16 = 110;

/// Workers with the little of a node that pods on TUN and veth need: tables, and devices.
struct Node {
    memory: &'static Memory,
    umem: Arc<Umem>,
    snapshot: Arc<arc_swap::ArcSwap<Snapshot>>,
    routes: Rib<Ipv4Addr>,
    workers: Arc<Workers>,
    here: Space,
}

fn address(pod: u16) -> Ipv4Addr {
    Ipv4Addr::from([10, 9, 0, 1 + pod as u8])
}

impl Node {
    fn new() -> Node {
        let memory = Memory::new(16384, false).unwrap();
        let snapshot = Arc::<arc_swap::ArcSwap<Snapshot>>::default();
        let cores = toml::from_str("cores = [0, 1]").unwrap();
        let cores: config::Workers = cores;
        let workers = Workers::start(&cores, memory, snapshot.clone(), Instant::now()).unwrap();
        let (umem, here) = (Umem::new(memory), Space::new("node"));
        Node { memory, umem, snapshot, routes: Rib::new(), workers, here }
    }

    /// A TUN device in the pod, whose number is also that of its port and of its address.
    fn tun(&self, pod: u16, space: &Space) -> Vec<Tun> {
        let config = TunConfig {
            kind: Kind::Tun,
            name: "eth0".to_owned(),
            netns: Some(space.path()),
            mtu: 1450,
            mac: None,
            queues: 2,
            tx_queue_len: 1000,
        };
        let queues = Tun::create(&config).unwrap();
        space.ip(&format!("address add {}/24 dev eth0", address(pod)));
        space.ip("link set eth0 up");
        queues
    }

    /// Puts a port into the tables, whose frames are bare packets.
    fn add<P: Port + 'static>(&mut self, pod: u16, queues: Vec<P>) {
        let info = PortInfo {
            name: format!("p{pod}"),
            role: Role::Pod,
            link: Link::Ip,
            mac: Default::default(),
            mtu: 1450,
            caps: queues[0].caps(),
            partial_sums: false,
            check_source: false,
            stations: Vec::new(),
            gateway4: None,
            gateway6: None,
        };
        let queues = queues.into_iter().map(|queue| Box::new(queue) as Box<dyn Port>).collect();
        self.workers.add(PortId(pod), queues).unwrap();
        self.routes.insert(address(pod).into(), NextHop::new(Hop::Port(PortId(pod))).to_bits());
        self.publish(|ports| drop(ports.insert(pod.into(), info)));
    }

    async fn remove(&mut self, pod: u16) {
        self.routes.remove(&address(pod).into());
        self.publish(|ports| drop(ports.remove(pod.into())));
        self.workers.remove(PortId(pod)).await;
    }

    fn publish(&self, change: impl FnOnce(&mut pipeline::tables::Slots<PortInfo>)) {
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        change(Arc::make_mut(&mut snapshot.ports));
        snapshot.routes4 = self.routes.snapshot();
        snapshot.generation += 1;
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Chunks of which it is known where they are, once nobody has sent for a second.
    fn chunks(&self) -> u64 {
        let ports: u64 = self.workers.queues().iter().map(|queue| queue.stats.chunks.get()).sum();
        self.memory.unclaimed() as u64 + self.workers.pooled() + ports
    }

    fn dropped(&self) -> u64 {
        self.workers.counters().map(|counters| counters.dropped_in_all()).sum()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

#[test]
fn a_hundred_and_ten_pods_one_after_the_other() {
    let runtime = runtime();
    let mut node = Node::new();
    let pods: Vec<_> = (0..PODS).map(|pod| Space::new(&format!("p{pod}"))).collect();
    for pod in [0, 1] {
        let queues = node.tun(pod, &pods[usize::from(pod)]);
        node.add(pod, queues);
    }
    let stream = Stream::new(&pods[0], &pods[1], &address(1).to_string());
    stream.passes();
    for pod in 2..PODS {
        let queues = node.tun(pod, &pods[usize::from(pod)]);
        node.add(pod, queues);
    }
    // Each talks to the next one.
    for pod in 2..PODS {
        let next = if pod + 1 < PODS { pod + 1 } else { 2 };
        let (from, to) = (&pods[usize::from(pod)], &pods[usize::from(next)]);
        Stream::new(from, to, &address(next).to_string()).passes();
    }
    // The second half goes, and comes back under the same numbers and others' addresses.
    runtime.block_on(async {
        for pod in PODS / 2..PODS {
            node.remove(pod).await;
            assert!(
                !netns::within(Some(&pods[usize::from(pod)].path()), || {
                    device::index("eth0").is_ok()
                })
                .unwrap()
            );
        }
    });
    assert_eq!(node.workers.queues().len(), usize::from(PODS));
    for pod in PODS / 2..PODS {
        let queues = node.tun(pod, &pods[usize::from(pod)]);
        node.add(pod, queues);
    }
    let last = usize::from(PODS) - 1;
    Stream::new(&pods[last], &pods[2], &address(2).to_string()).passes();

    // All the while the first two have talked, and have lost nothing.
    let (sent, back) = {
        stream.passes();
        stream.counts()
    };
    println!("{sent} datagrams sent meanwhile, {back} are back");
    assert!(sent > 100 && sent - back < 20, "{back} of {sent} have come back");
    drop(stream);
    wait_for("chunks to add up", || node.chunks() == u64::from(node.memory.chunks()));
    let held: u64 = node.workers.queues().iter().map(|queue| queue.stats.chunks.get()).sum();
    assert_eq!(held, 0, "a quiet TUN port holds no chunk");
    node.workers.stop().unwrap();
    // What the pods' kernels say on their own, such as for multicast groups, has no route.
    println!("{} frames were dropped", node.dropped());
    let counters = node.workers.counters().map(|counters| counters.balance());
    assert!(counters.map(|(came, went)| came as i64 - went as i64).sum::<i64>() == 0);
}

/// AF_XDP ports lend chunks to the kernel: they all come back, however often ports come and go
/// under load.
#[test]
fn veths_come_and_go_and_leak_no_chunk() {
    let runtime = runtime();
    let mut node = Node::new();
    let pods = [0, 1].map(|pod| Space::new(&format!("p{pod}")));
    for (pod, space) in (0..).zip(&pods) {
        let queues = node.tun(pod, space);
        node.add(pod, queues);
    }
    let stream = Stream::new(&pods[0], &pods[1], &address(1).to_string());
    stream.passes();
    for round in 0..12u16 {
        // What it sends is no packet of ours, and dropped; what matters is that it moves.
        let (id, far) = (10 + round % 3, Space::new("far"));
        let here = &node.here;
        here.ip(&format!("link add veth{id} type veth peer name eth0 netns {}", far.name));
        here.ip(&format!("link set veth{id} up"));
        far.ip("address add 10.8.0.1/24 dev eth0");
        far.ip("link set eth0 up");
        let config = AfXdpConfig {
            device: format!("veth{id}"),
            attach: Attach::Auto,
            matches: None,
            ring: 2048,
            fill: 64,
        };
        let umem = node.umem.clone();
        let queues = netns::within(Some(&here.path()), || AfXdp::open(&umem, config)).unwrap();
        node.add(id, queues.unwrap());
        let seen = || -> u64 {
            let queues = node.workers.queues();
            let ours = queues.iter().filter(|queue| queue.port == PortId(id));
            ours.map(|queue| queue.stats.rx_frames.get()).sum()
        };
        far.ip("neighbour add 10.8.0.2 lladdr 02:00:00:00:00:01 dev eth0");
        let socket =
            netns::within(Some(&far.path()), || std::net::UdpSocket::bind("10.8.0.1:0").unwrap());
        let socket = socket.unwrap();
        wait_for("frames of the veth", || {
            (0..100).for_each(|_| drop(socket.send_to(&[7; 1000], "10.8.0.2:9")));
            seen() > 500
        });
        runtime.block_on(node.remove(id));
        node.here.ip(&format!("link delete veth{id}"));
    }
    stream.passes();
    let (sent, back) = stream.counts();
    assert!(sent - back < 20, "{back} of {sent} have come back");
    drop(stream);
    std::thread::sleep(Duration::from_millis(1200));
    wait_for("chunks to add up", || node.chunks() == u64::from(node.memory.chunks()));
    node.workers.stop().unwrap();
}
