//! Namespaces and daemons for tests: made with names of their own, gone when dropped.
#![allow(dead_code, reason = "not every test that shares this needs all of it")]

pub(crate) mod daemon;
pub(crate) mod flood;
pub(crate) mod flows;
pub(crate) mod iperf;
pub(crate) mod manager;
pub(crate) mod stream;
#[allow(unsafe_code)]
pub(crate) mod sys;
pub(crate) mod two;

use cableway::io::netns;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace of this test process.
pub(crate) struct Space {
    /// Its name for `ip netns`.
    pub(crate) name: String,
}

impl Space {
    /// Makes one with loopback up.
    pub(crate) fn new(label: &str) -> Space {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ctl-{}-{number}-{label}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let space = Space { name };
        space.ip("link set lo up");
        space
    }

    /// Runs `ip` with these words within the namespace; returns what it printed.
    pub(crate) fn ip(&self, words: &str) -> String {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(words.split_whitespace());
        run("ip", &all)
    }

    /// Runs a command line within the namespace.
    pub(crate) fn exec(&self, words: &str) -> String {
        let mut all = vec!["netns", "exec", self.name.as_str()];
        all.extend(words.split_whitespace());
        run("ip", &all)
    }

    /// Whether the kernel can make devices of that kind upon another one.
    pub(crate) fn has_kind(&self, kind: &str) -> bool {
        self.ip("link add below0 type veth");
        let words = format!("-n {} link add link below0 name upon0 type {kind} id 1", self.name);
        let made = Command::new("ip").args(words.split_whitespace()).output();
        self.ip("link delete below0");
        made.is_ok_and(|output| output.status.success())
    }

    /// Whether one ping to an address is answered.
    pub(crate) fn pings(&self, to: &str) -> bool {
        let words = ["netns", "exec", &self.name, "ping", "-c", "1", "-W", "1", to];
        Command::new("ip").args(words).output().expect("ip is there").status.success()
    }

    /// Waits until one is.
    pub(crate) fn reaches(&self, to: &str) {
        daemon::wait_for(&format!("{} to reach {to}", self.name), || self.pings(to));
    }

    /// Whether there is a pod's device, `eth0`.
    pub(crate) fn has_device(&self) -> bool {
        self.ip("-brief link").lines().any(|line| line.starts_with("eth0"))
    }

    /// Its file.
    pub(crate) fn path(&self) -> PathBuf {
        netns::path(&self.name)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Runs a program that must succeed; returns its standard output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the program is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
