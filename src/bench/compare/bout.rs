//! One contender's turn: its routers are started, tried, and taken down again.

use super::schedule::Entrant;
use super::trial::Trial;
use crate::bench::arena::{Arena, FAR, NODE, Underlay};
use crate::bench::contender::{Contender, Mode};
use crate::bench::lab::Field;
use crate::bench::report::Curve;
use crate::bench::traffic::{Generator, Kind, Side};
use crate::bench::{Error, Result};
use crate::interrupt;
use crate::lab::demo::traffic;
use crate::lab::shell::{self, sh};
use hdrhistogram::Histogram;
use serde::Deserialize;
use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::time::Duration;

/// What frames are counted of: small ones, of many flows.
const SMALL: Kind = Kind { side: Side::Encap, size: 60, flows: 64, generator: Generator::Live };
/// What must arrive as it was sent, in both directions.
const HASHED: u64 = 10_000_000;
/// The rate at which CPU time is compared: below what every contender can do.
const CPU_RATE: f64 = 100_000.0;
/// Percentiles of a curve.
const PERCENTILES: [f64; 16] =
    [1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9];

/// How long each trial takes.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Before anything counts.
    pub warm_up: Duration,
    /// What counts.
    pub trial: Duration,
}

/// A contender who has turns in the arena.
pub struct Turns<'a> {
    contender: &'static dyn Contender,
    arena: &'a RefCell<Arena>,
    times: Times,
    /// All its round trips, in nanoseconds, by how workers waited.
    round_trips: [Histogram<u64>; 2],
}

impl<'a> Turns<'a> {
    /// Of a contender.
    pub fn new(contender: &'static dyn Contender, arena: &'a RefCell<Arena>, times: Times) -> Self {
        let histogram = || Histogram::new(3).expect("three digits are supported");
        let round_trips = [histogram(), histogram()];
        Turns { contender, arena, times, round_trips }
    }

    /// Whether it carries what it is given as it is; how it works here if it does, and if not why not.
    ///
    /// # Errors
    /// When the user has had enough.
    pub fn qualify(&self) -> Result<std::result::Result<Vec<String>, String>> {
        let mut about = Vec::new();
        for underlay in [Underlay::Super, Underlay::Wire] {
            self.arena.borrow_mut().set_underlay(underlay)?;
            let arena = self.arena.borrow();
            let tried = Field::prepare(self.contender, &arena, Mode::Adaptive, true, 0.0);
            let done = tried.and_then(|field| {
                about = field.router().describe();
                traffic::exchange(NODE.pod_netns, FAR.pod_netns, FAR.pod.into(), HASHED)
                    .map_err(|fault| Error::program("carry 10 MB", fault))
            });
            match done {
                Ok(_) => {}
                Err(error) if error.is_interrupt() || interrupt::is_raised() => return Err(error),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        Ok(Ok(about))
    }

    /// How its round trips were distributed.
    pub fn curves(&self) -> Vec<Curve> {
        let ids = ["rr_poll", "rr_adaptive"].into_iter().zip(&self.round_trips);
        let measured = ids.filter(|(_, times)| !times.is_empty());
        let curve = |(id, times): (&str, &Histogram<u64>)| Curve {
            id: id.to_owned(),
            contender: self.contender.name().to_owned(),
            unit: "µs".to_owned(),
            points: PERCENTILES.map(|p| [p, times.value_at_percentile(p) as f64 / 1e3]).to_vec(),
        };
        measured.map(curve).collect()
    }

    fn try_it(&mut self, trial: Trial) -> Result<Option<Vec<f64>>> {
        let needs_tunnel =
            matches!(trial, Trial::Encap | Trial::EncapGentle | Trial::Decap | Trial::Cpu);
        if needs_tunnel && !self.contender.tunnels() {
            return Ok(None);
        }
        let (underlay, mode) = match trial {
            Trial::Tcp { underlay, .. } => (underlay, Mode::Adaptive),
            Trial::RoundTrips { mode } => (Underlay::Super, mode),
            _ => (Underlay::Super, Mode::Adaptive),
        };
        self.arena.borrow_mut().set_underlay(underlay)?;
        let arena = self.arena.borrow();
        let idle = if trial == Trial::Cpu { arena.idle()? } else { 0.0 };
        let field = Field::prepare(self.contender, &arena, mode, !needs_tunnel, idle)?;
        let value = match trial {
            Trial::Encap => self.overload(&field, SMALL)?,
            Trial::EncapGentle => {
                self.overload(&field, Kind { flows: 1, generator: Generator::Packet, ..SMALL })?
            }
            Trial::Decap => self.overload(&field, Kind { side: Side::Decap, ..SMALL })?,
            Trial::Path => self.overload(&field, Kind { side: Side::Path, ..SMALL })?,
            Trial::Cpu => self.cpu(&field)?,
            Trial::Tcp { streams, .. } => self.tcp(streams)?,
            Trial::RoundTrips { mode } => {
                let times = self.play()?;
                let all = &mut self.round_trips[usize::from(mode == Mode::Adaptive)];
                all.add(&times).map_err(|e| Error::program("count round trips", e))?;
                let at = |percent| times.value_at_percentile(percent) as f64 / 1e3;
                return Ok(Some(vec![at(50.0), at(99.0)]));
            }
        };
        Ok(Some(vec![value]))
    }

    /// Packets a second that arrive of all that the sender can make.
    fn overload(&self, field: &Field<'_>, kind: Kind) -> Result<f64> {
        let traffic = field.traffic(&kind)?;
        Ok(traffic.overload(self.times.warm_up, self.times.trial)?.delivered())
    }

    /// Nanoseconds of the machine for each packet.
    fn cpu(&self, field: &Field<'_>) -> Result<f64> {
        let traffic = field.traffic(&SMALL)?;
        let (_, cpu) = field.cost(|| {
            let flow = traffic.constant(CPU_RATE, self.times.trial)?;
            Ok(((), flow.arrived))
        })?;
        Ok(cpu.machine_ns)
    }

    /// Gbit/s that arrive, by iperf3.
    fn tcp(&self, streams: u32) -> Result<f64> {
        let (from, to, address) = (NODE.pod_netns, FAR.pod_netns, FAR.pod);
        let mut server = serve(to)?;
        let time = self.times.trial.as_secs().max(1);
        let client = sh!("ip netns exec {from} iperf3 -c {address} -P {streams} -J -t {time}");
        // If nobody came it never ends by itself.
        let _ = server.kill();
        let _ = server.wait();
        let done: Iperf = serde_json::from_str(&client?)
            .map_err(|e| Error::program("read what iperf3 says", e))?;
        Ok(done.end.sum_received.bits_per_second / 1e9)
    }

    /// Round trips of 64 bytes.
    fn play(&self) -> Result<Histogram<u64>> {
        let (from, to, address): (_, _, IpAddr) = (NODE.pod_netns, FAR.pod_netns, FAR.pod.into());
        traffic::ping_pong(from, to, address, self.times.trial)
            .map_err(|fault| Error::program("play ping-pong", fault))
    }
}

impl Entrant for Turns<'_> {
    fn name(&self) -> &str {
        self.contender.name()
    }

    fn attempt(&mut self, trial: Trial, measures: usize) -> Result<Option<Vec<f64>>> {
        let mut values = self.try_it(trial)?;
        if let Some(values) = &mut values {
            values.truncate(measures);
        }
        Ok(values)
    }
}

/// The answer of `iperf3 -J`, as far as it is of interest.
#[derive(Deserialize)]
struct Iperf {
    end: End,
}

#[derive(Deserialize)]
struct End {
    sum_received: Sum,
}

#[derive(Deserialize)]
struct Sum {
    bits_per_second: f64,
}

/// iperf3's server for one client, once it listens.
fn serve(netns: &str) -> Result<Child> {
    let mut server = shell::command(&format!("ip netns exec {netns} iperf3 -s -1 --forceflush"));
    let server = server.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = server.spawn().map_err(|e| Error::io("start iperf3", e))?;
    let mut said = BufReader::new(server.stdout.take().expect("it was asked for"));
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        if !said.read_line(&mut line).is_ok_and(|length| length > 0) {
            let _ = server.wait();
            return Err(Error::program("listen with iperf3", "it has ended; is port 5201 in use?"));
        }
    }
    // What else it says, nobody hears: its end of the pipe stays open.
    server.stdout = Some(said.into_inner());
    Ok(server)
}
