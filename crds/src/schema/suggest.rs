//! Words about wrong values: what was probably meant, and a short, harmless rendering of what was written.

use serde_json::Value;

/// The longest piece of a document that is repeated in a message, in characters.
const SHOWN: usize = 40;

/// The known name that `wrong` is most likely a misspelling of.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    // Nobody misspells a name into something this long, and the comparison is quadratic.
    if wrong.len() > 64 {
        return None;
    }
    let wrong = plain(wrong);
    let limit = match wrong.chars().count() {
        0..=3 => 1,
        4..=8 => 2,
        _ => 3,
    };
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        let distance = strsim::damerau_levenshtein(&wrong, &plain(name));
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

/// Case and separators are what people get wrong first, so they do not count: `jwks_uri` means `jwksURI`.
fn plain(name: &str) -> String {
    name.chars().filter(|one| !matches!(one, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// At most forty characters, control characters replaced.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String =
        text.chars().take(SHOWN).map(|one| if one.is_control() { '\u{fffd}' } else { one }).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push('…');
    }
    short
}

/// A value as a message names it.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing (null)".to_owned(),
        Value::Bool(value) => format!("the truth value `{value}`"),
        Value::Number(value) => format!("the number `{}`", shorten(&value.to_string())),
        Value::String(text) => format!("the text `{}`", shorten(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}
