//! Connections of peers that proved nothing: so many at once, and of one address a part of them.
//!
//! Owns the count. Who proved itself is never counted, so that strangers can use up what is theirs and nothing else. Must never end a
//! connection that stands: a proxy's checks would fail with it.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    net::IpAddr,
    sync::Arc,
};

use parking_lot::Mutex;
use tracing::warn;

/// At once. A plain Envoy has one connection for each of its threads; without a bound, memory and descriptors are whoever asks first.
const MOST: usize = 4096;
/// Of one address, or who holds them all would shut out every other.
const MOST_OF_ONE: usize = MOST / 4;

/// Who has a place. A clone is the same.
#[derive(Clone, Default)]
pub(super) struct Strangers(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Whether the log says that there was no place for somebody.
    is_told: bool,
}

/// The place of one connection; given back on drop.
pub(super) struct Place {
    /// `None`: of a peer that proved itself.
    counted: Option<(Strangers, IpAddr)>,
}

// === impl Strangers ===

impl Strangers {
    /// A place for one more connection, of a stranger at this address or, with `None`, of who proved itself. `None`: there is none.
    pub(super) fn admit(&self, stranger: Option<IpAddr>) -> Option<Place> {
        let Some(address) = stranger else { return Some(Place { counted: None }) };
        let address = address.to_canonical();
        let mut counts = self.0.lock();
        let own = counts.by_address.get(&address).copied().unwrap_or_default();
        if counts.all >= MOST || own >= MOST_OF_ONE {
            // Once: it would be said for every attempt of an attack.
            if !mem::replace(&mut counts.is_told, true) {
                warn!(
                    %address,
                    all = counts.all,
                    "too many connections of peers that proved nothing: more are closed, from now on without a word"
                );
            }
            return None;
        }
        counts.all += 1;
        counts.by_address.insert(address, own + 1);
        Some(Place { counted: Some((self.clone(), address)) })
    }
}

// === impl Place ===

impl Place {
    /// Whether it is of a peer that proved itself.
    pub(super) fn is_proven(&self) -> bool {
        self.counted.is_none()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((strangers, address)) = &self.counted else { return };
        let mut counts = strangers.0.lock();
        counts.all = counts.all.saturating_sub(1);
        if let Entry::Occupied(mut own) = counts.by_address.entry(*address) {
            let left = own.get().saturating_sub(1);
            if left == 0 {
                own.remove();
            } else {
                *own.get_mut() = left;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_share_their_places_and_nobody_else_is_counted() {
        let strangers = Strangers::default();
        let of = |last: u8| strangers.admit(Some(IpAddr::from([192, 0, 2, last])));
        let mut places: Vec<Place> = (0..MOST_OF_ONE).filter_map(|_| of(1)).collect();
        assert_eq!(places.len(), MOST_OF_ONE);
        assert!(of(1).is_none(), "one address has its part");
        assert!(strangers.admit(Some("::ffff:192.0.2.1".parse().unwrap())).is_none(), "however it is written");
        for last in 2..=4 {
            places.extend((0..MOST_OF_ONE).filter_map(|_| of(last)));
        }
        assert_eq!(places.len(), MOST);
        assert!(of(5).is_none(), "all are taken");
        assert!(strangers.admit(None).is_some_and(|place| place.is_proven()));
        drop(places.pop());
        let other = of(5).unwrap();
        assert!(!other.is_proven());
        assert!(of(4).is_none(), "what was free is taken");
        drop((places, other));
        let counts = strangers.0.lock();
        assert_eq!((counts.all, counts.by_address.len()), (0, 0));
    }
}
