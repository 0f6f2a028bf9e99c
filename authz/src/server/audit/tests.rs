use std::sync::Mutex;

use crds::code::Code;
use serde_json::Value;

use super::*;
use crate::{decide::Deny, request::Headers};

/// What clients send to forge a line or to steer the terminal of who reads it.
const HOSTILE: [&str; 14] = [
    "/a\"}\n{\"decision\":\"allow\",\"user\":\"root\"}",
    "/a\r\nHTTP/1.1 200 OK",
    "/\u{1b}[2J\u{1b}[1;31mroot\u{1b}]0;title\u{7}",
    "/\u{9b}31m\u{90}q\u{9c}",
    "/\u{7f}\u{8}\u{8}\u{8}",
    "/\0nul",
    "/\u{2028}\u{2029}\u{85}\u{b}\u{c}",
    "/\u{202e}gnp.exe\u{2066}\u{2069}\u{200f}",
    "/\u{feff}\u{200b}\u{ad}",
    "/\\\"\\\\\"\\u0000",
    "/\u{1f600}\u{10ffff}é",
    "/%0a%0d%1b[31m",
    "/{{7*7}}${jndi:ldap://x}<script>`id`",
    "/a,b\tc;d=e key=value level=error",
];

fn audit(allowed: f64, refused: f64, who: Who) -> (Audit, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = lines.clone();
    let sink: Sink = Arc::new(move |line| kept.lock().unwrap().push(String::from_utf8(line).unwrap()));
    (Audit { allowed, refused, who, sink }, lines)
}

fn refusal() -> Decision {
    Decision::refusal(Deny::new(Code::Forbidden, "a test"))
}

fn view(path: &str) -> RequestView<'_> {
    RequestView {
        method: "GET",
        host: "api.example.com",
        path,
        source: Some([192, 0, 2, 1].into()),
        ..RequestView::default()
    }
}

fn parsed(line: &str) -> Value {
    let whole = line.strip_suffix('\n').unwrap_or_else(|| panic!("{line:?} has no end"));
    assert!(whole.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{whole:?} is printable ASCII");
    serde_json::from_str(whole).unwrap_or_else(|error| panic!("{whole}: {error}"))
}

#[test]
fn nothing_that_a_client_sends_leaves_its_member() {
    let (audit, lines) = audit(1.0, 1.0, Who::User);
    for text in HOSTILE {
        let view = RequestView { method: text, host: text, ..view(text) };
        audit.write(&refusal(), Some(&view), "id", 0, || None);
    }
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), HOSTILE.len());
    for (line, text) in lines.iter().zip(HOSTILE) {
        let line = parsed(line);
        for member in ["method", "host", "path"] {
            assert_eq!(line[member], text, "{member}");
        }
        assert_eq!(line["decision"], "deny");
        assert_eq!(line["code"], "forbidden");
        assert_eq!(line.as_object().unwrap().len(), 8, "{line}");
    }
}

#[test]
fn a_query_is_left_out_and_what_is_long_is_cut() {
    let (audit, lines) = audit(1.0, 1.0, Who::User);
    let long = format!("/{}", "é".repeat(4000));
    let (host, method) = ("h".repeat(4000), "\u{1}".repeat(4000));
    for path in ["/a?access_token=canary", "/a#canary", "/a?x#y", "?canary", "", &long] {
        let view = RequestView { method: &method, host: &host, ..view(path) };
        audit.write(&refusal(), Some(&view), &"i".repeat(128), 0, || Some("f".repeat(32)));
    }
    let lines = lines.lock().unwrap();
    assert!(lines.iter().all(|line| !line.contains("canary") && line.len() < 10_000));
    let paths: Vec<Value> = lines.iter().map(|line| parsed(line)["path"].take()).collect();
    assert_eq!(paths[..3], ["/a", "/a", "/a"]);
    assert_eq!(paths[3..5], [Value::Null, Value::Null]);
    let cut = paths[5].as_str().unwrap();
    assert!(cut.ends_with("é...") && cut.len() <= MAX_PATH + 3, "{cut}");
}

#[test]
fn a_check_that_cannot_be_read_is_written_too() {
    let (audit, lines) = audit(0.0, 1.0, Who::Clear);
    audit.write(&refusal(), None, "gw-1", 1_700_000_000_123, || Some("0af7651916cd43dd8448eb211c80319c".to_owned()));
    let expected = "{\"time\":\"2023-11-14T22:13:20.123Z\",\"decision\":\"deny\",\"code\":\"forbidden\",\
         \"request_id\":\"gw-1\",\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}\n";
    assert_eq!(*lines.lock().unwrap(), [expected]);
}

#[test]
fn as_much_is_written_as_is_wanted() {
    const MANY: usize = 10_000;
    for (refused, expected) in [(0.0, 0..=0), (0.1, 700..=1300), (1.0, MANY..=MANY)] {
        let (audit, lines) = audit(1.0, refused, Who::User);
        let mut headers = Headers::default();
        headers.push("x", b"y");
        let view = RequestView { headers, ..view("/") };
        (0..MANY).for_each(|_| audit.write(&refusal(), Some(&view), "id", 0, || None));
        let written = lines.lock().unwrap().len();
        assert!(expected.contains(&written), "{written} of {MANY} with {refused}");
    }
}
