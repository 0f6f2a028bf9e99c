//! Pairs by algorithm, and when each is made, signs and goes. Pure but for making keys: no file, no channel.
//!
//! ```text
//!  made ──ANNOUNCE──► signs ──ROTATE──► the next one is made ──ANNOUNCE──► the next one signs ──KEEP──► gone
//!   └───────────────────────────── published ─────────────────────────────────────────────────┘
//! ```
//!
//! A key is published before it signs, so that an upstream with cached keys knows it; only the very first one signs at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use crds::{push::OwnKey, signing::SigningKey, v1alpha1::SigningAlgorithm};
use serde_json::{Value, json};

use super::generate::{Pair, name};

/// Seconds until a key is followed by the next.
pub(super) const ROTATE: i64 = 30 * 24 * 3600;
/// Seconds between the publication of a key and its first use.
pub(super) const ANNOUNCE: i64 = 3600;
/// Seconds that a key stays published after its last use: the longest life of a token of ours, and as much again for clocks.
pub(super) const KEEP: i64 = 2 * 3600;

/// The pairs of every algorithm that is in use, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Rings(BTreeMap<SigningAlgorithm, Vec<Pair>>);

// === impl Rings ===

impl Rings {
    /// From what was kept. Fails as a whole: half of them would publish less than what verifies.
    pub fn read(keys: &[OwnKey]) -> io::Result<Self> {
        let mut rings = Self::default();
        for key in keys {
            let pair = Pair::restore(key.algorithm, key.pkcs8.expose(), key.made)?;
            rings.0.entry(key.algorithm).or_default().push(pair);
        }
        rings.0.values_mut().for_each(|pairs| pairs.sort_by_key(|pair| pair.made));
        Ok(rings)
    }

    /// To be kept: these are private keys.
    pub fn kept(&self) -> Vec<OwnKey> {
        let of = |algorithm: SigningAlgorithm, pair: &Pair| OwnKey {
            algorithm,
            made: pair.made,
            pkcs8: pair.private.clone(),
        };
        self.0.iter().flat_map(|(algorithm, pairs)| pairs.iter().map(|pair| of(*algorithm, pair))).collect()
    }

    /// Whether there is a key of this algorithm.
    pub fn has(&self, algorithm: SigningAlgorithm) -> bool {
        self.0.get(&algorithm).is_some_and(|pairs| !pairs.is_empty())
    }

    /// Adds what others have: nothing that somebody publishes is forgotten before its time.
    pub fn merge(&mut self, other: Self) {
        for (algorithm, theirs) in other.0 {
            let own = self.0.entry(algorithm).or_default();
            let known: BTreeSet<Vec<u8>> = own.iter().map(|pair| pair.private.expose().to_vec()).collect();
            own.extend(theirs.into_iter().filter(|pair| !known.contains(pair.private.expose())));
            own.sort_by_key(|pair| pair.made);
        }
    }

    /// Makes the first key of each of these algorithms, and adds and drops what is due in every ring. `now`: seconds since the Unix epoch.
    /// RSA takes a moment. Whether anything changed.
    pub fn turn(&mut self, needed: impl IntoIterator<Item = SigningAlgorithm>, now: i64) -> io::Result<bool> {
        for algorithm in needed {
            self.0.entry(algorithm).or_default();
        }
        let mut changed = false;
        for (algorithm, pairs) in &mut self.0 {
            if pairs.last().is_none_or(|newest| newest.made.saturating_add(ROTATE) <= now) {
                pairs.push(Pair::generate(*algorithm, now)?);
                changed = true;
            }
            // A pair is of use until its follower has signed for long enough.
            let over = |follower: &Pair| follower.made.saturating_add(ANNOUNCE + KEEP) <= now;
            let gone = pairs.iter().skip(1).take_while(|follower| over(follower)).count();
            pairs.drain(..gone);
            changed |= gone > 0;
        }
        Ok(changed)
    }

    /// Algorithms in use.
    pub fn algorithms(&self) -> impl Iterator<Item = SigningAlgorithm> {
        self.0.keys().copied()
    }

    /// The public halves (RFC 7517 section 5).
    pub fn jwks(&self) -> Value {
        let keys: Vec<&Value> = self.0.values().flatten().map(|pair| &pair.jwk).collect();
        json!({ "keys": keys })
    }

    /// The newest pair that was published for long enough, else the oldest.
    pub(super) fn signing(&self, algorithm: SigningAlgorithm, now: i64) -> Option<Arc<SigningKey>> {
        let pairs = self.0.get(&algorithm)?;
        let announced = pairs.iter().rev().find(|pair| pair.made.saturating_add(ANNOUNCE) <= now);
        announced.or(pairs.first()).map(|pair| pair.key.clone())
    }

    /// The pairs of one algorithm.
    pub(super) fn of(&self, algorithm: SigningAlgorithm) -> &[Pair] {
        self.0.get(&algorithm).map_or(&[], Vec::as_slice)
    }

    /// Puts the pairs of one algorithm in.
    pub(super) fn put(&mut self, algorithm: SigningAlgorithm, pairs: Vec<Pair>) {
        self.0.insert(algorithm, pairs);
    }
}

/// Names for a discovery document.
pub(super) fn names(rings: &Rings) -> Vec<&'static str> {
    rings.algorithms().map(name).collect()
}
