//! Credentials in `Sec-WebSocket-Protocol: NAME, CREDENTIAL` (RFC 6455 section 1.9): browsers can send no other header with a handshake.
//! Counts on requests for a WebSocket only, and only where NAME is the first entry.

use super::{credential, encode};
use crate::request::RequestView;

/// The header, in lower case.
pub(super) const HEADER: &str = "sec-websocket-protocol";

/// A handshake whose first entry announces a credential.
pub(super) struct Handshake {
    entries: Vec<String>,
}

// === impl Handshake ===

impl Handshake {
    /// The entries, if there are two at least.
    pub(super) fn read(request: &RequestView<'_>) -> Option<Self> {
        if !request.headers.is_websocket_upgrade() {
            return None;
        }
        let header = request.headers.text(HEADER)?;
        let entries: Vec<String> = header.split(',').map(|entry| credential::trimmed(entry).to_owned()).collect();
        matches!(entries.as_slice(), [_, credential, ..] if !credential.is_empty()).then_some(Self { entries })
    }

    /// The credential behind this name.
    pub(super) fn credential(&self, name: &str) -> Option<&str> {
        match self.entries.as_slice() {
            [first, credential, ..] if first == name => Some(credential),
            _ => None,
        }
    }

    /// Whether an upstream may read a credential behind this name: it may trim more than we do.
    pub(super) fn may_announce(&self, name: &str) -> bool {
        self.entries.first().is_some_and(|first| credential::trimmed_most(first) == name)
    }

    /// The header without its second entry.
    pub(super) fn without_credential(&self) -> String {
        let rest = self.entries.iter().enumerate().filter(|(index, _)| *index != 1).map(|(_, entry)| entry.as_str());
        rest.filter(|entry| !entry.is_empty() && encode::can_be_written_back(entry)).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Headers;

    fn handshake(lines: &[(&'static str, &'static str)]) -> Option<Handshake> {
        let mut headers = Headers::default();
        for (name, value) in lines {
            headers.push(name, value.as_bytes());
        }
        Handshake::read(&RequestView { headers, ..RequestView::default() })
    }

    #[test]
    fn the_second_entry_counts_behind_the_name_on_an_upgrade() {
        for (upgrade, protocols, credential, rest) in [
            (true, "app, a.b.c", Some("a.b.c"), "app"),
            (true, "app,a.b.c,graphql-ws", Some("a.b.c"), "app, graphql-ws"),
            (true, "app , app", Some("app"), "app"),
            (true, "graphql-ws, app, a.b.c", None, ""),
            (true, "App, a.b.c", None, ""),
            (true, "app", None, ""),
            (true, "app,", None, ""),
            (true, "app, ,a.b.c", None, ""),
            (true, "", None, ""),
            (true, "\tapp\t, \ta.b.c ", Some("a.b.c"), "app"),
            // No blanks of a list: the name is another, and the token has them.
            (true, "\u{a0}app, a.b.c", None, ""),
            (true, "app\u{2003}, a.b.c", None, ""),
            (true, "app, \u{a0}a.b.c", Some("\u{a0}a.b.c"), "app"),
            (false, "app, a.b.c", None, ""),
        ] {
            let upgrade: &[_] = if upgrade { &[("upgrade", "WebSocket")] } else { &[] };
            let read = handshake(&[upgrade, &[(HEADER, protocols)]].concat());
            let found = read.as_ref().and_then(|one| one.credential("app"));
            assert_eq!(found, credential, "{protocols}");
            if credential.is_some() {
                assert_eq!(read.map(|one| one.without_credential()).as_deref(), Some(rest), "{protocols}");
            }
        }
    }

    #[test]
    fn what_an_upstream_may_trim_announces_too() {
        for (protocols, expected) in [
            ("app, a.b.c", true),
            ("\u{a0}app, a.b.c", true),
            ("app\u{2003},a.b.c", true),
            ("App, a.b.c", false),
            ("app-2, a.b.c", false),
            ("chat, app, a.b.c", false),
        ] {
            let read = handshake(&[("upgrade", "websocket"), (HEADER, protocols)]);
            assert_eq!(read.map(|one| one.may_announce("app")), Some(expected), "{protocols:?}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let read = handshake(&[("upgrade", "websocket"), (HEADER, "app"), (HEADER, "a.b.c")]);
        assert_eq!(read.as_ref().and_then(|one| one.credential("app")), Some("a.b.c"));
    }
}
