//! `cableway bench lab`: one router between a sender and a sink.
//!
//! For each contender one arena and one router is made; each case has a sender and a sink of its own.

mod figures;

pub use figures::{Case, Rates};

use super::arena::{Arena, FAR, NODE, Underlay};
use super::contender::{Contender, Mode, Place, Router};
use super::traffic::{Flow, Side, Traffic};
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
}

impl Times {
    /// For figures that one can rely on.
    pub const FULL: Times =
        Times { warm_up: Duration::from_millis(200), overload: Duration::from_secs(1) };
    /// For a first look.
    pub const QUICK: Times =
        Times { warm_up: Duration::from_millis(100), overload: Duration::from_millis(300) };
}

/// Frames that are sent to see whether the way is open, and how fast: few enough for any router.
const FIRST: (f64, Duration) = (10e3, Duration::from_millis(50));
/// How often the way may be found closed: neighbours must be resolved at first.
const ATTEMPTS: usize = 20;

/// The routers of one contender, at work in an arena.
#[derive(Debug)]
pub struct Field {
    contender: &'static dyn Contender,
    // In this order: routers go before what they are in.
    routers: Vec<Box<dyn Router>>,
    arena: Arena,
    mode: Mode,
}

impl Field {
    /// One router on the node, and for a [`Side::Path`] another one on the far node.
    ///
    /// # Errors
    /// When the arena can't be made or a router does not start.
    pub fn prepare(
        contender: &'static dyn Contender,
        underlay: Underlay,
        mode: Mode,
        path: bool,
    ) -> Result<Field> {
        if let Some(lack) = contender.lacks() {
            return Err(Error::program(format!("measure {}", contender.name()), lack));
        }
        let arena = Arena::build(underlay)?;
        let sites = [(&NODE, &FAR), (&FAR, &NODE)];
        let mut routers = Vec::new();
        for ((site, peer), core) in sites.into_iter().zip(arena.cores.routers) {
            if site == &NODE || path {
                routers.push(contender.start(&Place { site, peer, core, mode })?);
            }
        }
        Ok(Field { contender, routers, arena, mode })
    }

    /// The router on the node.
    pub fn router(&self) -> &dyn Router {
        &*self.routers[0]
    }

    /// Opens traffic of a kind, and waits until it comes through.
    ///
    /// # Errors
    /// When it does not.
    pub fn traffic(&self, side: Side, size: usize, flows: u32) -> Result<Traffic> {
        let traffic = Traffic::open(&self.arena, side, self.router().attachment(), size, flows)?;
        let mut sent = 0;
        for _ in 0..ATTEMPTS {
            let flow = traffic.constant(FIRST.0, FIRST.1)?;
            sent += flow.sent;
            if flow.arrived * 2 > flow.sent {
                return Ok(traffic);
            }
        }
        let name = self.contender.name().into();
        Err(Error::NothingArrives { contender: name, sent, side })
    }

    /// A case without figures.
    fn case(&self, side: Side, size: usize, flows: u32) -> Case {
        Case {
            contender: self.contender.name().into(),
            modes: self.router().describe(),
            mode: self.mode,
            underlay: self.arena.underlay(),
            side,
            size,
            flows,
            cores: self.arena.cores.clone(),
            notes: Vec::new(),
            overload: None,
        }
    }

    /// Takes all down.
    ///
    /// # Errors
    /// The first failure; all of it is tried.
    pub fn remove(self) -> Result<()> {
        drop(self.routers);
        self.arena.remove()
    }
}

/// Measures what the plan says; each case goes to `tell` when it is complete.
///
/// # Errors
/// The first failure, or that the user asked to stop; what was told stands.
pub fn run(plan: &Plan, mut tell: impl FnMut(Case)) -> Result<()> {
    for contender in &plan.contenders {
        let path = plan.sides.contains(&Side::Path);
        let field = Field::prepare(*contender, plan.underlay, plan.mode, path)?;
        for &side in &plan.sides {
            for &size in &plan.sizes {
                for &flows in &plan.flows {
                    tell(measure(plan, &field, side, size, flows)?);
                }
            }
        }
        field.remove()?;
    }
    Ok(())
}

fn measure(plan: &Plan, field: &Field, side: Side, size: usize, flows: u32) -> Result<Case> {
    let mut case = field.case(side, size, flows);
    let traffic = field.traffic(side, size, flows)?;
    let overload: Flow = traffic.overload(plan.times.warm_up, plan.times.overload)?;
    case.overload = Some(overload.into());
    Ok(case)
}
