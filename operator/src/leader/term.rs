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
    /// The last version of the Lease, and when it was first seen.
    seen: Option<(String, Instant)>,
    /// When the last renewal that worked was sent.
    renewed: Option<Instant>,
    /// The highest leadership that was seen in the Lease.
    epoch: u64,
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
        Self { identity: settings.identity.clone(), durations: settings.durations, seen: None, renewed: None, epoch: 0 }
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
            // Deleted, or never made.
            (self.seen, self.renewed) = (None, None);
            return Step::Write { epoch: self.epoch.max(heard) + 1, transitions: 0, taken: true };
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
        self.renewed = None;
        self.epoch = self.epoch.max(seen.epoch);
        let take =
            Step::Write { epoch: above, transitions: seen.transitions.saturating_add(i32::from(!ours)), taken: true };
        if ours || seen.holder.is_none() {
            // Ours: an earlier process of this pod, which is no more.
            return take;
        }
        let since = match &self.seen {
            Some((version, since)) if *version == seen.version => *since,
            _ => {
                self.seen = Some((seen.version.clone(), now));
                now
            }
        };
        let patience = seen.lease.max(self.durations.lease).min(LONGEST);
        if now.duration_since(since) >= patience { take } else { Step::Wait }
    }

    /// A write that was sent at this time worked.
    pub(super) fn written(&mut self, epoch: u64, sent: Instant) {
        self.epoch = self.epoch.max(epoch);
        self.renewed = Some(sent);
        self.seen = None;
    }
}
