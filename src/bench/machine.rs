//! What a measurement was made on.

use serde::{Deserialize, Serialize};
use std::fs;

/// A machine with more processes than this for each core was busy before.
const BUSY: f64 = 0.5;
/// A machine that was without more than this share of its time was disturbed.
const DISTURBED: f64 = 0.01;

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
    /// The share of its cores' time, 0 to 1, that the hypervisor gave to others while it was measured on.
    #[serde(default)]
    pub stolen: f64,
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
            stolen: 0.0,
            time: std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs()),
            cableway: env!("CARGO_PKG_VERSION").to_owned(),
            is_release: !cfg!(debug_assertions),
        }
    }

    /// Whether others had use of it, and how much: what is to be known about figures of that machine.
    pub fn disturbances(&self) -> impl Iterator<Item = String> {
        let busy = self.load > BUSY * self.cores as f64;
        let busy = busy.then(|| {
            format!("The machine was busy before: load {:.1} on {} cores.", self.load, self.cores)
        });
        let stolen = (self.stolen > DISTURBED).then(|| {
            format!(
                "The hypervisor gave {:.1} % of this machine's time to others meanwhile.",
                self.stolen * 100.0
            )
        });
        busy.into_iter().chain(stolen)
    }
}

/// The time of all cores so far, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ticks {
    all: u64,
    stolen: u64,
}

impl Ticks {
    /// Now.
    pub fn now() -> Ticks {
        Ticks::of(&read("/proc/stat"))
    }

    /// By the text of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; what is behind
    /// them is part of those.
    fn of(stat: &str) -> Ticks {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "));
        let columns = line.unwrap_or_default().split_whitespace().take(8);
        let columns: Vec<u64> = columns.map_while(|word| word.parse().ok()).collect();
        Ticks { all: columns.iter().sum(), stolen: columns.get(7).copied().unwrap_or_default() }
    }

    /// The share that was stolen since `earlier`, 0 to 1.
    pub fn stolen_since(self, earlier: Ticks) -> f64 {
        let stolen = self.stolen.saturating_sub(earlier.stolen);
        stolen as f64 / self.all.saturating_sub(earlier.all).max(1) as f64
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
    fn who_had_use_of_it_is_told() {
        let before = Ticks::of("cpu  10 0 10 100 0 0 0 5 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
        let after = Ticks::of("cpu  60 0 10 130 0 0 0 25 9 0\n");
        let stolen = after.stolen_since(before);
        assert_eq!((stolen, after.stolen_since(after)), (0.2, 0.0));
        let quiet = Machine { cores: 4, load: 1.9, stolen: 0.009, ..Machine::default() };
        assert_eq!(quiet.disturbances().next(), None);
        let busy = Machine { load: 2.1, stolen, ..quiet };
        let told: Vec<_> = busy.disturbances().collect();
        assert!(told[0].contains("load 2.1 on 4 cores") && told[1].contains("20.0 %"), "{told:?}");
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
