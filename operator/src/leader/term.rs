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
        self.renewed = None;
        self.epoch = self.epoch.max(seen.epoch);
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
        self.rival = Some(Rival { version: version.map(str::to_owned), since, patience });
        now.duration_since(since) >= patience
    }

    /// A write that was sent at this time worked.
    pub(super) fn written(&mut self, epoch: u64, sent: Instant) {
        self.epoch = self.epoch.max(epoch);
        self.renewed = Some(sent);
        self.rival = None;
    }
}
