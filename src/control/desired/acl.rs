//! Policies as part of the desired state, with the sets and endpoints that their rules speak of.

use super::{Desired, Entry, Origin, Refused, edit};
use crate::config::acl::{Endpoint, Policy, Set};
use crate::config::edit::unknown;
use crate::config::{Config, Name};
use imbl::OrdMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;

/// All three, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acls {
    /// Prefixes that rules name.
    pub sets: Things<Set>,
    /// Who is elsewhere.
    pub endpoints: Things<Endpoint>,
    /// Who may talk to whom.
    pub policies: Things<Policy>,
}

/// Things of one kind.
pub type Things<T> = OrdMap<Name, Entry<Arc<T>>>;

/// The same as sections of a config.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AclSections {
    /// Prefixes that rules name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<Set>,
    /// Who is elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoint: Vec<Endpoint>,
    /// Who may talk to whom.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<Policy>,
}

/// One of them, by its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AclName {
    /// A set.
    Set(Name),
    /// An endpoint.
    Endpoint(Name),
    /// A policy.
    Policy(Name),
}

/// What has a name, and a section of a config.
pub trait Named {
    /// The section, which is also what people call it.
    const KIND: &'static str;

    /// Its name.
    fn name(&self) -> &Name;
}

macro_rules! named {
    ($($type:ident: $kind:literal;)+) => {$(
        impl Named for $type {
            const KIND: &'static str = $kind;

            fn name(&self) -> &Name {
                &self.name
            }
        }
    )+};
}

named! { Set: "set"; Endpoint: "endpoint"; Policy: "policy"; }

impl AclSections {
    /// Takes them out of a config.
    pub fn take(config: &mut Config) -> AclSections {
        AclSections {
            set: std::mem::take(&mut config.set),
            endpoint: std::mem::take(&mut config.endpoint),
            policy: std::mem::take(&mut config.policy),
        }
    }

    /// Puts them into a config that has none.
    pub fn put(self, config: &mut Config) {
        (config.set, config.endpoint, config.policy) = (self.set, self.endpoint, self.policy);
    }

    /// Each alone.
    pub fn each(self) -> impl Iterator<Item = (String, AclSections)> {
        let sets = self.set.into_iter().map(|set| {
            let what = format!("set `{}`", set.name);
            (what, AclSections { set: vec![set], ..Default::default() })
        });
        let endpoints = self.endpoint.into_iter().map(|endpoint| {
            let what = format!("endpoint `{}`", endpoint.name);
            (what, AclSections { endpoint: vec![endpoint], ..Default::default() })
        });
        let policies = self.policy.into_iter().map(|policy| {
            let what = format!("policy `{}`", policy.name);
            (what, AclSections { policy: vec![policy], ..Default::default() })
        });
        sets.chain(endpoints).chain(policies)
    }
}

impl Acls {
    /// Of a config's sections.
    pub(super) fn new(sections: AclSections, origin: Origin) -> Acls {
        let mut acls = Acls::default();
        acls.put(sections, origin);
        acls
    }

    /// Adds these, in the place of others of their names. One that is there already stays whose it is.
    pub(super) fn put(&mut self, sections: AclSections, origin: Origin) {
        put(&mut self.sets, sections.set, origin);
        put(&mut self.endpoints, sections.endpoint, origin);
        put(&mut self.policies, sections.policy, origin);
    }

    /// These instead of all. One that is there already stays whose it is.
    pub(super) fn replaced_by(&self, sections: AclSections) -> Acls {
        let mut new = self.clone();
        retain(&mut new.sets, &sections.set);
        retain(&mut new.endpoints, &sections.endpoint);
        retain(&mut new.policies, &sections.policy);
        new.put(sections, Origin::Api);
        new
    }

    /// As sections of a config.
    pub fn sections(&self, is_meant: impl Fn(Origin) -> bool) -> AclSections {
        AclSections {
            set: list(&self.sets, &is_meant),
            endpoint: list(&self.endpoints, &is_meant),
            policy: list(&self.policies, &is_meant),
        }
    }

    /// Whether there was one of that name.
    pub(super) fn remove(&mut self, name: &AclName) -> bool {
        match name {
            AclName::Set(name) => self.sets.remove(name).is_some(),
            AclName::Endpoint(name) => self.endpoints.remove(name).is_some(),
            AclName::Policy(name) => self.policies.remove(name).is_some(),
        }
    }

    /// Keeps of `old` what came through the API; what is here too, and otherwise, is a clash.
    pub(super) fn keep(&mut self, old: &Acls, mut clash: impl FnMut(&str, &Name)) {
        edit::keep(&old.sets, &mut self.sets, |name| clash("set", name));
        edit::keep(&old.endpoints, &mut self.endpoints, |name| clash("endpoint", name));
        edit::keep(&old.policies, &mut self.policies, |name| clash("policy", name));
    }

    /// Whether there is one of that kind and name, and not this one.
    pub(super) fn has_another(&self, one: &AclSections) -> bool {
        differs(&self.sets, &one.set)
            || differs(&self.endpoints, &one.endpoint)
            || differs(&self.policies, &one.policy)
    }

    /// How many there are, by kind.
    pub(super) fn counts(&self, origin: Origin) -> [usize; 3] {
        [count(&self.sets, origin), count(&self.endpoints, origin), count(&self.policies, origin)]
    }
}

impl Desired {
    /// There is nothing of that kind and name.
    pub fn no_such(&self, kind: &'static str, name: impl Display) -> Refused {
        fn known<T>(things: &Things<T>) -> Vec<&str> {
            things.keys().map(Name::as_str).collect()
        }
        let known = match kind {
            "set" => known(&self.acls.sets),
            "endpoint" => known(&self.acls.endpoints),
            _ => known(&self.acls.policies),
        };
        Refused::Missing(unknown(kind, name, &known))
    }
}

fn put<T: Named + PartialEq>(things: &mut Things<T>, new: Vec<T>, origin: Origin) {
    for value in new {
        if things.get(value.name()).is_none_or(|old| *old.value != value) {
            things.insert(value.name().clone(), Entry { value: Arc::new(value), origin });
        }
    }
}

fn retain<T: Named>(things: &mut Things<T>, list: &[T]) {
    let names: HashSet<&Name> = list.iter().map(Named::name).collect();
    let kept = things.iter().filter(|(name, _)| names.contains(name));
    *things = kept.map(|(name, entry)| (name.clone(), entry.clone())).collect();
}

fn list<T: Clone>(things: &Things<T>, is_meant: impl Fn(Origin) -> bool) -> Vec<T> {
    let meant = things.values().filter(|entry| is_meant(entry.origin));
    meant.map(|entry| (*entry.value).clone()).collect()
}

fn differs<T: Named + PartialEq>(things: &Things<T>, list: &[T]) -> bool {
    list.iter().any(|one| things.get(one.name()).is_some_and(|known| *known.value != *one))
}

fn count<T>(things: &Things<T>, origin: Origin) -> usize {
    things.values().filter(|entry| entry.origin == origin).count()
}
