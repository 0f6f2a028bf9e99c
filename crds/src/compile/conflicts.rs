//! Who keeps which host. Claims come oldest first; what is taken stays taken.
//!
//! The same host twice, or an overlap across namespaces: the older keeps it. Within a namespace a more specific host may stand
//! beside a wider one, and wins at lookup. One claim costs the labels of its host, whatever the number of policies.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::references::namespace;
use crate::hosts::HostPattern;

/// Hosts given away so far.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Exactly this pattern, and who has it.
    owners: HashMap<HostPattern, Arc<str>>,
    /// For each suffix: policies with a host below it, one per namespace.
    below: HashMap<Box<str>, HashSet<Arc<str>>>,
}

/// What became of one policy's hosts.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) kept: Vec<HostPattern>,
    /// Lost hosts and who keeps them.
    pub(super) lost: Vec<(HostPattern, Arc<str>)>,
    /// Hosts that the namespace may not have.
    pub(super) not_granted: Vec<HostPattern>,
}

// === impl Claims ===

impl Claims {
    pub(super) fn claim(&mut self, policy: &Arc<str>, hosts: &[HostPattern]) -> Share {
        let mut share = Share::default();
        for host in hosts {
            match self.keeper(policy, host) {
                Some(keeper) if keeper == *policy => {}
                Some(keeper) => share.lost.push((host.clone(), keeper)),
                None => {
                    self.give(policy, host);
                    share.kept.push(host.clone());
                }
            }
        }
        share
    }

    /// Who has this host, or one that overlaps it, already.
    fn keeper(&self, policy: &Arc<str>, host: &HostPattern) -> Option<Arc<str>> {
        if let Some(owner) = self.owners.get(host) {
            return Some(owner.clone());
        }
        let own = namespace(policy);
        let foreign = |owner: &&Arc<str>| namespace(owner) != own;
        let above = suffixes(host.name())
            .find_map(|suffix| self.owners.get(&HostPattern::Suffix(suffix.into())).filter(foreign));
        let below = || match host {
            HostPattern::Suffix(suffix) => {
                self.below.get(suffix).and_then(|policies| policies.iter().filter(foreign).min())
            }
            HostPattern::Exact(_) => None,
        };
        above.or_else(below).cloned()
    }

    fn give(&mut self, policy: &Arc<str>, host: &HostPattern) {
        self.owners.insert(host.clone(), policy.clone());
        for suffix in suffixes(host.name()) {
            let policies = self.below.entry(suffix.into()).or_default();
            if !policies.iter().any(|one| namespace(one) == namespace(policy)) {
                policies.insert(policy.clone());
            }
        }
    }
}

/// Every suffix that the name is below of.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_keeps_and_specific_stands_beside_wide() {
        let mut claims = Claims::default();
        let mut claim = |policy: &str, hosts: &[&str]| {
            let hosts: Vec<_> = hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect();
            let share = claims.claim(&policy.into(), &hosts);
            let lost = share.lost.iter().map(|(host, keeper)| format!("{host} {keeper}")).collect::<Vec<_>>();
            (share.kept.iter().map(ToString::to_string).collect::<Vec<_>>(), lost)
        };
        assert_eq!(
            claim("a/shop", &["shop.test", "*.shop.test"]),
            (vec!["shop.test".into(), "*.shop.test".into()], vec![])
        );
        assert_eq!(claim("a/admin", &["admin.shop.test", "*.eu.shop.test"]).1, Vec::<String>::new());
        assert_eq!(
            claim("a/again", &["shop.test", "new.test"]),
            (vec!["new.test".into()], vec!["shop.test a/shop".into()])
        );
        assert_eq!(claim("b/squat", &["cheap.shop.test"]), (vec![], vec!["cheap.shop.test a/shop".into()]));
        assert_eq!(claim("b/wide", &["*.test"]).1, vec!["*.test a/shop".to_owned()]);
        assert_eq!(claim("b/other", &["other.example"]).1, Vec::<String>::new());
        assert_eq!(claim("a/wide", &["*.example"]).1, vec!["*.example b/other".to_owned()]);
        assert_eq!(claim("a/twice", &["x.test", "x.test"]).0, vec!["x.test".to_owned()]);
    }
}
