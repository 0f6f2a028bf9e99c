//! Which proxies ask here, as far as secrets go: whether any proved itself, and from whom secrets were withheld.
//!
//! Owns a few addresses for a few minutes; what it knows is told to the operator, which says so in the status of policies. Must never
//! decide anything.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crds::push::PeerReport;
use parking_lot::Mutex;
use tokio::time::Instant;

/// What was seen of peers.
#[derive(Debug, Default)]
pub struct Peers {
    proved: AtomicBool,
    withheld: Mutex<HashMap<Arc<str>, HashMap<IpAddr, Instant>>>,
}

/// How long a secret that was withheld is told of: a proxy that proves itself now is believed to go on doing so after that.
const MEMORY: Duration = Duration::from_mins(5);
/// Addresses a policy.
const ADDRESSES: usize = 10;

// === impl Peers ===

impl Peers {
    /// A proxy proved itself, or one on this machine may ask.
    pub fn proved(&self) {
        // On every connection: a read costs less than a write that others must see.
        if !self.proved.load(Ordering::Relaxed) {
            self.proved.store(true, Ordering::Relaxed);
        }
    }

    /// A secret of this policy was withheld, as the peer did not prove itself.
    pub fn withheld(&self, policy: &Arc<str>, from: IpAddr, now: Instant) {
        let (from, mut withheld) = (from.to_canonical(), self.withheld.lock());
        let addresses = withheld.entry(policy.clone()).or_default();
        addresses.retain(|_, at| now.duration_since(*at) < MEMORY);
        if addresses.len() < ADDRESSES || addresses.contains_key(&from) {
            addresses.insert(from, now);
        }
    }

    /// What is told now; what is too old is forgotten.
    pub fn report(&self, now: Instant) -> PeerReport {
        let mut withheld = self.withheld.lock();
        withheld.retain(|_, addresses| {
            addresses.retain(|_, at| now.duration_since(*at) < MEMORY);
            !addresses.is_empty()
        });
        let strangers = withheld.iter().map(|(policy, addresses)| {
            let mut addresses: Vec<IpAddr> = addresses.keys().copied().collect();
            addresses.sort();
            (policy.clone(), addresses)
        });
        let strangers: BTreeMap<_, _> = strangers.collect();
        PeerReport { proved: self.proved.load(Ordering::Relaxed), strangers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_of_for_a_while_and_are_few() {
        let (peers, begin) = (Peers::default(), Instant::now());
        let policy: Arc<str> = "a/b".into();
        assert_eq!(peers.report(begin), PeerReport::default());
        for last in 0..=20 {
            peers.withheld(&policy, IpAddr::from([10, 0, 0, last]), begin);
        }
        peers.proved();
        let report = peers.report(begin + Duration::from_secs(299));
        assert!(report.proved);
        assert_eq!(report.strangers[&policy].len(), ADDRESSES);
        assert_eq!(report.strangers[&policy][0], IpAddr::from([10, 0, 0, 0]));
        // One that goes on is told of for longer than the others.
        peers.withheld(&policy, IpAddr::from([10, 0, 0, 3]), begin + Duration::from_secs(200));
        let report = peers.report(begin + Duration::from_secs(301));
        assert_eq!(report.strangers[&policy], [IpAddr::from([10, 0, 0, 3])]);
        assert!(peers.report(begin + Duration::from_secs(501)).strangers.is_empty());
    }
}
