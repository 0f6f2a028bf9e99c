//! Texts nobody thought of: no panic, and no good verdict about anything but what was signed.

use std::sync::LazyLock;

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::Value;

use super::super::{Token, json, testkit::*};

static GOOD: LazyLock<String> = LazyLock::new(|| claiming(&claims()));

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn any_text_is_read_without_panic(bytes in vec(any::<u8>(), 0..400)) {
        prop_assert_ne!(verdict(&String::from_utf8_lossy(&bytes)), "ok");
    }

    #[test]
    fn any_text_of_the_right_characters_is_read_without_panic(text in "[A-Za-z0-9_.-]{0,200}") {
        prop_assert_ne!(verdict(&text), "ok");
    }

    #[test]
    fn any_payload_is_read_without_panic(header in vec(any::<u8>(), 0..100), payload in vec(any::<u8>(), 0..100)) {
        let text = compact(&String::from_utf8_lossy(&header), &payload, "x");
        prop_assert_ne!(verdict(&text), "ok");
    }

    /// What the strict reader accepts, the lenient one reads as the same.
    #[test]
    fn strict_json_is_json(text in r#"\{("[ab]":(1|-2\.5e3|"\\u0061"|null|\[true\]|\{"a":\{\}\}),?){0,4}\}"#) {
        let lenient = serde_json::from_str::<Value>(&text).ok();
        match json::object(text.as_bytes()) {
            Ok(object) => prop_assert_eq!(Some(Value::Object(object)), lenient),
            Err(reason) => prop_assert!(lenient.is_none() || reason == "a member said twice", "{} {}", text, reason),
        }
    }

    #[test]
    fn a_changed_token_is_never_good(places in vec((any::<Index>(), "[A-Za-z0-9_. -]"), 1..4), cut in any::<Option<Index>>()) {
        prop_assert!(Token::parse(&GOOD).is_ok());
        let mut text = GOOD.clone();
        for (place, character) in places {
            let index = place.index(text.len());
            text.replace_range(index..=index, &character);
        }
        if let Some(cut) = cut {
            text.truncate(cut.index(text.len()));
        }
        prop_assert_eq!(verdict(&text) == "ok", text == *GOOD);
    }
}
