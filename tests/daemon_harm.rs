//! Daemons that come to harm: what they say of it, and what the next start finds. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use daemon_support::Space;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::manager::Manager;
use daemon_support::sys::Held;
use daemon_support::two::{Two, finish};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

/// A node that changes all of the machine that a node can: devices, XDP, nftables, settings.
fn config(two: &Two) -> String {
    let config = two.config("a", "eth0", "192.168.70.2");
    config.replacen("[[port]]", "masquerade = [\"10.9.0.0/16\"]\n[[port]]", 1)
        + "[[port]]\nname = \"host\"\nkind = \"tun\"\ndevice = \"cableway0\"\n\
           addresses = [\"10.9.1.254/32\"]\nroutes = [\"10.9.0.0/16\"]\n\
           [[route]]\nprefix = \"0.0.0.0/0\"\nvia = { port = \"host\" }\n"
}

/// Both nodes at work; traffic passes.
fn nodes(two: &Two) -> (Daemon, Daemon) {
    let mut a = Daemon::new(&two.a, &config(two));
    let mut b = Daemon::new(&two.b, &two.config("b", "eth0", "192.168.70.1"));
    a.start(&two.a);
    b.start(&two.b);
    (a, b)
}

/// The daemon's worker, which stands still from now on.
fn hold_worker(daemon: &Daemon) -> Held {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let worker = tasks.map(|task| task.unwrap().path()).find(|task| {
        let name = fs::read_to_string(task.join("comm")).unwrap();
        name.trim().strip_prefix("cableway-").is_some_and(|core| core.parse::<u32>().is_ok())
    });
    let number = worker.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
    Held::new(number)
}

/// What shows that a daemon was on the node.
fn traces(node: &Space, pod: &Space) -> String {
    let all = pod.ip("-brief link") + &node.ip("-details link") + &node.exec("nft list tables");
    let traces = all.split_whitespace().filter(|word| {
        ["cableway", "prog/xdp", "eth0@NONE"].iter().any(|trace| word.contains(trace))
            || (word == &"eth0" && pod.ip("-brief link").contains("eth0"))
    });
    traces.collect::<Vec<_>>().join(" ")
}

fn leaves_nothing(two: &Two, daemon: &Daemon) {
    wait_for("devices to go", || !two.a1.ip("-brief link").contains("eth0"));
    assert_eq!(traces(&two.a, &two.a1), "");
    assert!(!daemon.socket.exists() && !daemon.file("node.left").exists());
    let (socket, binary) = (daemon.socket.display(), env!("CARGO_BIN_EXE_cableway"));
    let said = two.a.exec(&format!("{binary} cleanup --socket {socket}"));
    assert_eq!(said, "nothing was left\n");
    assert!(two.a.exec("sysctl net.ipv4.ip_forward").ends_with("= 0\n"));
}

#[test]
fn a_worker_that_hangs_ends_the_daemon_which_leaves_nothing() {
    let two = Two::new();
    two.a.exec("sysctl -qw net.ipv4.ip_forward=0");
    let (mut a, mut b) = nodes(&two);
    let stream = two.stream();
    assert_ne!(traces(&two.a, &two.a1), "", "there is something to be left");

    let held = hold_worker(&a);
    held.ends();
    let end = a.ended();
    assert_eq!(end.status.code(), Some(1), "{}", end.error);
    assert!(end.error.contains("has not moved for 5 s; it hangs "), "{}", end.error);
    leaves_nothing(&two, &a);

    a.start(&two.a);
    stream.passes();
    finish([&mut a, &mut b]);
    leaves_nothing(&two, &a);
}

#[test]
fn a_service_manager_hears_nothing_of_a_worker_that_hangs() {
    let two = Two::new();
    let mut manager = Manager::new(&two.a);
    let mut a = Daemon::new(&two.a, &config(&two));
    let mut b = Daemon::new(&two.b, &two.config("b", "eth0", "192.168.70.1"));
    b.start(&two.b);
    let watchdog = [("WATCHDOG_USEC", "2000000")];
    manager.start(&mut a, &two.a, &watchdog);
    manager.keeps(|store| store.len() == 2);
    let stream = two.stream();
    let before = two.a1.ip("-oneline link show eth0");

    let held = hold_worker(&a);
    manager.misses("WATCHDOG=1", Duration::from_secs(2));
    // As systemd does then.
    a.signal("ABRT");
    held.ends();
    let end = a.ended();
    assert_eq!(end.status.signal(), Some(libc::SIGABRT), "{}", end.error);

    manager.start(&mut a, &two.a, &watchdog);
    stream.passes();
    manager.hears("WATCHDOG=1");
    assert_eq!(two.a1.ip("-oneline link show eth0"), before, "the device was kept");
    finish([&mut a, &mut b]);
    drop(manager);
    leaves_nothing(&two, &a);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn what_a_daemon_leaves_that_dies_of_a_fault_the_next_one_mends() {
    let two = Two::new();
    two.a.exec("sysctl -qw net.ipv4.ip_forward=0");
    let (mut a, mut b) = nodes(&two);
    let stream = two.stream();
    hold_worker(&a).crash();
    let end = a.ended();
    assert_eq!(end.status.signal(), Some(libc::SIGSEGV), "{}", end.error);
    a.start(&two.a);
    assert!(a.log().contains("undoing what a killed daemon left"), "{}", a.log());
    stream.passes();
    finish([&mut a, &mut b]);
    leaves_nothing(&two, &a);
}

#[test]
fn a_daemon_whose_log_nobody_reads_any_more_goes_on() {
    let two = Two::new();
    let mut a = Daemon::new(&two.a, &two.config("a", "eth0", "192.168.70.2"));
    let fifo = a.file("fifo");
    daemon_support::run("mkfifo", &[fifo.to_str().unwrap()]);
    // It would wait for a writer otherwise.
    let mut options = OpenOptions::new();
    let reader = options.read(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap();
    let command = a.command(&two.a, "");
    let mut logging = Command::new("sh");
    logging.args(["-c", "exec \"$@\" 2>\"$0\""]).arg(&fifo);
    logging.arg(command.get_program()).args(command.get_args());
    a.start_by(logging);
    drop(reader);
    // It has something to say of these.
    let (port, pod) = ("add port a2 --kind tun --device eth0 --address 10.9.1.3/24", &two.b1);
    a.must(&format!("{port} --netns {}", pod.name));
    a.must("del port a2");
    a.signal("HUP");
    a.must("show ports");
    finish([&mut a]);
    leaves_nothing(&two, &a);
}
