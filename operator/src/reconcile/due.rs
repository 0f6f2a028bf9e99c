//! When statuses are worked out: once edits have come to rest. Pure.
//!
//! Owns the two waits and how long edits may put them off. An edit after silence is told of at once; the API server's time belongs to
//! edits of a thousand policies first, and each of them need not be told to be on its way.

use std::time::Duration;

use tokio::time::Instant;

/// Without anything new for so long: acknowledgements of a thousand data planes are one change.
const REST: Duration = Duration::from_millis(50);
/// The same after statuses alone: most of them are our own, coming back.
const ECHOES: Duration = Duration::from_millis(500);
/// So long after the first reason in any case.
const LATEST: Duration = Duration::from_secs(5);

/// When statuses are due.
#[derive(Debug, Default)]
pub(super) struct Due {
    first: Option<Instant>,
    at: Option<Instant>,
    /// The last time, edits were not waited for to the end: until they rest they hold up nothing.
    restless: bool,
}

// === impl Due ===

impl Due {
    /// When to ask [`Self::is_now`].
    pub(super) const fn at(&self) -> Option<Instant> {
        self.at
    }

    /// What policies or data planes say has changed.
    pub(super) fn news(&mut self, now: Instant) {
        self.at = Some(self.latest(now).min(now + REST));
    }

    /// What objects say of themselves may have changed, and nothing else.
    pub(super) fn echo(&mut self, now: Instant) {
        let at = self.latest(now).min(now + ECHOES);
        self.at = Some(self.at.map_or(at, |before| before.min(at)));
    }

    /// Whether it is time. `editing`: an edit was seen that is not applied yet.
    pub(super) fn is_now(&mut self, now: Instant, editing: bool) -> bool {
        if editing && now < self.latest(now) {
            self.news(now);
            return false;
        }
        self.restless = editing;
        self.at = None;
        true
    }

    /// They were worked out. Otherwise the next reason is a late one.
    pub(super) fn done(&mut self) {
        self.first = None;
    }

    /// Whether edits may hold up statuses.
    pub(super) const fn may_wait(&self) -> bool {
        !self.restless
    }

    fn latest(&mut self, now: Instant) -> Instant {
        *self.first.get_or_insert(now) + LATEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Milliseconds from `begin` until statuses are due, if that is so before `patience`; `editing` at each of them.
    fn fires(due: &mut Due, begin: Instant, patience: u32, editing: impl Fn(u32) -> bool) -> Option<u32> {
        (0..patience).find(|ms| {
            let now = begin + MS * *ms;
            if editing(*ms) && ms % 20 == 0 {
                due.news(now);
            }
            due.at().is_some_and(|at| at <= now) && due.is_now(now, editing(*ms))
        })
    }

    #[test]
    fn an_edit_after_silence_is_told_of_at_once_and_many_are_waited_for() {
        let begin = Instant::now();
        let mut due = Due::default();
        assert_eq!(fires(&mut due, begin, 1000, |_| false), None);
        due.news(begin);
        assert_eq!(fires(&mut due, begin, 1000, |_| false), Some(50));
        due.done();
        assert_eq!(fires(&mut due, begin, 20_000, |ms| ms < 2000), Some(2030));
        assert!(due.may_wait());
    }

    #[test]
    fn edits_without_end_hold_up_statuses_once() {
        let begin = Instant::now();
        let mut due = Due::default();
        assert_eq!(fires(&mut due, begin, 20_000, |_| true), Some(5000));
        assert!(!due.may_wait());
        // Not worked out: the state of that moment was still on its way. The next reason does.
        due.news(begin + 5010 * MS);
        assert!(due.at().is_some_and(|at| at <= begin + 5010 * MS));
        assert!(due.is_now(begin + 5010 * MS, true));
        due.done();
        let begin = begin + 6000 * MS;
        assert_eq!(fires(&mut due, begin, 20_000, |ms| ms < 100), Some(130));
        assert!(due.may_wait(), "they came to rest");
    }

    #[test]
    fn our_own_statuses_coming_back_are_few_reasons() {
        let begin = Instant::now();
        let mut due = Due::default();
        for ms in 0..400 {
            due.echo(begin + MS * ms);
        }
        assert_eq!(due.at(), Some(begin + ECHOES), "and not put off by one another");
        due.news(begin + 400 * MS);
        due.echo(begin + 401 * MS);
        assert_eq!(due.at(), Some(begin + 450 * MS));
    }
}
