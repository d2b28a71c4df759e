//! The real binary in a namespace, with files of its own that go when it does.

use super::Space;
use cableway::control::management::client;
use cableway::control::report::{Drops, Ports, Ready};
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_cableway");
/// How long anything may take that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A place for a node's files, and the node's process once it was started.
pub(crate) struct Daemon {
    directory: PathBuf,
    pub(crate) socket: PathBuf,
    child: Option<Child>,
}

/// How a process ended, and what it said on standard error.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) error: String,
}

impl Daemon {
    /// A node that is not started yet. `config` lacks only the `socket` of `[node]`, which it
    /// begins with.
    pub(crate) fn new(space: &Space, config: &str) -> Daemon {
        let directory = std::env::temp_dir().join(&space.name);
        fs::create_dir_all(&directory).expect("the temporary directory can be written");
        let socket = directory.join("node.sock");
        let daemon = Daemon { directory, socket, child: None };
        daemon.write_config(config);
        daemon
    }

    /// The command that runs it within `space`, behind the words of `wrapper`.
    pub(crate) fn command(&self, space: &Space, wrapper: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &space.name]).args(wrapper.split_whitespace());
        command.arg(BINARY).arg("run").arg("--config").arg(self.directory.join("node.toml"));
        command.stdin(Stdio::null());
        command
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(&mut self, space: &Space) {
        self.start_by(self.command(space, ""));
    }

    /// The same by a command that comes to [`command`](Self::command).
    pub(crate) fn start_by(&mut self, command: Command) {
        self.spawn_by(command);
        wait_for("the daemon to be ready", || self.is_ready());
    }

    /// Starts it, and does not wait.
    pub(crate) fn spawn_by(&mut self, mut command: Command) {
        let log = File::create(self.directory.join("log")).expect("the file can be made");
        let child = command.stderr(log).spawn().expect("the binary starts");
        self.child = Some(child);
    }

    /// Whether it answers; it must not have ended.
    pub(crate) fn is_ready(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was started");
        if let Some(status) = child.try_wait().ok().flatten() {
            panic!("the daemon has ended with {status}: {}", self.log());
        }
        client::get::<Ready>(&self.socket, "/v1/ready").is_ok()
    }

    /// Runs it, where it can't start, until it says so.
    pub(crate) fn fail(&self, mut command: Command) -> Ended {
        let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
        let output = child.and_then(Child::wait_with_output).expect("the binary starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        Ended { status: output.status, error }
    }

    /// Its answer to `path`.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        client::get(&self.socket, path).expect("the daemon answers")
    }

    /// The names of its ports, uplinks first.
    pub(crate) fn ports(&self) -> Vec<String> {
        self.get::<Ports>("/v1/show/ports").ports.into_iter().map(|port| port.name).collect()
    }

    /// Frames that it has dropped for a reason, which must be one that there is.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        let drops = self.get::<Drops>("/v1/show/drops").drops;
        drops.iter().find(|drop| drop.reason == reason).expect("a reason that there is").count
    }

    /// Bytes of its memory that are resident.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the daemon is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kilobytes.expect("the kernel tells a process's memory in kB") << 10
    }

    /// Its config, with `socket`.
    pub(crate) fn config(&self) -> String {
        fs::read_to_string(self.directory.join("node.toml")).expect("the file is there")
    }

    /// Writes another config, has the daemon read it, and waits until it has; whether it was taken.
    pub(crate) fn reload(&self, config: &str) -> bool {
        fs::write(self.directory.join("node.toml"), config).expect("the file can be written");
        let before = self.log().len();
        self.signal("HUP");
        let said = || self.log().split_off(before);
        wait_for("the config to be read", || {
            said().contains(": in force") || said().contains("was not taken over")
        });
        said().contains(": in force")
    }

    /// Its process (that of `ip netns exec`, which becomes it).
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        super::run("kill", &[&format!("-{signal}"), &self.pid().to_string()]);
    }

    /// A config with the `socket` that it lacks.
    pub(crate) fn with_socket(&self, config: &str) -> String {
        config.replacen("[node]\n", &format!("[node]\nsocket = {:?}\n", self.socket), 1)
    }

    /// Gives it another config, which lacks the `socket`, to be read when it next is.
    pub(crate) fn write_config(&self, config: &str) {
        let file = self.directory.join("node.toml");
        fs::write(file, self.with_socket(config)).expect("the file can be written");
    }

    /// Sends it a signal and waits for its end.
    pub(crate) fn end(&mut self, signal: &str) -> Ended {
        self.signal(signal);
        self.ended()
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> Ended {
        let mut child = self.child.take().expect("it was started");
        let status = child.wait().expect("it is a child of ours");
        Ended { status, error: self.log() }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// `cableway show` with these words; what it printed.
    pub(crate) fn show(&self, words: &str) -> String {
        let (is_done, output, error) = self.cableway(&format!("show {words}"));
        assert!(is_done, "show {words}: {error}");
        output
    }

    /// `cableway` with these words, about this daemon: whether it did, what it printed, and what
    /// it said was wrong.
    pub(crate) fn cableway(&self, words: &str) -> (bool, String, String) {
        let mut command = Command::new(BINARY);
        command.args(words.split_whitespace()).arg("--socket").arg(&self.socket);
        let output = command.output().expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// Does so, and must.
    pub(crate) fn must(&self, words: &str) -> String {
        let (is_done, output, error) = self.cableway(words);
        assert!(is_done, "{words}: {error}");
        output
    }

    /// Must not; what it said was wrong.
    pub(crate) fn must_not(&self, words: &str) -> String {
        let (is_done, output, error) = self.cableway(words);
        assert!(!is_done, "{words}: {output}");
        error
    }

    /// Where its files are.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of {}:\n{}", self.directory.display(), self.log());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Waits until something is so, and fails when it does not become so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
