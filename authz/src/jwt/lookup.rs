//! Finding a claim by its configured name: one defined resolution for every reader.

use serde_json::{Map, Value};

/// The claim of this name. A top-level member of exactly the name wins; only if there is none, a name with dots is a path through
/// objects. Null counts as missing, and an element of an array has no name.
pub fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = claims.get(name).or_else(|| nested(claims, name));
    found.filter(|value| !value.is_null())
}

fn nested<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let (first, rest) = name.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, member| value.as_object()?.get(member))
}
