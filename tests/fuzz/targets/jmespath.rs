//! An expression that yields a role, and claims: `EXPRESSION\nCLAIMS`. What is accepted ends, soon and without a panic.
#![no_main]

use std::time::{Duration, Instant};

use crds::roles::RoleExpression;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The promise is a small multiple of the size of the claims; this code is instrumented, and the machine busy.
const LONGEST: Duration = Duration::from_secs(5);

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let (source, claims) = text.split_once('\n').unwrap_or((text, "{}"));
    let Ok(expression) = RoleExpression::parse(source) else { return };
    let Ok(Value::Object(claims)) = serde_json::from_str(claims) else { return };
    let began = Instant::now();
    let role = expression.text(&claims);
    assert!(began.elapsed() < LONGEST, "it took {:?}", began.elapsed());
    assert!(role.is_none_or(|role| !role.is_empty()), "a role without a name");
});
