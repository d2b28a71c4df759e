//! `cableway bench lab`: one router between a sender and a sink.
//!
//! Each contender's routers are made in the one arena; each case has a sender and a sink of its own.
//! What is measured builds on what was before: overloaded, the router says where its highest rate may
//! be; that rate says at which ones latency and processor time are of interest.

mod field;
mod figures;

pub use field::Field;
pub use figures::{Case, Failure, Rates};

use super::arena::{Arena, Underlay};
use super::contender::{Attachment, Contender, Mode};
use super::latency::{self, SHARES};
use super::rate::{self, Goal};
use super::traffic::{Flow, Generator, Kind, Side, Traffic};
use super::{Error, Result};
use std::time::Duration;

/// What shall be measured.
#[derive(Debug)]
pub struct Plan {
    /// Routers.
    pub contenders: Vec<&'static dyn Contender>,
    /// Ways through them.
    pub sides: Vec<Side>,
    /// Bytes of the pods' Ethernet frames.
    pub sizes: Vec<usize>,
    /// Numbers of UDP source ports.
    pub flows: Vec<u32>,
    /// Who sends.
    pub generator: Generator,
    /// What joins the nodes.
    pub underlay: Underlay,
    /// Whether routers' threads may sleep.
    pub mode: Mode,
    /// How long each part takes.
    pub times: Times,
}

/// How long each part takes.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Overload that is not counted, at first.
    pub warm_up: Duration,
    /// Overload that is.
    pub overload: Duration,
    /// The search for the highest rate.
    pub goal: Goal,
    /// Each rate at which frames are timed.
    pub latency: Duration,
}

impl Times {
    /// For figures that one can rely on: some ten seconds a case.
    pub const FULL: Times = Times {
        warm_up: Duration::from_millis(200),
        overload: Duration::from_secs(1),
        goal: Goal {
            loss: 0.005,
            width: 0.02,
            short: Duration::from_millis(300),
            long: Duration::from_secs(1),
            trials: 25,
        },
        latency: Duration::from_secs(1),
    };
    /// For a first look: some three seconds a case.
    pub const QUICK: Times = Times {
        warm_up: Duration::from_millis(50),
        overload: Duration::from_millis(200),
        goal: Goal {
            loss: 0.005,
            width: 0.05,
            short: Duration::from_millis(100),
            long: Duration::from_millis(300),
            trials: 15,
        },
        latency: Duration::from_millis(300),
    };
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Event<'a> {
    /// The routers of a contender are at work.
    Begin(&'a Field<'a>),
    /// Something is being done.
    Doing(&'a Kind, String),
    /// A case is complete.
    Done(Box<Case>),
    /// A contender could not be measured, or not in all cases.
    Failed(Failure),
}

/// A machine that is busy with more than this share of its cores disturbs what is measured.
const BUSY: f64 = 0.1;

/// A router that loses less when overloaded was not.
const HELD_UP: f64 = 0.01;

/// Measures what the plan says. A contender that can't be measured is told, and the others go on.
///
/// # Errors
/// That the user asked to stop, or that nothing can be measured here; what was told stands.
pub fn run(plan: &Plan, mut tell: impl FnMut(Event<'_>)) -> Result<()> {
    let arena = Arena::build(plan.underlay)?;
    for &contender in &plan.contenders {
        match measure_all(plan, &arena, contender, &mut tell) {
            Err(error) if error.is_for_one() => tell(Event::Failed(Failure {
                contender: contender.name().into(),
                why: error.to_string(),
            })),
            outcome => outcome?,
        }
    }
    arena.remove()
}

/// All cases of a contender.
fn measure_all(
    plan: &Plan,
    arena: &Arena,
    contender: &'static dyn Contender,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<()> {
    // A path has routers at both ends, a side has not.
    for path in [false, true] {
        let can = path || contender.tunnels();
        let sides = plan.sides.iter().copied().filter(|side| can && (*side == Side::Path) == path);
        let sides: Vec<_> = sides.collect();
        if sides.is_empty() {
            continue;
        }
        let idle = arena.idle()?;
        let field = Field::prepare(contender, arena, plan.mode, path, idle)?;
        tell(Event::Begin(&field));
        for kind in kinds(plan, &sides) {
            let case = measure(&field, &kind, &plan.times, tell)?;
            tell(Event::Done(Box::new(case)));
        }
    }
    Ok(())
}

/// All that is to be sent these ways.
fn kinds(plan: &Plan, sides: &[Side]) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for &side in sides {
        for &size in &plan.sizes {
            for &flows in &plan.flows {
                kinds.push(Kind { side, size, flows, generator: plan.generator });
            }
        }
    }
    kinds
}

/// One case.
fn measure(
    field: &Field<'_>,
    kind: &Kind,
    times: &Times,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Case> {
    tell(Event::Doing(kind, "overloading".into()));
    let traffic = field.traffic(kind)?;
    let overload = traffic.overload(times.warm_up, times.overload)?;
    let rates = Rates::from(overload);
    // One that delivers nothing when overloaded may do so at a lower rate.
    let first = rates.delivered.max(rates.offered / 64.0).max(1e3);
    let highest = rate::highest(first, &times.goal, |rate, time| {
        tell(Event::Doing(kind, format!("searching, {:.3} Mpps", rate / 1e6)));
        traffic.constant(rate, time)
    })?;
    let (mut latency, mut cpu) = (Vec::new(), None);
    for share in SHARES.into_iter().filter(|_| highest.rate > 0.0) {
        tell(Event::Doing(kind, format!("timing, {:.3} Mpps", highest.rate * share / 1e6)));
        let (timed, cost) = field.cost(|| {
            let timed = latency::measure(&traffic, highest.rate, share, times.latency)?;
            let frames = timed.frames;
            Ok((timed, frames))
        })?;
        latency.push(timed);
        if share == COST_AT {
            cpu = Some(cost);
        }
    }
    let Kind { side, size, flows, generator } = *kind;
    Ok(Case {
        contender: field.contender().name().into(),
        modes: field.router().describe(),
        mode: field.mode(),
        underlay: field.underlay(),
        side,
        size,
        flows,
        generator,
        cores: field.cores().clone(),
        notes: notes(field, kind, &overload, &traffic)?,
        overload: rates,
        highest,
        latency,
        cpu,
    })
}

/// The share of the highest rate at which processor time is measured.
const COST_AT: f64 = 0.5;

/// What is to be known about a case's figures.
fn notes(
    field: &Field<'_>,
    kind: &Kind,
    overload: &Flow,
    traffic: &Traffic,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let is_tun = field.router().attachment() == Attachment::Tun;
    if is_tun && kind.side != Side::Decap && kind.generator == Generator::Live {
        notes.push(
            "live frames come to the pod's TUN device through the kernel of the pod's namespace, \
             which forwards them on the sender's core; the offered rate is what is offered to that"
                .into(),
        );
    }
    if is_tun && kind.side != Side::Encap {
        notes.push("the sink on the TUN device is generic XDP, on the router's core".into());
    }
    if overload.loss() < HELD_UP {
        notes.push(
            "the router held the sender up, which shares its core with what the kernel receives: \
             offered is what was left for the sender"
                .into(),
        );
    }
    if field.shares_core() {
        notes.push("a router's own thread shares its core with the sender".into());
    }
    if field.idle() > BUSY {
        notes.push(format!("the machine was busy with {:.2} cores before it began", field.idle()));
    }
    let strange = traffic.sink().counts()?.strange;
    if strange > 0 {
        notes.push(format!(
            "{strange} frames arrived and were not as they should be; {} of them under overload",
            overload.strange
        ));
    }
    Ok(notes)
}

impl Error {
    /// Whether it is about one contender, so that others can be measured.
    fn is_for_one(&self) -> bool {
        use crate::lab::Error as Lab;
        match self {
            Error::Lab(error) => {
                matches!(error, Lab::Daemon { .. } | Lab::Command(_)) && !self.is_interrupt()
            }
            _ => true,
        }
    }
}
