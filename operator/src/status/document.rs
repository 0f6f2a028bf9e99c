//! A status as JSON, and whether it says more than the one that is there. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::reconcile::{Desired, Said};

/// What a condition says, without its times.
type Told<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<i64>);

/// `True`, `False` or `Unknown`.
pub(super) const fn word(status: Option<bool>) -> &'static str {
    match status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    }
}

/// Longest message that the API takes.
const MAX_MESSAGE: usize = 32_768;

/// The status to write; `None`: what is there says the same.
pub(super) fn status(desired: &Desired, now: Timestamp) -> Option<Value> {
    let old = &desired.observed.status;
    let mut same = true;
    let conditions: Vec<Value> = desired
        .conditions
        .iter()
        .map(|said| {
            let before = condition(old, said.kind);
            let message: String = said.message.chars().take(MAX_MESSAGE).collect();
            let told =
                (Some(word(said.status)), Some(&*said.reason), Some(&*message), Some(desired.observed.generation));
            same &= before.map(self::told) == Some(told);
            json!({
                "type": said.kind,
                "status": word(said.status),
                "reason": said.reason,
                "message": message,
                "observedGeneration": desired.observed.generation,
                "lastTransitionTime": since(before, said, now),
            })
        })
        .collect();
    let mut status = Map::new();
    status.insert("conditions".to_owned(), conditions.into());
    if let Some(hostnames) = &desired.hostnames {
        let before = old.get("hostnames").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        same &= before.iter().filter_map(Value::as_str).eq(hostnames.iter().map(String::as_str));
        status.insert("hostnames".to_owned(), hostnames.clone().into());
    }
    if let Some(programmed) = desired.programmed {
        same &= old.get("programmedGeneration").and_then(Value::as_i64) == Some(programmed);
        status.insert("programmedGeneration".to_owned(), programmed.into());
    }
    (!same).then_some(Value::Object(status))
}

/// The condition of this type in a status.
pub(super) fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    let all = status.get("conditions")?.as_array()?;
    all.iter().find(|one| one.get("type").and_then(Value::as_str) == Some(kind))
}

fn told(condition: &Value) -> Told<'_> {
    let text = |name| condition.get(name).and_then(Value::as_str);
    (text("status"), text("reason"), text("message"), condition.get("observedGeneration").and_then(Value::as_i64))
}

/// A condition that holds as before keeps its time.
fn since(before: Option<&Value>, said: &Said, now: Timestamp) -> String {
    let text = |name: &str| before.and_then(|before| before.get(name)).and_then(Value::as_str);
    match text("lastTransitionTime") {
        Some(time) if text("status") == Some(word(said.status)) => time.to_owned(),
        _ => now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }
}
