//! `cableway bench compare`: contenders in the same place, in turn.

mod bout;
pub mod measure;
pub mod rows;
pub mod schedule;
pub mod trial;

pub use bout::{Times, Turns};

use super::arena::{Arena, Underlay};
use super::contender::{Contender, is_installed};
use super::report::{self, Report};
use super::{Error, Result};
use schedule::Schedule;
use std::cell::RefCell;
use trial::Trial;

/// What shall be compared.
#[derive(Debug)]
pub struct Plan {
    /// Whom.
    pub contenders: Vec<&'static dyn Contender>,
    /// In what, and how often.
    pub schedule: Schedule,
    /// How long a trial takes.
    pub times: Times,
}

/// What there is to tell while it goes on.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A contender was looked at: its name, and why it is out, if it is.
    Qualified(&'a str, Option<&'a str>),
    /// A contender failed at a trial, of which the first id is this.
    Failed(&'a str, &'a str, &'a Error),
    /// A trial, of which the first id is this, can't be made here at all.
    LeftOut(&'a str, &'a str),
    /// A round is over: the first of the trial's ids, and how many rounds of it there were.
    Round(&'a str, usize),
}

/// Compares; whether all was measured that was asked for. What is known stands in `report`, also when it
/// ends early.
///
/// # Errors
/// When there is no arena to be had, or the user asked to stop.
pub fn run(plan: &Plan, report: &mut Report, mut tell: impl FnMut(Progress<'_>)) -> Result<bool> {
    let arena = RefCell::new(Arena::build(Underlay::Super)?);
    let mut entrants = Vec::new();
    for contender in &plan.contenders {
        let turns = Turns::new(*contender, &arena, plan.times);
        let about = match contender.lacks() {
            Some(lack) => Err(lack),
            None => turns.qualify()?,
        };
        let (modes, out) = match about {
            Ok(modes) => (modes, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        tell(Progress::Qualified(contender.name(), out.as_deref()));
        if out.is_none() {
            entrants.push(turns);
        }
        let (name, about) = (contender.name().to_owned(), contender.about().to_owned());
        report.contenders.push(report::Contender { name, about, modes, out });
    }
    let has_iperf = is_installed("iperf3");
    let can = |trial: &Trial| has_iperf || !matches!(trial, Trial::Tcp { .. });
    let (trials, left_out): (Vec<_>, Vec<_>) =
        plan.schedule.trials.iter().copied().partition(|(trial, _)| can(trial));
    for (_, ids) in &left_out {
        tell(Progress::LeftOut(ids[0], "found no iperf3; `make setup` installs it"));
    }
    let schedule = Schedule { trials, rounds: plan.schedule.rounds };
    let done = schedule.run(&mut entrants, &mut report.measured, &mut tell);
    report.results = rows::rows(&report.measured);
    report.curves = entrants.iter().flat_map(Turns::curves).collect();
    drop(entrants);
    let removed = arena.into_inner().remove();
    let is_well = done?;
    removed?;
    Ok(is_well && left_out.is_empty())
}
