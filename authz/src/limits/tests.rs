//! Locks the arithmetic of windows, exactness under threads, and the bound on memory.

use std::thread;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);
const NOW: i64 = 1_800_000_000_123;

fn person(name: &str) -> LimitKey {
    LimitKey { limit: LimitId(1), subject: Subject::Principal(name.into()) }
}

fn taken(allowed: bool, remaining: u32, resets_ms: i64) -> Taken {
    Taken { allowed, remaining, resets_ms }
}

#[test]
fn a_window_begins_with_its_first_request_and_ends_for_good() {
    let store = LocalLimits::default();
    let take = |now| store.take(person("a"), 3, MINUTE, now);
    assert_eq!(store.look(&person("a"), 3, MINUTE, NOW), taken(true, 3, NOW + 60_000), "looking counts nothing");
    for (after, expected) in [
        (0, taken(true, 2, NOW + 60_000)),
        (20_000, taken(true, 1, NOW + 60_000)),
        (59_998, taken(true, 0, NOW + 60_000)),
        (59_999, taken(false, 0, NOW + 60_000)),
        (60_000, taken(true, 2, NOW + 120_000)),
    ] {
        assert_eq!(take(NOW + after), expected, "{after}");
    }
    assert_eq!(store.take(person("b"), 3, MINUTE, NOW), taken(true, 2, NOW + 60_000), "somebody else is somebody else");
    let other = LimitKey { limit: LimitId(2), ..person("a") };
    assert_eq!(store.take(other, 1, MINUTE, NOW), taken(true, 0, NOW + 60_000), "and so is another limit");
    assert_eq!(store.look(&person("a"), 3, MINUTE, NOW + 60_001), taken(true, 2, NOW + 120_000));
}

#[test]
fn a_refusal_does_not_prolong_itself() {
    let store = LocalLimits::default();
    store.take(person("a"), 1, MINUTE, NOW);
    for after in 1..60_000 {
        assert!(!store.take(person("a"), 1, MINUTE, NOW + after).allowed, "{after}");
    }
    assert!(store.take(person("a"), 1, MINUTE, NOW + 60_000).allowed);
}

#[test]
fn a_clock_that_is_set_back_neither_frees_nor_locks_out() {
    let store = LocalLimits::default();
    let take = |now| store.take(person("a"), 2, MINUTE, now);
    assert!(take(NOW).allowed && take(NOW).allowed);
    // A little back is another thread's clock, or a small correction: the count stands.
    for back in [1, 1000, 59_999] {
        assert!(!take(NOW - back).allowed, "{back}");
    }
    // An hour back: without a new window nobody would come in for an hour.
    assert_eq!(take(NOW - 3_600_000), taken(true, 1, NOW - 3_600_000 + 60_000));
    for odd in [i64::MIN, -1, i64::MAX] {
        assert!(take(odd).allowed, "{odd}");
    }
}

#[test]
fn a_new_rate_holds_for_the_window_that_runs() {
    let store = LocalLimits::default();
    (0..5).for_each(|_| assert!(store.take(person("a"), 5, MINUTE, NOW).allowed));
    assert!(!store.take(person("a"), 2, MINUTE, NOW).allowed);
    assert_eq!(store.take(person("a"), 7, MINUTE, NOW), taken(true, 1, NOW + 60_000));
}

#[test]
fn threads_together_get_exactly_the_rate() {
    let store = LocalLimits::default();
    let allowed: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..1000).filter(|_| store.take(person("a"), 2500, MINUTE, NOW).allowed).count()))
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(allowed, 2500);
}

#[test]
fn threads_that_meet_at_the_end_of_a_window_share_the_next() {
    let store = LocalLimits::default();
    (0..100).for_each(|_| assert!(store.take(person("a"), 100, MINUTE, NOW).allowed));
    let store = &store;
    let allowed: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            // Their clocks differ by some milliseconds, as those of real threads do.
            .map(|late| {
                scope.spawn(move || {
                    (0..100).filter(|_| store.take(person("a"), 100, MINUTE, NOW + 60_000 + late).allowed).count()
                })
            })
            .collect::<Vec<_>>();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(allowed, 100);
}

#[test]
fn many_keys_do_not_grow_without_bound_nor_push_out_persons() {
    let store = LocalLimits::new(1000);
    store.take(person("a"), 1, MINUTE, NOW);
    for number in 0..10_000_u32 {
        let key = LimitKey { limit: LimitId(1), subject: Subject::address(Some(IpAddr::V4(number.into()))) };
        store.take(key, 1, MINUTE, NOW);
    }
    let counted = store.counted();
    assert!(counted <= 1001, "{counted}");
    assert!(!store.take(person("a"), 1, MINUTE, NOW).allowed, "strangers cannot make a person forgotten");
    let newest = LimitKey { limit: LimitId(1), subject: Subject::address(Some(IpAddr::V4(9_999.into()))) };
    assert!(!store.take(newest, 1, MINUTE, NOW).allowed, "the newest is kept, whoever came before");
}

#[test]
fn addresses_are_counted_as_their_holders() {
    let subject = |text: &str| Subject::address(Some(text.parse().unwrap()));
    assert_eq!(subject("192.0.2.1"), subject("::ffff:192.0.2.1"));
    assert_ne!(subject("192.0.2.1"), subject("192.0.2.2"));
    assert_eq!(subject("2001:db8:1:2::1"), subject("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_ne!(subject("2001:db8:1:2::1"), subject("2001:db8:1:3::1"));
    assert_eq!(Subject::address(None), Subject::Unknown);
}

#[test]
fn headers_round_against_hurry() {
    let standing = |resets_ms, remaining| Standing {
        limit: 100,
        window: MINUTE,
        taken: taken(true, remaining, resets_ms),
        now_ms: 1_000_001,
    };
    let headers = standing(1_060_001, 99).headers();
    assert_eq!(headers.map(|(_, value)| value), ["100", "99", "1061", "60"]);
    assert_eq!(standing(1_000_002, 0).seconds_left(), 1);
    assert_eq!(standing(1_000_000, 0).seconds_left(), 0);
}
