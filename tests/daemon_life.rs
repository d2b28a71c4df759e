//! A daemon's lives: under a service manager, after SIGKILL, and when a new version takes over. Needs
//! root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::manager::Manager;
use daemon_support::stream::Stream;
use daemon_support::two::{Two, finish};
use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

/// What the issue of a life may take, times what a busy machine with a slow build is granted.
const RESUMED_WITHIN: Duration = Duration::from_secs(2 * 3);
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(3);

/// The number of a pod's device, by which one that was made anew is known.
fn device(pod: &Space) -> String {
    let line = pod.ip("-oneline link show eth0");
    line.split(':').next().unwrap().to_owned()
}

/// Somebody else's route by the pod's device.
fn add_strangers_route(pod: &Space) {
    pod.ip("route add 10.77.0.0/16 dev eth0");
}

fn has_strangers_route(pod: &Space) -> bool {
    pod.ip("route show 10.77.0.0/16").contains("eth0")
}

#[test]
fn a_service_manager_is_told() {
    let two = Two::new();
    let mut manager = Manager::new(&two.a);
    let mut a = Daemon::new(&two.a, &two.config("a", "eth0", "192.168.70.2"));
    manager.start(&mut a, &two.a, &[("WATCHDOG_USEC", "2000000")]);
    assert!(manager.hears("STATUS=").starts_with("node a is ready"));
    manager.keeps(|store| store.iter().map(|(name, _)| name).eq(["port.a1"]));
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    // NET_ADMIN, NET_RAW, IPC_LOCK, SYS_PTRACE, SYS_ADMIN: of the daemon and of its workers.
    let needed = 1 << 12 | 1 << 13 | 1 << 14 | 1 << 19 | 1 << 21;
    for task in fs::read_dir(format!("/proc/{}/task", a.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
            let line = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
            let found = u64::from_str_radix(line.trim(), 16).unwrap();
            assert_eq!(found & !needed, 0, "{status}");
        }
    }
    // What is edited out of the config is let go by the manager too.
    let config = two.config("a", "eth0", "192.168.70.2");
    let (start, end) = (config.find("[[port]]").unwrap(), config.find("[[peer]]").unwrap());
    a.write_config(&[&config[..start], &config[end..]].concat());
    a.signal("HUP");
    manager.hears("RELOADING=1");
    manager.hears("MONOTONIC_USEC=");
    manager.hears("READY=1");
    assert!(manager.hears("STATUS=").contains("is in force"));
    manager.keeps(<[_]>::is_empty);
    wait_for("the device to go", || !two.a1.has_device());
    a.signal("TERM");
    manager.hears("STOPPING=1");
    finish([&mut a]);
}

#[test]
fn a_management_socket_of_the_managers_is_used_and_left() {
    let two = Two::new();
    let mut manager = Manager::new(&two.a);
    let mut a = Daemon::new(&two.a, &two.config("a", "eth0", "192.168.70.2"));
    let listener = UnixListener::bind(&a.socket).unwrap();
    manager.store.push(("management".to_owned(), listener.into()));
    manager.start(&mut a, &two.a, &[]);
    assert!(a.show("ports").contains("a1"));
    finish([&mut a]);
    assert!(a.socket.exists());
}

#[test]
fn after_sigkill_devices_that_were_kept_are_taken_up_again() {
    let two = Two::new();
    let mut manager = Manager::new(&two.a);
    let mut a = Daemon::new(&two.a, &two.config("a", "eth0", "192.168.70.2"));
    let mut b = Daemon::new(&two.b, &two.config("b", "eth0", "192.168.70.1"));
    b.start(&two.b);
    manager.start(&mut a, &two.a, &[]);
    manager.keeps(|store| store.len() == 1);
    let stream = two.stream();
    let before = device(&two.a1);
    add_strangers_route(&two.a1);

    a.end("KILL");
    let start = Instant::now();
    // As if there had been more ports.
    let nothing = || File::open("/dev/null").unwrap().into();
    manager.store.push(("port.gone".to_owned(), nothing()));
    manager.store.push(("stored".to_owned(), nothing()));
    manager.start(&mut a, &two.a, &[]);
    stream.passes();
    let took = start.elapsed();
    println!("after SIGKILL, with the device kept, traffic flows again in {took:?}");
    assert!(took < RESUMED_WITHIN);
    assert_eq!(device(&two.a1), before);
    assert!(has_strangers_route(&two.a1));
    manager.keeps(|store| store.iter().all(|(name, _)| name == "port.a1"));
    assert!(a.log().contains("no use: port.gone"), "{}", a.log());

    // With another address it is another device.
    a.end("KILL");
    let config = two.config("a", "eth0", "192.168.70.2").replace("10.9.1.2/24", "10.9.1.3/24");
    a.write_config(&config);
    manager.start(&mut a, &two.a, &[]);
    assert!(a.log().contains("is let go: its address is 10.9.1.2/24"), "{}", a.log());
    assert_ne!(device(&two.a1), before);
    let addresses = two.a1.ip("-4 address show eth0");
    assert!(addresses.contains("10.9.1.3/24") && !addresses.contains("10.9.1.2/"), "{addresses}");
    finish([&mut a, &mut b]);
    drop(manager);
    wait_for("the device to go with its last descriptor", || !two.a1.has_device());
}

#[test]
fn after_sigkill_devices_that_were_not_kept_are_made_again() {
    let two = Two::new();
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let stream = two.stream();
    let before = (two.a1.ip("-oneline address"), two.a1.ip("route"));
    a.end("KILL");
    let start = Instant::now();
    a.start(&two.a);
    stream.passes();
    let took = start.elapsed();
    println!("after SIGKILL, with the device made again, traffic flows again in {took:?}");
    assert!(took < RESUMED_WITHIN);
    let without_number = |text: &str| text.split_once("eth0").map(|(_, rest)| rest.to_owned());
    let after = two.a1.ip("-oneline address");
    assert_eq!(without_number(&after), without_number(&before.0));
    assert_eq!(two.a1.ip("route"), before.1);
    finish([&mut a, &mut b]);
}

#[test]
fn a_new_version_takes_over() {
    let two = Two::new();
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let probe = Stream::every(Duration::from_millis(1), &two.a1, &two.b1, "10.9.2.2");
    probe.passes();
    let (pid, before) = (a.pid(), device(&two.a1));
    add_strangers_route(&two.a1);

    let config = two.config("a", "eth0", "192.168.70.2");
    a.write_config(&config.replace("10.9.1.2/24", "10.9.1.2/240"));
    a.signal("USR2");
    wait_for("the refusal", || a.log().contains("does not take over"));
    assert!(a.log().contains("10.9.1.2/240"), "{}", a.log());
    probe.passes();

    a.write_config(&config);
    a.must("add route 10.88.0.0/16 --peer b");
    let state = a.must("dump");
    probe.longest_gap();
    a.signal("USR2");
    wait_for("the new version", || a.log().matches("node a is ready").count() == 2);
    probe.passes();
    let gap = probe.longest_gap();
    println!("while a new version took over, nothing came back for {gap:?}");
    assert!(gap < TAKEN_OVER_WITHIN);
    assert_eq!((a.pid(), device(&two.a1)), (pid, before));
    assert!(has_strangers_route(&two.a1));
    assert_eq!(a.must("dump"), state);
    finish([&mut a, &mut b]);
    assert!(!two.a1.has_device() && !a.socket.exists());
    assert!(!two.a.ip("-details link show eth0").contains("xdp"));
}
