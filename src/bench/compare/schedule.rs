//! Who has his turn when.
//!
//! In a round of a trial every contender has one turn, right after each other; the next round goes
//! the other way round (ABBA). So two values of a round are close in time, and what changes steadily
//! meanwhile favours nobody.

use super::Progress;
use super::trial::Trial;
use crate::bench::Result;
use crate::bench::report::Measured;
use crate::interrupt;

/// A contender that is set up, and stands still when it is not its turn.
pub trait Entrant {
    /// What it is called.
    fn name(&self) -> &str;

    /// Has its turn: the value of each of the trial's measures. `None` when it does no such thing.
    ///
    /// # Errors
    /// When it failed, or the user has had enough.
    fn attempt(&mut self, trial: Trial, measures: usize) -> Result<Option<Vec<f64>>>;
}

/// What was agreed on.
#[derive(Debug)]
pub struct Schedule {
    /// The trials and their measures' ids.
    pub trials: Vec<(Trial, &'static [&'static str])>,
    /// Rounds of each.
    pub rounds: usize,
}

impl Schedule {
    /// Carries it out; whether nobody failed. What there is stands in `measured` at any time; who fails has
    /// no value in that round.
    ///
    /// # Errors
    /// When the user has had enough.
    pub fn run(
        &self,
        entrants: &mut [impl Entrant],
        measured: &mut Vec<Measured>,
        mut tell: impl FnMut(Progress<'_>),
    ) -> Result<bool> {
        let mut is_well = true;
        for (trial, ids) in &self.trials {
            for round in 0..self.rounds {
                let mut order: Vec<usize> = (0..entrants.len()).collect();
                if round % 2 == 1 {
                    order.reverse();
                }
                for which in order {
                    let entrant = &mut entrants[which];
                    let values = match entrant.attempt(*trial, ids.len()) {
                        Ok(values) => values,
                        Err(error) if error.is_interrupt() || interrupt::is_raised() => {
                            return Err(error);
                        }
                        Err(error) => {
                            tell(Progress::Failed(entrant.name(), ids[0], &error));
                            is_well = false;
                            None
                        }
                    };
                    for (nth, id) in ids.iter().enumerate() {
                        let value = values.as_ref().and_then(|values| values.get(nth)).copied();
                        note(measured, id, entrant.name(), round, value);
                    }
                }
                tell(Progress::Round(ids[0], round + 1));
            }
        }
        Ok(is_well)
    }
}

/// Writes a value down as that of a round.
fn note(all: &mut Vec<Measured>, id: &str, contender: &str, round: usize, value: Option<f64>) {
    let known = all.iter().position(|m| m.id == id && m.contender == contender);
    let known = known.unwrap_or_else(|| {
        let (id, contender) = (id.to_owned(), contender.to_owned());
        all.push(Measured { id, contender, values: Vec::new() });
        all.len() - 1
    });
    let values = &mut all[known].values;
    values.resize(round, None);
    values.push(value);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::rows::rows;
    use super::super::trial::TRIALS;
    use super::*;
    use crate::lab::shell;
    use std::cell::RefCell;

    struct Fake<'a> {
        name: &'static str,
        value: f64,
        turns: &'a RefCell<Vec<&'static str>>,
        until: usize,
    }

    impl Entrant for Fake<'_> {
        fn name(&self) -> &str {
            self.name
        }

        fn attempt(&mut self, trial: Trial, measures: usize) -> Result<Option<Vec<f64>>> {
            self.turns.borrow_mut().push(self.name);
            if self.turns.borrow().len() > self.until {
                return Err(shell::Error::Interrupted.into());
            }
            let can = trial != Trial::Path || self.name != "cableway-tun";
            Ok(can.then(|| vec![self.value; measures]))
        }
    }

    fn run(rounds: usize, until: usize) -> (Vec<Measured>, Vec<&'static str>, Result<bool>) {
        let turns = RefCell::new(Vec::new());
        let mut measured = Vec::new();
        let fake = |name, value| Fake { name, value, turns: &turns, until };
        let mut entrants = [fake("kernel-vxlan", 2.0), fake("cableway-tun", 3.0)];
        let schedule = Schedule { trials: TRIALS.to_vec(), rounds };
        let result = schedule.run(&mut entrants, &mut measured, |_| {});
        (measured, turns.into_inner(), result)
    }

    #[test]
    fn everybody_has_a_turn_and_the_order_turns_round() {
        let (measured, turns, result) = run(3, usize::MAX);
        assert!(result.unwrap());
        let (a, b) = ("kernel-vxlan", "cableway-tun");
        assert_eq!(turns[..6], [a, b, b, a, a, b]);
        assert_eq!(turns.len(), 6 * TRIALS.len());
        let rows = rows(&measured);
        let row = |id: &str| rows.iter().find(|row| row.id == id);
        assert_eq!(row("tcp1_super").unwrap().ratio.unwrap().median, 1.5);
        assert_eq!(row("rr_p99_poll").unwrap().pairs, 3);
        assert_eq!(row("udp60_path_pps"), None, "who can't is not compared");
    }

    #[test]
    fn what_was_measured_before_the_end_is_kept() {
        let (measured, _, result) = run(3, 5);
        assert!(result.unwrap_err().is_interrupt());
        assert_eq!(rows(&measured)[0].pairs, 2);
        assert_eq!(measured[0].values.len(), 3, "one of an unfinished round");
    }
}
