//! A place in a raw document, read the way CEL's `has` reads it.

use serde_json::Value;

use crate::schema::Gaps;

/// A value and where it is.
pub(super) struct Node<'a> {
    value: &'a Value,
    /// With indices.
    pub(super) path: String,
    /// Without.
    schema: String,
    gaps: Gaps,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value, gaps: Gaps) -> Self {
        Self { value, path: String::new(), schema: String::new(), gaps }
    }

    /// The member of this name; a null is an absent one.
    pub(super) fn get(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        let join = |parent: &str| if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
        Some(Self { value, path: join(&self.path), schema: join(&self.schema), gaps: self.gaps })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The entries of a list member; none where it is absent or no list, which is the walker's to report. No more than `most`: a list
    /// that is too long is refused already, and rules that compare entries must stay cheap.
    pub(super) fn entries(&self, name: &str, most: usize) -> Vec<Self> {
        let Some(list) = self.get(name) else { return Vec::new() };
        let entry = |(index, value): (usize, &'a Value)| Self {
            value,
            path: format!("{}[{index}]", list.path),
            schema: format!("{}[]", list.schema),
            gaps: self.gaps,
        };
        list.value.as_array().into_iter().flatten().take(most).enumerate().map(entry).collect()
    }

    /// The names of the members; none where it is no object.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.value
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, _)| name.as_str())
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub(super) fn text_of(&self, name: &str) -> Option<&'a str> {
        self.get(name)?.text()
    }

    /// A whole number; the API server takes `307.0` for one.
    pub(super) fn number_of(&self, name: &str) -> Option<i64> {
        let value = self.get(name)?.value;
        #[expect(clippy::cast_possible_truncation, reason = "a number out of bounds is the walker's to report")]
        value.as_i64().or_else(|| value.as_f64().map(|number| number as i64))
    }

    pub(super) fn bool_of(&self, name: &str) -> Option<bool> {
        self.get(name)?.value.as_bool()
    }

    /// Whether rules that count the fields of this object have something to count: it is an object without a field that is not built.
    pub(super) fn is_complete(&self) -> bool {
        self.value
            .as_object()
            .is_some_and(|members| members.keys().all(|name| !(self.gaps.field)(&format!("{}.{name}", self.schema))))
    }

    /// Only one of our objects: a rule about members has no say about a text or a list.
    pub(super) fn is_object(&self) -> bool {
        self.value.is_object()
    }
}
