//! What there is to measure: the cases and their names.
//!
//! A case is named `action/tunnel/routes/flows/size`, such as
//! `encap/vxlan/1M-routes/64k-flows-zipf/64B`.

use std::fmt;

/// What is done with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// From a pod into a tunnel.
    Encap,
    /// Out of a tunnel to a pod.
    Decap,
    /// From a pod to another one of the same node.
    Route,
    /// Both: from a pod of one node to a pod of another, on one core.
    Path,
}

impl Action {
    /// All of them.
    pub const ALL: [Action; 4] = [Action::Encap, Action::Decap, Action::Path, Action::Route];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Action::Encap => "encap",
            Action::Decap => "decap",
            Action::Route => "route",
            Action::Path => "path",
        }
    }
}

/// How often each flow has a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// All as often.
    Uniform,
    /// The n-th a n-th as often as the first: Zipf's law, s = 1.
    Zipf,
}

impl Mix {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Mix::Uniform => "uniform",
            Mix::Zipf => "zipf",
        }
    }
}

/// How large frames are, as they leave the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 64 bytes on a wire, of which the last four, the FCS, are not ours.
    Small,
    /// 64, 570 and 1518 bytes, seven to four to one.
    Imix,
    /// Full frames of an MTU of 1500.
    Mtu,
    /// TCP in super-frames of 64 KiB, as a TUN device gives and takes them: a chain of chunks, to be cut
    /// into packets of 1500 bytes for the underlay. On the other side these are joined again.
    Super,
}

impl Size {
    /// All of them.
    pub const ALL: [Size; 4] = [Size::Small, Size::Imix, Size::Mtu, Size::Super];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Size::Small => "64B",
            Size::Imix => "IMIX",
            Size::Mtu => "MTU",
            Size::Super => "super-frame",
        }
    }
}

/// One thing to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What is done.
    pub action: Action,
    /// By which tunnel: a name of [`encap::Configs::samples`]; none where packets stay on the node.
    pub tunnel: Option<String>,
    /// Routes that destinations are behind.
    pub routes: usize,
    /// Flows.
    pub flows: usize,
    /// How often each has a packet.
    pub mix: Mix,
    /// How large they are.
    pub size: Size,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.action.name())?;
        if let Some(tunnel) = &self.tunnel {
            write!(f, "{tunnel}/")?;
        }
        let routes = if self.routes == 1 { "route" } else { "routes" };
        write!(f, "{}-{routes}/", short(self.routes))?;
        match self.flows {
            1 => f.write_str("1-flow")?,
            flows => write!(f, "{}-flows-{}", short(flows), self.mix.name())?,
        }
        write!(f, "/{}", self.size.name())
    }
}

/// `100k`, `64k` for 65,536, `1M`.
pub fn short(count: usize) -> String {
    match count {
        1_000_000.. if count.is_multiple_of(1_000_000) => format!("{}M", count / 1_000_000),
        1_000.. if count.is_multiple_of(1_000) => format!("{}k", count / 1_000),
        1_024.. if count.is_multiple_of(1_024) => format!("{}k", count >> 10),
        _ => count.to_string(),
    }
}

/// Which cases to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// A few that show that it works.
    Quick,
    /// What decides, within about a minute.
    #[default]
    Usual,
    /// Every combination that makes sense.
    All,
}

const MILLION: usize = 1_000_000;

impl Scope {
    /// The cases, sorted by what takes long to build. `tunnels` are names of samples; unless all cases
    /// are asked for, the first one is measured in all, the others in the plainest.
    pub fn cases(self, tunnels: &[&str]) -> Vec<Case> {
        let mut cases = Vec::new();
        for (routes, flows, mix, size) in self.loads() {
            let is_plain = (routes, flows, size) == (1, 1, Size::Small);
            let others = if is_plain || self == Scope::All { tunnels.len() } else { 1 };
            let tunnels: Vec<_> =
                tunnels.iter().take(others).map(|t| Some((*t).to_owned())).collect();
            for action in Action::ALL {
                let tunnels = if action == Action::Route { vec![None] } else { tunnels.clone() };
                cases.extend(tunnels.into_iter().map(|tunnel| Case {
                    action,
                    tunnel,
                    routes,
                    flows,
                    mix,
                    size,
                }));
            }
        }
        cases
    }

    fn loads(self) -> Vec<(usize, usize, Mix, Size)> {
        use Mix::{Uniform, Zipf};
        let sizes = Size::ALL.map(|size| (1, 1, Uniform, size));
        match self {
            Scope::Quick => sizes.into_iter().chain([(100, 100, Zipf, Size::Small)]).collect(),
            Scope::Usual => sizes
                .into_iter()
                .chain([(100_000, 1 << 16, Uniform, Size::Small)])
                .chain(
                    [(1 << 16, Uniform), (1 << 16, Zipf), (MILLION, Uniform)]
                        .map(|(flows, mix)| (MILLION, flows, mix, Size::Small)),
                )
                .collect(),
            Scope::All => every_load(),
        }
    }
}

fn every_load() -> Vec<(usize, usize, Mix, Size)> {
    let mut loads = Vec::new();
    for routes in [1, 100_000, MILLION] {
        for flows in [1, 1_000, 1 << 16, MILLION] {
            for mix in [Mix::Uniform, Mix::Zipf] {
                // One flow has no mix; more bulk flows than that at a time there are not.
                let sizes = Size::ALL.into_iter().filter(|&size| {
                    (flows > 1 || mix == Mix::Uniform) && (flows <= 1_000 || size != Size::Super)
                });
                loads.extend(sizes.map(|size| (routes, flows, mix, size)));
            }
        }
    }
    loads
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn cases_have_names_of_their_own() {
        for scope in [Scope::Quick, Scope::Usual, Scope::All] {
            let cases = scope.cases(&["vxlan", "other"]);
            let names: HashSet<_> = cases.iter().map(Case::to_string).collect();
            assert_eq!(names.len(), cases.len());
        }
        let cases = Scope::Usual.cases(&["vxlan"]);
        let names: Vec<_> = cases.iter().map(Case::to_string).collect();
        for name in ["encap/vxlan/1-route/1-flow/64B", "route/1M-routes/64k-flows-zipf/64B"] {
            assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
        }
    }

    #[test]
    fn all_has_what_the_usual_has() {
        let all = Scope::All.cases(&["vxlan"]);
        assert!(Scope::Usual.cases(&["vxlan"]).iter().all(|case| all.contains(case)));
    }
}
