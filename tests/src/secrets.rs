//! What nobody may read: every secret that a test of this process has used, in every form in which it could be shown.
//!
//! Who makes a secret notes it; [`shown_in`] looks for all of them. Never prints one: it says which by its beginning.

use std::{
    collections::BTreeSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::Value;

/// Shorter texts turn up by chance.
const SHORTEST: usize = 12;

static USED: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

/// Notes a secret. Of a signed token that is its payload and its signature: its header names a public key.
pub fn note(secret: &str) {
    let parts: Vec<&str> = secret.split('.').collect();
    let is_token = parts.len() == 3 && parts.iter().all(|part| part.len() >= SHORTEST);
    let parts = if is_token { parts.into_iter().skip(1).collect() } else { vec![secret] };
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    used.extend(parts.into_iter().filter(|part| part.len() >= SHORTEST).map(str::to_owned));
}

/// Notes the values of every Secret among these documents; of a key in PEM each line.
pub fn note_documents(text: &str) {
    for document in serde_yaml::Deserializer::from_str(text) {
        let Ok(value) = Value::deserialize(document) else { return };
        if value["kind"] == "Secret" {
            let values = value["stringData"].as_object().into_iter().flatten();
            let texts = values.filter_map(|(_, value)| value.as_str());
            let lines = texts.flat_map(str::lines);
            lines.filter(|line| !line.starts_with("-----")).for_each(note);
        }
    }
}

/// The beginning of a secret that is in a text, plain or in some form.
pub fn shown_in(text: &str) -> Option<String> {
    let used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let shown = used.iter().find(|secret| forms(secret).iter().any(|form| text.contains(form.as_str())));
    shown.map(|secret| format!("{}…", secret.chars().take(8).collect::<String>()))
}

/// As it is, in base64 of both alphabets wherever it begins in what was encoded, in hexadecimal, and as URLs and JSON write it.
fn forms(secret: &str) -> Vec<String> {
    let hex = hex(secret.as_bytes());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let url: String = secret.bytes().map(one).collect();
    let json = Value::from(secret).to_string();
    let mut forms = vec![secret.to_owned(), hex.to_uppercase(), hex, url.to_lowercase(), url];
    forms.push(json.trim_matches('"').to_owned());
    for before in 0..3 {
        let bytes = [&vec![0_u8; before][..], secret.as_bytes()].concat();
        // Characters that hold nothing but bits of the secret.
        let (begin, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        let text: String = BASE64.encode(&bytes).chars().take(end).skip(begin).collect();
        forms.push(text.replace('+', "-").replace('/', "_"));
        forms.push(text);
    }
    forms
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

    use super::*;

    #[test]
    fn every_form_is_found_and_nothing_else() {
        let secret = "a canary: >>> ??? \"quoted\"";
        assert_eq!(shown_in(secret), None);
        note(secret);
        note("short");
        note("eyJhbGciOiJub25lIn0.payload-of-a-token.signature-of-it");
        let in_json = serde_json::json!({"deep": [secret]}).to_string();
        let hex = hex(secret.as_bytes());
        let mut texts = vec![format!("x{secret}y"), in_json, hex.to_uppercase(), hex];
        texts.push("a%20canary%3a%20%3e%3e%3e%20%3f%3f%3f%20%22quoted%22".to_owned());
        texts.push("{payload-of-a-token}".to_owned());
        texts.push("signature-of-it".to_owned());
        for around in ["", "a", "ab", "abc"] {
            let bytes = format!("{around}{secret}{around}");
            texts.extend([BASE64.encode(&bytes), BASE64URL.encode(&bytes)]);
        }
        for text in texts {
            assert!(shown_in(&text).is_some(), "{text}");
        }
        for text in ["", "short", "eyJhbGciOiJub25lIn0", "a canary", "quoted"] {
            assert_eq!(shown_in(text), None, "{text}");
        }
    }
}
