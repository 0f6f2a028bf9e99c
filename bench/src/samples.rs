//! How answers are counted, for every load alike.

use std::time::Instant;

use serde::Serialize;

/// Everything that was counted; times in microseconds.
#[derive(Serialize, Default)]
pub struct Counted {
    /// All.
    pub checks: usize,
    /// Those that may pass.
    pub allowed: usize,
    /// Those without an answer.
    pub failed: usize,
    /// Of those that may pass.
    pub p50: u32,
    /// Likewise.
    pub p99: u32,
    /// Likewise.
    pub p999: u32,
    /// Likewise.
    pub max: u32,
    /// Of those that were refused.
    pub refused_p99: u32,
    /// Likewise.
    pub refused_max: u32,
}

/// One answer.
pub struct Sample {
    /// How long it took.
    pub micros: u32,
    /// What it was.
    pub outcome: Outcome,
}

/// What an answer was.
#[derive(PartialEq, Clone, Copy)]
pub enum Outcome {
    /// The request may pass.
    Allowed,
    /// It may not.
    Refused,
    /// There was none.
    Failed,
}

// === impl Sample ===

impl Sample {
    /// An answer that was asked for at this moment and is here now.
    #[must_use]
    pub fn since(begin: Instant, outcome: Outcome) -> Self {
        Self { micros: u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX), outcome }
    }
}

/// Counts them.
#[must_use]
pub fn count(samples: &[Sample]) -> Counted {
    let sorted = |wanted: Outcome| {
        let mut micros: Vec<u32> =
            samples.iter().filter(|sample| sample.outcome == wanted).map(|sample| sample.micros).collect();
        micros.sort_unstable();
        micros
    };
    let (allowed, refused) = (sorted(Outcome::Allowed), sorted(Outcome::Refused));
    Counted {
        checks: samples.len(),
        allowed: allowed.len(),
        failed: sorted(Outcome::Failed).len(),
        p50: quantile(&allowed, 500),
        p99: quantile(&allowed, 990),
        p999: quantile(&allowed, 999),
        max: allowed.last().copied().unwrap_or(0),
        refused_p99: quantile(&refused, 990),
        refused_max: refused.last().copied().unwrap_or(0),
    }
}

fn quantile(sorted: &[u32], permille: usize) -> u32 {
    let index = (sorted.len() * permille / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(0)
}
