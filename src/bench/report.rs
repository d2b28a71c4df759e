//! What a bench tells, in a form that other programs may rely on.
//!
//! `--json` writes a [`Report`]. Its form is stable: fields are added, never renamed or removed, and
//! `schema` counts up if that can't be kept. Rates and times are numbers in the unit that stands
//! beside them.

use super::machine::{Machine, Ticks};
use super::pipeline::Figure;
use super::stats::Spread;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The form's number.
pub const SCHEMA: u32 = 1;

/// All that one run has to tell; also what a run that was interrupted has to tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What it was measured on.
    pub machine: Machine,
    /// The command line.
    pub command: Vec<String>,
    /// Whether all was measured that was asked for.
    pub complete: bool,
    /// Who was compared.
    #[serde(default)]
    pub contenders: Vec<Contender>,
    /// Every value that was measured for a comparison.
    #[serde(default)]
    pub measured: Vec<Measured>,
    /// How latencies are distributed, all rounds together.
    #[serde(default)]
    pub curves: Vec<Curve>,
    /// Comparisons: what follows from those values.
    #[serde(default)]
    pub results: Vec<Row>,
    /// Routers between a sender and a sink.
    #[serde(default)]
    pub lab: Vec<super::lab::Case>,
    /// Of these, routers that could not be measured, or not in all cases.
    #[serde(default)]
    pub lab_failures: Vec<super::lab::Failure>,
    /// What packets take in memory: `cableway bench pipeline`.
    #[serde(default)]
    pub pipeline: Vec<Figure>,
    #[serde(skip)]
    begun: Ticks,
}

/// Who was compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contender {
    /// Its name.
    pub name: String,
    /// What it is, in a sentence.
    pub about: String,
    /// How it works here.
    #[serde(default)]
    pub modes: Vec<String>,
    /// Why there are no values of it, if there are none: it can't run here, or what it carried did not
    /// arrive as it was sent.
    #[serde(default)]
    pub out: Option<String>,
}

/// All values of one measure of one contender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The measure.
    pub id: String,
    /// The contender.
    pub contender: String,
    /// Its value in each round; all contenders have their turn in a round. `None` where there was
    /// none to be had.
    pub values: Vec<Option<f64>>,
}

/// How one contender's latencies are distributed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What was measured: `rr_poll`, `rr_adaptive`.
    pub id: String,
    /// The contender.
    pub contender: String,
    /// Of the latencies.
    pub unit: String,
    /// Percentiles, ascending, and what so many percent of the latencies don't exceed.
    pub points: Vec<[f64; 2]>,
}

/// One measure of one contender, against one other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The measure.
    pub id: String,
    /// What was measured.
    pub contender: String,
    /// What it is compared with.
    pub baseline: String,
    /// The unit of the values.
    pub unit: String,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// The contender's median.
    pub value: f64,
    /// The baseline's.
    pub baseline_value: f64,
    /// Contender / baseline, of pairs; `None` when the baseline had nothing at all.
    pub ratio: Option<Spread>,
    /// Pairs that were measured.
    pub pairs: usize,
    /// Them, in the order of time: contender, baseline.
    pub samples: Vec<[f64; 2]>,
}

impl Report {
    /// Of a run that begins now and has nothing to tell yet.
    pub fn begin() -> Report {
        Report {
            schema: SCHEMA,
            machine: Machine::this(),
            command: std::env::args().collect(),
            complete: false,
            contenders: Vec::new(),
            measured: Vec::new(),
            curves: Vec::new(),
            results: Vec::new(),
            lab: Vec::new(),
            lab_failures: Vec::new(),
            pipeline: Vec::new(),
            begun: Ticks::now(),
        }
    }

    /// Of a run that has come to an end: its own, or that of the user's patience.
    pub fn end(&mut self, complete: bool) {
        self.complete = complete;
        self.machine.stolen = Ticks::now().stolen_since(self.begun);
    }

    /// What a reader must not overlook, in sentences.
    pub fn caveats(&self) -> Vec<String> {
        let part = (!self.complete).then_some(
            "Not all is here that was asked for: it was interrupted, or something failed.",
        );
        let debug = (!self.machine.is_release)
            .then_some("Cableway was not optimised (a debug build): these figures say nothing.");
        let own = part.into_iter().chain(debug).map(str::to_owned);
        own.chain(self.machine.disturbances()).collect()
    }

    /// Writes it as JSON: whole or not at all.
    ///
    /// # Errors
    /// When the file can't be written; the error names it.
    pub fn write_json(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        write(path, &(text + "\n"))
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// When that can't be; the error names the file.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
    };
    // What is no regular file, such as a pipe, is written as it is.
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return std::fs::write(path, text).map_err(named);
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)).map_err(named)
}
