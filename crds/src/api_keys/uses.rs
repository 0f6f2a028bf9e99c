//! When keys were used last: as it travels, as it is kept in Secrets, and as it is read from there. Pure; times are given.
//!
//! ```text
//!  Secret gatewright-last-used-N, entry `keys`:   <first 32 hex digits of the entry's name> <RFC 3339>, a line each
//! ```
//!
//! It is kept in Secrets and not in ConfigMaps: the name of an entry is the digest of a key, and whoever may read ConfigMaps could try
//! guesses against it. Must never hold a key.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::{self, Write},
    sync::Arc,
};

use jiff::Timestamp;

use super::{CqaV1Record, Record, Sha256Record, hex};
use crate::documents::Objects;

/// Names a key in what is told about its use: the first 16 bytes of the name of its entry, which nobody can make alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

/// Last uses of keys, by namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    namespaces: BTreeMap<Arc<str>, KeyTimes>,
}

/// Last uses of the keys of one namespace, in seconds since 1970.
pub type KeyTimes = BTreeMap<KeyId, i64>;

/// How the names of the Secrets begin.
const SECRET: &str = "gatewright-last-used-";
/// The one entry of each.
pub const USES_ENTRY: &str = "keys";
/// Secrets of one namespace, once one is not enough.
pub const USES_PARTS: usize = 16;
/// Keys of one Secret: 54 bytes each, and it may hold 1 MiB.
const PART_KEYS: usize = 18_000;

/// The name of a Secret that keeps last uses.
pub fn uses_secret(part: usize) -> String {
    format!("{SECRET}{part}")
}

/// Whether a Secret of this name keeps last uses.
pub fn is_uses_secret(name: &str) -> bool {
    name.strip_prefix(SECRET).and_then(|part| part.parse::<usize>().ok()).is_some_and(|part| part < USES_PARTS)
}

/// What the Secrets of one namespace shall hold, in order: one, or all of them. Of keys that do not fit, those that were used longest
/// ago are left out.
pub fn pack_uses(times: &KeyTimes) -> Vec<String> {
    let count = if times.len() <= PART_KEYS { 1 } else { USES_PARTS };
    let mut parts: Vec<Vec<(&KeyId, &i64)>> = vec![Vec::new(); count];
    for (id, at) in times {
        if let Some(part) = parts.get_mut(id.spread() % count) {
            part.push((id, at));
        }
    }
    let texts = parts.into_iter().map(|mut part| {
        if part.len() > PART_KEYS {
            part.sort_unstable_by_key(|(id, at)| (std::cmp::Reverse(**at), **id));
            part.truncate(PART_KEYS);
            part.sort_unstable();
        }
        lines(part)
    });
    texts.collect()
}

/// Reads what a Secret keeps, or a message tells. A line that is none says nothing.
pub fn read_uses(text: &str) -> KeyTimes {
    let mut times = KeyTimes::new();
    for line in text.lines() {
        let Some((id, at)) = line.split_once(' ') else { continue };
        if let (Some(id), Ok(at)) = (hex(id).map(KeyId), at.parse::<Timestamp>()) {
            newest(&mut times, id, at.as_second());
        }
    }
    times
}

fn lines<'t>(times: impl IntoIterator<Item = (&'t KeyId, &'t i64)>) -> String {
    let mut text = String::new();
    for (id, at) in times {
        if let Ok(at) = Timestamp::from_second(*at) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{id} {at}");
        }
    }
    text
}

fn newest(times: &mut KeyTimes, id: KeyId, at: i64) {
    times.entry(id).and_modify(|known| *known = at.max(*known)).or_insert(at);
}

// === impl KeyId ===

impl KeyId {
    /// Of the key whose entry has this name; `None`: no key has one.
    pub fn of_entry(name: &str) -> Option<Self> {
        CqaV1Record::id(name).map(Self).or_else(|| Sha256Record::id(name).map(Self::of_digest))
    }

    pub(super) const fn of_cqa_v1(id: [u8; 16]) -> Self {
        Self(id)
    }

    pub(super) fn of_digest(digest: [u8; 32]) -> Self {
        Self(std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default()))
    }

    /// A number that spreads ids evenly, those that count up or begin with a time too (FNV-1a).
    pub fn spread(self) -> usize {
        let hash =
            self.0.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        (hash ^ hash >> 16) as usize
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&crate::digest::hex(&self.0))
    }
}

/// As it is written.
impl fmt::Debug for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

// === impl Uses ===

impl Uses {
    /// A use; an older one than is known says nothing.
    pub fn note(&mut self, namespace: &Arc<str>, id: KeyId, at: i64) {
        newest(self.namespaces.entry(namespace.clone()).or_default(), id, at);
    }

    /// Takes in what somebody else knows.
    pub fn merge(&mut self, namespace: &Arc<str>, times: KeyTimes) {
        let own = self.namespaces.entry(namespace.clone()).or_default();
        times.into_iter().for_each(|(id, at)| newest(own, id, at));
    }

    /// What the Secrets of last uses among these objects keep.
    pub fn of_secrets(objects: &Objects) -> Self {
        let mut uses = Self::default();
        for secret in objects.secrets() {
            let Some((namespace, name)) = secret.name().split_once('/') else { continue };
            for (_, text) in secret.entries().filter(|(entry, _)| is_uses_secret(name) && *entry == USES_ENTRY) {
                let text = text.map(|text| String::from_utf8_lossy(text.expose())).unwrap_or_default();
                uses.merge(&namespace.into(), read_uses(&text));
            }
        }
        uses
    }

    /// Forgets keys that were used before this second.
    pub fn forget_before(&mut self, at: i64) {
        self.namespaces.values_mut().for_each(|times| times.retain(|_, used| *used >= at));
    }

    /// How many keys are known.
    pub fn len(&self) -> usize {
        self.namespaces.values().map(BTreeMap::len).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.namespaces.values().all(BTreeMap::is_empty)
    }

    /// By namespace.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &KeyTimes)> {
        self.namespaces.iter()
    }

    /// The last use of a key.
    pub fn of(&self, namespace: &str, id: KeyId) -> Option<i64> {
        self.namespaces.get(namespace)?.get(&id).copied()
    }

    /// In messages of at most so many keys, as JSON: lines by namespace.
    pub fn messages(&self, most: usize) -> Vec<String> {
        let all: Vec<(&str, &KeyId, &i64)> = self
            .namespaces
            .iter()
            .flat_map(|(namespace, times)| times.iter().map(move |(id, at)| (&**namespace, id, at)))
            .collect();
        let message = |keys: &[(&str, &KeyId, &i64)]| {
            let mut parts: BTreeMap<&str, Vec<(&KeyId, &i64)>> = BTreeMap::new();
            keys.iter().for_each(|(namespace, id, at)| parts.entry(namespace).or_default().push((id, at)));
            let parts: BTreeMap<&str, String> =
                parts.into_iter().map(|(namespace, times)| (namespace, lines(times))).collect();
            serde_json::to_string(&parts).unwrap_or_default()
        };
        all.chunks(most.max(1)).map(message).collect()
    }

    /// Reads one message; one that cannot be read says nothing.
    pub fn read(message: &str) -> Self {
        let parts: HashMap<Arc<str>, String> = serde_json::from_str(message).unwrap_or_default();
        Self { namespaces: parts.into_iter().map(|(namespace, text)| (namespace, read_uses(&text))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> KeyId {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &number.to_be_bytes());
        KeyId::of_digest(digest.as_ref().try_into().unwrap())
    }

    #[test]
    fn ids_are_the_first_half_of_names() {
        let (short, long) = ("0123456789abcdef".repeat(2), "0123456789abcdef".repeat(4));
        assert_eq!(KeyId::of_entry(&short).unwrap().to_string(), short);
        assert_eq!(KeyId::of_entry(&long), KeyId::of_entry(&short));
        for none in ["", "0", "password", &"0".repeat(31), &short.to_uppercase(), &format!("{long}0")] {
            assert_eq!(KeyId::of_entry(none), None, "{none}");
        }
    }

    #[test]
    fn the_newest_use_counts_whoever_tells_it() {
        let (shop, mut one, mut other) = (Arc::from("shop"), Uses::default(), Uses::default());
        one.note(&shop, id(1), 1_700_000_100);
        one.note(&shop, id(1), 1_700_000_000);
        other.note(&shop, id(1), 1_700_000_050);
        other.note(&shop, id(2), 1_700_000_200);
        for message in other.messages(1) {
            for (namespace, times) in Uses::read(&message).namespaces {
                one.merge(&namespace, times);
            }
        }
        assert_eq!((one.of("shop", id(1)), one.of("shop", id(2))), (Some(1_700_000_100), Some(1_700_000_200)));
        assert_eq!((one.len(), other.messages(1).len(), one.of("else", id(1))), (2, 2, None));
        assert!(Uses::read("{\"shop\": 1}").is_empty() && Uses::read("[").is_empty());
    }

    #[test]
    fn secrets_hold_what_fits() {
        let few: KeyTimes = (0..20).map(|number| (id(number), 1_700_000_000)).collect();
        assert_eq!(pack_uses(&few).len(), 1);
        assert_eq!(read_uses(&pack_uses(&few)[0]), few);
        assert_eq!(pack_uses(&KeyTimes::new()), [""]);
        let many: KeyTimes =
            (0..100_000).map(|number| (id(number), 1_700_000_000 + i64::try_from(number).unwrap())).collect();
        let parts = pack_uses(&many);
        assert_eq!(parts.len(), USES_PARTS);
        assert!(parts.iter().all(|part| part.len() < 1024 * 1024));
        assert_eq!(parts.iter().flat_map(|part| read_uses(part)).collect::<KeyTimes>(), many);
        // More than fit: the newest stay.
        let too_many: KeyTimes = (0..300_000).map(|number| (id(number), i64::try_from(number).unwrap())).collect();
        let kept: KeyTimes = pack_uses(&too_many).iter().flat_map(|part| read_uses(part)).collect();
        assert_eq!(kept.len(), USES_PARTS * PART_KEYS);
        assert!(kept.contains_key(&id(299_999)) && !kept.contains_key(&id(0)));
    }

    #[test]
    fn a_line_that_is_none_says_nothing() {
        let good = format!("{} 2026-01-01T00:00:00Z", id(1));
        let text = format!("\nx\n{good}\n{} yesterday\nzz 2026-01-01T00:00:00Z\n", id(2));
        assert_eq!(read_uses(&text), KeyTimes::from([(id(1), 1_767_225_600)]));
        assert!(is_uses_secret("gatewright-last-used-15") && !is_uses_secret("gatewright-last-used-16"));
    }
}
