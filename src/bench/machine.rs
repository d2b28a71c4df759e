//! What a measurement was made on.

use serde::{Deserialize, Serialize};
use std::fs;

/// The machine, as far as it decides how fast things are. What can't be found out is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores that we may run on.
    pub cores: usize,
    /// Whether it is a virtual machine, whose cores others may use too.
    pub is_virtual: bool,
    /// Memory, in bytes.
    pub memory: u64,
    /// The kernel's release.
    pub kernel: String,
    /// What switched the processor's defences off or on: the kernel's command line says so.
    pub mitigations: String,
    /// Processes that were running or waiting to, over the minute before.
    pub load: f64,
    /// When it began: seconds since 1970-01-01 UTC.
    pub time: u64,
    /// Our version.
    pub cableway: String,
    /// Whether this is a build that has been optimised.
    pub is_release: bool,
}

impl Machine {
    /// This one, now.
    pub fn this() -> Machine {
        let cpuinfo = read("/proc/cpuinfo");
        let system = rustix::system::uname();
        let load = read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok());
        let command_line = read("/proc/cmdline");
        let mut mitigations = command_line
            .split_whitespace()
            .filter_map(|word| Some(word.strip_prefix("mitigations=")?.to_owned()));
        Machine {
            processor: field(&cpuinfo, "model name").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            is_virtual: field(&cpuinfo, "flags").split(' ').any(|flag| flag == "hypervisor"),
            memory: kilobytes(field(&read("/proc/meminfo"), "MemTotal")) << 10,
            kernel: system.release().to_string_lossy().into_owned(),
            mitigations: mitigations.next_back().unwrap_or_default(),
            load: load.unwrap_or_default(),
            time: std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs()),
            cableway: env!("CARGO_PKG_VERSION").to_owned(),
            is_release: !cfg!(debug_assertions),
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The first value of that name in a file of `name : value` lines.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = fields.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
    values.next().unwrap_or_default()
}

/// `1234 kB`, without the unit.
fn kilobytes(text: &str) -> u64 {
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        let this = Machine::this();
        assert!(this.cores > 0 && this.memory > 1 << 20 && this.time > 1_700_000_000);
        assert!(this.kernel.contains('.'));
    }

    #[test]
    fn fields_are_found() {
        let text =
            "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nMemTotal:  12 kB\nflags\t\t: fpu\n";
        assert_eq!(field(text, "model name"), "Some CPU @ 2 GHz");
        assert_eq!(kilobytes(field(text, "MemTotal")), 12);
        assert_eq!(field(text, "bogus"), "");
    }
}
