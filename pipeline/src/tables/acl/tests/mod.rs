//! Policies as the stages ask them.

mod kubernetes;
mod random;
mod reference;
mod tiers;

use super::*;
use ipnet::IpNet;
use reference::Judgement;
use std::net::IpAddr;

/// What a program says, in the words of the reference.
fn judge(acl: &Acl, program: &Program, packet: &Tuple) -> Judgement {
    let origin = |rule| acl.rule(rule).origin.clone();
    let mut on_the_way = Vec::new();
    let decision = program.judge(packet, |rule| on_the_way.push(origin(rule)));
    Judgement { action: decision.action, rule: origin(decision.rule), on_the_way }
}
