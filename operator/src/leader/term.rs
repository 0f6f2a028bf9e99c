//! What follows from what was seen of the Lease, and when. Pure: times are given.

use std::time::Duration;

use tokio::time::Instant;

use super::{Durations, Settings, lease::Seen};

/// Longest lease of a rival that is waited for: nobody's mistake may stop the election for good.
const LONGEST: Duration = Duration::from_mins(1);

/// The state of this replica's campaign.
#[derive(Debug)]
pub(super) struct Term {
    identity: String,
    durations: Durations,
    /// Who stands before us.
    rival: Option<Rival>,
    /// When the last renewal that worked was sent.
    renewed: Option<Instant>,
    /// The highest leadership that was seen in the Lease.
    epoch: u64,
    /// Whether another replica was seen at work since our last write: it took the Lease from us, renewed it or gave it back. One that was dead
    /// all the time is none, such as the pod that this one replaces.
    followed: bool,
}

/// Somebody else's Lease.
#[derive(Debug)]
struct Rival {
    /// Its last version; `None`: it vanished.
    version: Option<String>,
    /// When that was first seen.
    since: Instant,
    /// How long it holds.
    patience: Duration,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Somebody else leads.
    Wait,
    /// Write ourselves into it.
    Write {
        /// The number of the leadership.
        epoch: u64,
        /// How often it changed hands.
        transitions: i32,
        /// Whether it is a new leadership.
        taken: bool,
    },
}

// === impl Term ===

impl Term {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            identity: settings.identity.clone(),
            durations: settings.durations,
            rival: None,
            renewed: None,
            epoch: 0,
            followed: false,
        }
    }

    /// The highest leadership that is known.
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether this replica may do a leader's work.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.renewed.is_some_and(|sent| now < sent + self.durations.trusted())
    }

    /// `heard`: the highest leadership that any data plane has seen.
    pub(super) fn step(&mut self, seen: Option<&Seen>, heard: u64, now: Instant) -> Step {
        let Some(seen) = seen else {
            return self.vanished(heard, now);
        };
        let known = self.epoch.max(heard);
        let above = known.max(seen.epoch) + 1;
        let ours = seen.holder.as_ref() == Some(&self.identity);
        if ours && self.holds(now) {
            // An older number than ours: etcd was restored. A higher one was heard: likewise. Both are outrun.
            let (epoch, taken) = if seen.epoch == known { (known, false) } else { (above, true) };
            return Step::Write { epoch, transitions: seen.transitions, taken };
        }
        // What was believed is over, and what comes now is a leadership of its own.
        let led = self.renewed.take().is_some();
        self.epoch = self.epoch.max(seen.epoch);
        self.followed |= !ours && (led || (seen.holder.is_none() && self.rival.is_some()));
        let take =
            Step::Write { epoch: above, transitions: seen.transitions.saturating_add(i32::from(!ours)), taken: true };
        if ours || seen.holder.is_none() {
            // Ours: an earlier process of this pod, which is no more.
            self.rival = None;
            return take;
        }
        let patience = seen.lease.max(self.durations.lease).min(LONGEST);
        if self.waited(Some(&seen.version), patience, now) { take } else { Step::Wait }
    }

    /// The Lease was deleted, or never made. A rival that had it may believe in it for as long as if it were there.
    fn vanished(&mut self, heard: u64, now: Instant) -> Step {
        self.renewed = None;
        let take = Step::Write { epoch: self.epoch.max(heard) + 1, transitions: 0, taken: true };
        let Some(patience) = self.rival.as_ref().map(|rival| rival.patience) else { return take };
        if self.waited(None, patience, now) { take } else { Step::Wait }
    }

    /// Whether a rival's Lease was seen unchanged for all of its time.
    fn waited(&mut self, version: Option<&str>, patience: Duration, now: Instant) -> bool {
        let known = self.rival.as_ref().filter(|rival| rival.version.as_deref() == version);
        let since = known.map_or(now, |rival| rival.since);
        self.followed |= known.is_none() && version.is_some() && self.rival.is_some();
        self.rival = Some(Rival { version: version.map(str::to_owned), since, patience });
        now.duration_since(since) >= patience
    }

    /// A write that was sent at this time worked. Whether it follows another replica that was at work.
    pub(super) fn written(&mut self, epoch: u64, sent: Instant) -> bool {
        self.epoch = self.epoch.max(epoch);
        self.renewed = Some(sent);
        self.rival = None;
        std::mem::take(&mut self.followed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term() -> Term {
        Term::new(&Settings {
            namespace: "n".to_owned(),
            name: "l".to_owned(),
            identity: "a".to_owned(),
            address: None,
            durations: Durations::default(),
        })
    }

    fn seen(holder: Option<&str>, version: &str) -> Seen {
        Seen { holder: holder.map(str::to_owned), version: version.to_owned(), ..Seen::default() }
    }

    #[test]
    fn a_replica_is_followed_that_was_seen_at_work() {
        let (now, other) = (Instant::now(), Some("b"));
        for (what, looks, follows) in [
            ("nobody had it", vec![(None, "1", 0)], false),
            ("an earlier process of this pod had it", vec![(Some("a"), "1", 0)], false),
            ("it was dead all the time", vec![(other, "1", 0), (other, "1", 15)], false),
            ("it renewed", vec![(other, "1", 0), (other, "2", 5), (other, "2", 20)], true),
            ("it gave back", vec![(other, "1", 0), (None, "2", 2)], true),
        ] {
            let mut term = term();
            let mut last = None;
            for (holder, version, after) in looks {
                last = Some(term.step(Some(&seen(holder, version)), 0, now + Duration::from_secs(after)));
            }
            assert!(matches!(last, Some(Step::Write { .. })), "{what}: {last:?}");
            assert_eq!(term.written(1, now), follows, "{what}");
            assert!(!term.written(1, now), "{what}: told once");
        }
    }

    #[test]
    fn who_took_it_from_us_is_followed_when_it_comes_back() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_mins(1));
        // Seen as the holder, or already as one who gave it back.
        for looks in [vec![Some("b"), None], vec![None]] {
            let mut term = term();
            assert!(!term.written(1, now), "nobody was there before");
            for holder in looks {
                term.step(Some(&seen(holder, "9")), 0, later);
            }
            assert!(term.written(2, later));
        }
    }
}
