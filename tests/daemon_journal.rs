//! What came through the API, after the daemon was killed, upgraded, or told to end. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::stream::Stream;
use daemon_support::two::{Two, finish};
use std::fs;
use std::io::Write;
use std::path::PathBuf;

fn journal(daemon: &Daemon) -> PathBuf {
    daemon.socket.with_extension("api")
}

fn add_port(daemon: &Daemon, name: &str, kind: &str, pod: &Space, last: u8) {
    let netns = &pod.name;
    daemon.must(&format!(
        "add port {name} --kind {kind} --netns {netns} --device eth0 --address 10.9.1.{last}/24"
    ));
}

fn config(two: &Two) -> String {
    let route = "[[route]]\nprefix = \"10.55.0.0/16\"\nvia = \"blackhole\"\n";
    two.config("a", "eth0", "192.168.70.2") + route
}

fn start(two: &Two) -> (Daemon, Daemon) {
    let mut a = Daemon::new(&two.a, &config(two));
    let mut b = Daemon::new(&two.b, &two.config("b", "eth0", "192.168.70.1"));
    a.start(&two.a);
    b.start(&two.b);
    (a, b)
}

#[test]
fn it_outlives_sigkill_and_not_sigterm() {
    let two = Two::new();
    let pods = ["tun", "tap", "af_xdp"].map(|kind| (kind, Space::new(kind)));
    let gone = Space::new("gone");
    let (mut a, mut b) = start(&two);
    let first = a.must("dump");
    assert!(!journal(&a).exists(), "there is nothing to write down yet");
    for (n, (kind, pod)) in (10..).zip(&pods) {
        add_port(&a, kind, kind, pod, n);
    }
    a.must("del peer b");
    a.must("add peer b --address 192.168.70.2 --tunnel vxlan --subnet 10.9.2.0/24 --subnet 10.9.22.0/24");
    a.must("add peer c --address 192.168.70.3 --tunnel vxlan --subnet 10.9.3.0/24");
    a.must("add gateway 10.9.1.77");
    a.must("add route 10.88.0.0/16 10.89.0.0/16 --peer b");
    a.must("del route 10.89.0.0/16 10.55.0.0/16");
    add_port(&a, "gone", "tun", &gone, 20);
    a.must("del port gone");
    let before = a.must("dump");
    let stream = Stream::new(&pods[0].1, &two.b1, "10.9.2.2");
    stream.passes();

    for round in 0..3 {
        a.end("KILL");
        if round == 1 {
            // As if it had been killed while it was writing.
            let mut file = fs::OpenOptions::new().append(true).open(journal(&a)).unwrap();
            file.write_all(b"{\"delete-port\":\"tu").unwrap();
        }
        a.start(&two.a);
        stream.passes();
        assert_eq!(a.must("dump"), before, "round {round}");
        let said = "go on: 3 ports, 2 peers, 1 gateway address, 1 route";
        assert!(a.log().contains(said), "{}", a.log());
        assert!(!gone.has_device());
        for (_, pod) in &pods {
            pod.reaches("10.9.2.2");
            pod.reaches("10.9.1.77");
        }
    }
    // What changes in a later life does so, too.
    a.must("del port tap");
    a.must("add route 10.55.0.0/16 --unreachable");
    let before = a.must("dump");
    a.end("KILL");
    a.start(&two.a);
    assert_eq!(a.must("dump"), before);
    assert!(!pods[1].1.has_device());
    stream.passes();

    finish([&mut a]);
    assert!(!journal(&a).exists());
    a.start(&two.a);
    assert_eq!(a.must("dump"), first);
    assert!(pods.iter().all(|(_, pod)| !pod.has_device()));
    finish([&mut a, &mut b]);
}

#[test]
fn an_applied_file_outlives_sigkill_until_the_daemons_own_is_changed() {
    let two = Two::new();
    let (pod, other) = (Space::new("pod"), Space::new("other"));
    let (mut a, mut b) = start(&two);
    let applied = a.config().replace("10.55.0.0/16", "10.56.0.0/16");
    fs::write(a.file("applied.toml"), applied).unwrap();
    a.must(&format!("apply {}", a.file("applied.toml").display()));
    let before = a.must("dump");
    a.end("KILL");
    a.start(&two.a);
    assert_eq!(a.must("dump"), before);

    add_port(&a, "p", "tun", &pod, 10);
    a.must("add route 10.88.0.0/16 --peer b");
    a.must("add route 10.89.0.0/16 --port p");
    a.end("KILL");
    let p = format!(
        "[[port]]\nname = \"p\"\nkind = \"tun\"\nnetns = \"{}\"\ndevice = \"eth0\"\n\
         addresses = [\"10.9.1.11/24\"]\n[[route]]\nprefix = \"10.88.0.0/16\"\nvia = \"blackhole\"\n",
        other.name
    );
    a.write_config(&(config(&two) + &p));
    a.start(&two.a);
    for said in ["left out port `p`", "left out the route to 10.88.0.0/16", "go on: 0 ports"] {
        assert!(a.log().contains(said), "{said}: {}", a.log());
    }
    let dump = a.must("dump");
    assert!(dump.contains("10.55.0.0/16") && !dump.contains("10.56.0.0/16"), "{dump}");
    assert!(dump.contains("10.89.0.0/16"), "{dump}");
    assert!(other.has_device() && !pod.has_device());
    other.reaches("10.9.2.2");
    // That is how it goes on.
    a.end("KILL");
    a.start(&two.a);
    assert!(!a.log().contains("left out"), "{}", a.log());
    assert_eq!(a.must("dump"), dump);
    finish([&mut a, &mut b]);
}

#[test]
fn what_can_not_be_had_any_more_is_left_out() {
    let two = Two::new();
    let [pod, gone, taken, later] = ["pod", "gone", "taken", "later"].map(Space::new);
    let (mut a, mut b) = start(&two);
    for (n, (name, pod)) in
        (10..).zip([("pod", &pod), ("gone", &gone), ("taken", &taken), ("later", &later)])
    {
        add_port(&a, name, if n % 2 == 0 { "tun" } else { "af_xdp" }, pod, n);
        a.must(&format!("add route 10.{}.0.0/16 --port pod", 80 + n));
    }
    a.must("add route 10.77.1.0/24 10.77.2.0/24 --port taken");
    a.must("add peer c --address 192.168.70.3 --tunnel vxlan --subnet 10.9.3.0/24");
    a.must("add route 10.78.0.0/16 --peer c");
    let stream = Stream::new(&pod, &two.b1, "10.9.2.2");
    stream.passes();
    a.end("KILL");
    drop(gone);
    wait_for("the TUN device to go with its process", || !taken.has_device());
    taken.ip("link add eth0 type bridge");
    // It leaves by a device that is no uplink.
    two.a.ip("route add 192.168.70.3/32 dev eth1");

    // A port of the file that can't be had is no less an error, and changes nothing.
    let kept = fs::read(journal(&a)).unwrap();
    let good = config(&two);
    a.write_config(&good.replace(&two.a1.name, "no-such-namespace"));
    let end = a.fail(a.command(&two.a, ""));
    assert!(!end.status.success() && end.error.contains("no-such-namespace"), "{}", end.error);
    assert_eq!(fs::read(journal(&a)).unwrap(), kept);
    a.write_config(&good);

    a.start(&two.a);
    stream.passes();
    let log = a.log();
    for said in ["port gone: ", "port taken: ", "routes by it: 2", "peer c: the kernel's route"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert_eq!(a.ports(), ["eth0", "a1", "later", "pod"]);
    let dump = a.must("dump");
    assert!(!dump.contains("10.77.") && !dump.contains("10.78.") && dump.contains("10.91.0.0/16"));
    assert!(taken.ip("-details link show eth0").contains("bridge"));

    // A new version that takes over meets the like.
    drop(later);
    a.signal("USR2");
    wait_for("the new version", || a.log().matches("node a is ready").count() == 2);
    stream.passes();
    assert!(a.log().contains("port later: "), "{}", a.log());
    assert_eq!(a.ports(), ["eth0", "a1", "pod"]);
    let dump = a.must("dump");
    a.end("KILL");
    a.start(&two.a);
    stream.passes();
    assert!(!a.log().contains("left out"), "{}", a.log());
    assert_eq!(a.must("dump"), dump);
    finish([&mut a, &mut b]);
}
