//! What an allowed request gets changed. Owns the rule that no header is both set and removed.

use std::{
    fmt,
    ops::{Deref, Range},
    sync::Arc,
};

/// A header and its value.
pub type SetHeader = (Arc<str>, HeaderText);

/// A header's value: most are the same for every request of a caller, and are shared, not copied.
#[derive(Clone, Eq)]
pub enum HeaderText {
    /// One of ours.
    Fixed(&'static str),
    /// The caller's: a part of what all its values stand in.
    Part {
        /// All of them.
        text: Arc<str>,
        /// Where this one begins, in bytes.
        begin: u32,
        /// Where it ends.
        end: u32,
    },
    /// This request's.
    Own(String),
}

/// Headers to set and to remove. A name is in one of the two at most: Envoy applies removals last, so a name in both would be lost.
/// Beside them query parameters to remove, and a protocol that the answer to a handshake selects unless the upstream did.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct HeaderChanges {
    set: Vec<SetHeader>,
    remove: Vec<Arc<str>>,
    /// Those of `set` whose value nobody but the upstream may see.
    secret: Vec<Arc<str>>,
    query: Vec<String>,
    protocol: Option<Box<str>>,
}

// === impl HeaderText ===

impl HeaderText {
    /// A part of a text that is shared.
    pub(super) fn part(text: &Arc<str>, range: Range<u32>) -> Self {
        Self::Part { text: text.clone(), begin: range.start, end: range.end }
    }
}

impl Deref for HeaderText {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Part { text, begin, end } => text.get(*begin as usize..*end as usize).unwrap_or_default(),
            Self::Own(text) => text,
        }
    }
}

impl PartialEq for HeaderText {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// Its size only: a value may be a secret.
impl fmt::Debug for HeaderText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "HeaderText({} bytes)", self.len())
    }
}

impl From<String> for HeaderText {
    fn from(text: String) -> Self {
        Self::Own(text)
    }
}

impl From<&'static str> for HeaderText {
    fn from(text: &'static str) -> Self {
        Self::Fixed(text)
    }
}

// === impl HeaderChanges ===

impl HeaderChanges {
    /// Room for what a request usually gets.
    pub(super) fn with_room(set: usize, remove: usize) -> Self {
        Self { set: Vec::with_capacity(set), remove: Vec::with_capacity(remove), ..Self::default() }
    }

    /// Headers to set, each name once, lower case.
    pub fn set_headers(&self) -> &[SetHeader] {
        &self.set
    }

    /// Headers to remove; none of them is set.
    pub fn removed_headers(&self) -> &[Arc<str>] {
        &self.remove
    }

    /// Whether the value of a header that is set must not be shown.
    pub fn is_secret(&self, name: &str) -> bool {
        self.secret.iter().any(|own| **own == *name)
    }

    /// Query parameters to remove, in the spelling of the request.
    pub fn removed_parameters(&self) -> &[String] {
        &self.query
    }

    /// The `Sec-WebSocket-Protocol` of the answer, if the upstream selects none: a browser drops a connection for which none of the
    /// protocols it offered was selected, and the upstream may know nothing of this one.
    pub fn selected_protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    pub(super) fn set_secret(&mut self, name: &Arc<str>, value: String) {
        self.secret.push(name.clone());
        self.set(name, value);
    }

    pub(crate) fn set(&mut self, name: &Arc<str>, value: impl Into<HeaderText>) {
        self.remove.retain(|own| own != name);
        match self.set.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => *own = value.into(),
            None => self.set.push((name.clone(), value.into())),
        }
    }

    pub(crate) fn remove(&mut self, name: &Arc<str>) {
        if !self.set.iter().any(|(own, _)| own == name) && !self.remove.contains(name) {
            self.remove.push(name.clone());
        }
    }

    pub(crate) fn remove_parameters(&mut self, spellings: impl Iterator<Item = String>) {
        self.query.extend(spellings);
        self.query.sort_unstable();
        self.query.dedup();
    }

    pub(crate) fn select_protocol(&mut self, name: &str) {
        self.protocol = Some(name.into());
    }
}

/// Names only: a value may be a secret.
impl fmt::Debug for HeaderChanges {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set: Vec<&str> = self.set.iter().map(|(name, _)| &**name).collect();
        out.debug_struct("HeaderChanges").field("set", &set).field("remove", &self.remove).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is set and removed in whatever order, no name is in both lists: Envoy removes last.
        #[test]
        fn set_and_removed_never_overlap(steps in prop::collection::vec((any::<bool>(), "[a-d]"), 0..40)) {
            let mut changes = HeaderChanges::default();
            for (set, name) in steps {
                let name: Arc<str> = name.into();
                if set { changes.set(&name, "") } else { changes.remove(&name) }
            }
            for (name, _) in changes.set_headers() {
                prop_assert!(!changes.removed_headers().contains(name));
                prop_assert_eq!(changes.set_headers().iter().filter(|(own, _)| own == name).count(), 1);
            }
        }
    }
}
