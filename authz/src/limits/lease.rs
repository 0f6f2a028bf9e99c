//! Connections that are open: each holds a lease, which ends when its end is told, or when nobody has told that it lives for a while.
//!
//! A proxy asks about the handshake and never again. It tells of what it does in its access log, though: that a stream still is there, and
//! that it ended. Whoever hears that renews the lease or ends it; a proxy that died tells nothing, and its leases end by themselves.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crds::snapshot::SharedStore;

use super::CounterName;

/// How long a lease holds from the last word of its connection: three of the proxy's reports.
pub const LEASE: Duration = Duration::from_secs(90);
/// Leases in this process, some 24 bytes each. More connections than a proxy can hold.
const MOST: usize = 1 << 18;

/// A handshake that would be one connection more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseAsk {
    /// Where leases are; `None`: in each process.
    pub store: Option<Arc<SharedStore>>,
    /// Whose they are.
    pub counter: CounterName,
    /// Most at once.
    pub max: u32,
}

/// A connection, by a name that tells nothing about anybody. Written as `COUNTER.ID`, both in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Whose.
    pub counter: CounterName,
    /// Which; nobody can guess it.
    pub id: u64,
}

/// What came of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leased {
    /// There was room.
    Granted(Lease),
    /// There was none.
    Full,
    /// It could not be found out.
    Unknown,
}

/// What is told of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It is open.
    Alive,
    /// It is not any more.
    Ended,
}

/// A text that names no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no lease")]
pub struct NoLease;

/// The leases of this process; each replica has its own.
#[derive(Debug, Default)]
pub struct LocalLeases {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// By counter: each lease, and when it was last heard of.
    by_counter: HashMap<CounterName, HashMap<u64, i64>>,
    count: usize,
}

// === impl Lease ===

impl fmt::Display for Lease {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:016x}", self.counter.hex(), self.id)
    }
}

impl FromStr for Lease {
    type Err = NoLease;

    fn from_str(text: &str) -> Result<Self, NoLease> {
        let (counter, id) = text.split_once('.').ok_or(NoLease)?;
        let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex(counter, 32) || !is_hex(id, 16) {
            return Err(NoLease);
        }
        let counter = u128::from_str_radix(counter, 16).map_err(|_| NoLease)?;
        let id = u64::from_str_radix(id, 16).map_err(|_| NoLease)?;
        Ok(Self { counter: CounterName::from_bits(counter), id })
    }
}

// === impl LocalLeases ===

impl LocalLeases {
    /// Opens one more connection under this id, if there is room.
    pub fn open(&self, lease: Lease, max: u32, now_ms: i64) -> Leased {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.count >= MOST {
            held.forget_all(now_ms);
            if held.count >= MOST {
                return Leased::Unknown;
            }
        }
        if held.forget(lease.counter, now_ms) >= usize::try_from(max).unwrap_or(usize::MAX) {
            return Leased::Full;
        }
        held.insert(lease, now_ms);
        Leased::Granted(lease)
    }

    /// Takes note of what is told. A connection that is not known, because this process began after it, counts from now on.
    pub fn hear(&self, lease: Lease, sign: Sign, now_ms: i64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match sign {
            Sign::Alive if held.count < MOST => held.insert(lease, now_ms),
            Sign::Alive => {}
            Sign::Ended => held.remove(lease),
        }
    }
}

// === impl Held ===

impl Held {
    fn insert(&mut self, lease: Lease, now_ms: i64) {
        let own = self.by_counter.entry(lease.counter).or_default();
        if own.insert(lease.id, now_ms).is_none() {
            self.count += 1;
        }
    }

    fn remove(&mut self, lease: Lease) {
        let Some(own) = self.by_counter.get_mut(&lease.counter) else { return };
        if own.remove(&lease.id).is_some() {
            self.count = self.count.saturating_sub(1);
        }
        if own.is_empty() {
            self.by_counter.remove(&lease.counter);
        }
    }

    /// Forgets the leases of a counter that are over; how many are left.
    fn forget(&mut self, counter: CounterName, now_ms: i64) -> usize {
        let Some(own) = self.by_counter.get_mut(&counter) else { return 0 };
        let before = own.len();
        own.retain(|_, heard_ms| holds(*heard_ms, now_ms));
        let left = own.len();
        self.count = self.count.saturating_sub(before - left);
        if left == 0 {
            self.by_counter.remove(&counter);
        }
        left
    }

    fn forget_all(&mut self, now_ms: i64) {
        self.by_counter.retain(|_, own| {
            own.retain(|_, heard_ms| holds(*heard_ms, now_ms));
            !own.is_empty()
        });
        self.count = self.by_counter.values().map(HashMap::len).sum();
    }
}

/// A clock that was set back must not keep a lease for as long.
fn holds(heard_ms: i64, now_ms: i64) -> bool {
    u128::from(now_ms.abs_diff(heard_ms)) < LEASE.as_millis()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use crds::snapshot::LimitId;

    use super::{
        super::{LimitKey, Subject},
        *,
    };

    const NOW: i64 = 1_800_000_000_000;
    const LIFE: i64 = 90_000;

    fn lease(who: u32, id: u64) -> Lease {
        let subject = Subject::Address(IpAddr::V4(who.into()));
        Lease { counter: CounterName::of(&LimitKey { limit: LimitId(1), subject }), id }
    }

    #[test]
    fn a_name_comes_back_and_nothing_else_is_one() {
        let one = lease(7, 0x00ab_cdef);
        let text = one.to_string();
        assert_eq!(text.parse(), Ok(one));
        for bad in [
            "",
            ".",
            text.get(1..).unwrap(),
            &format!("{text}0"),
            &text.replace('.', "-"),
            &text.replace('a', "+"),
            "+.+",
        ] {
            assert_eq!(bad.parse::<Lease>(), Err(NoLease), "{bad}");
        }
    }

    #[test]
    fn as_many_as_there_is_room_for_until_one_ends_or_is_not_heard_of() {
        let leases = LocalLeases::default();
        let open = |id, now| leases.open(lease(1, id), 2, now);
        assert_eq!(open(1, NOW), Leased::Granted(lease(1, 1)));
        assert_eq!(open(2, NOW), Leased::Granted(lease(1, 2)));
        assert_eq!(open(3, NOW), Leased::Full);
        assert_eq!(leases.open(lease(2, 3), 2, NOW), Leased::Granted(lease(2, 3)), "somebody else");
        leases.hear(lease(1, 1), Sign::Ended, NOW);
        leases.hear(lease(1, 1), Sign::Ended, NOW);
        assert_eq!(open(3, NOW), Leased::Granted(lease(1, 3)));
        // One of the two is heard of, the other is not.
        leases.hear(lease(1, 2), Sign::Alive, NOW + LIFE - 1);
        assert_eq!(open(4, NOW + LIFE - 1), Leased::Full);
        assert_eq!(open(4, NOW + LIFE), Leased::Granted(lease(1, 4)));
        assert_eq!(open(5, NOW + LIFE), Leased::Full);
        // A clock that was set back by more than a life keeps nobody out.
        assert_eq!(open(5, NOW - LIFE), Leased::Granted(lease(1, 5)));
    }

    #[test]
    fn a_process_that_begins_anew_hears_what_is_open() {
        let leases = LocalLeases::default();
        leases.hear(lease(1, 1), Sign::Alive, NOW);
        assert_eq!(leases.open(lease(1, 2), 1, NOW), Leased::Full);
    }

    #[test]
    fn memory_is_bounded_and_what_is_over_is_forgotten() {
        let leases = LocalLeases::default();
        for number in 0..u32::try_from(MOST).unwrap() {
            assert!(matches!(leases.open(lease(number, 1), 1, NOW), Leased::Granted(_)), "{number}");
        }
        assert_eq!(leases.open(lease(u32::MAX, 1), 1, NOW), Leased::Unknown, "refused rather than forgotten");
        leases.hear(lease(u32::MAX, 1), Sign::Alive, NOW);
        assert_eq!(leases.held.lock().unwrap().count, MOST);
        assert!(matches!(leases.open(lease(u32::MAX, 1), 1, NOW + LIFE), Leased::Granted(_)));
        let held = leases.held.lock().unwrap();
        assert_eq!((held.count, held.by_counter.len()), (1, 1));
    }
}
