//! Credentials in the query. Names and values are percent-decoded once, and `+` stays what it is: no token and no key holds a blank.

use std::borrow::Cow;

use crds::code::Code;
use percent_encoding::percent_decode_str;

use super::Deny;
use crate::request::RequestView;

/// The value of the parameter; an empty one is none. Twice the same name: two parties could choose differently.
pub(super) fn find<'a>(request: &RequestView<'a>, name: &str) -> Result<Option<Cow<'a, str>>, Deny> {
    let mut values = parameters(request.path).filter(|(own, _)| decode(own) == name).map(|(_, value)| value);
    let first = values.next();
    if values.next().is_some() {
        return Err(Deny::new(Code::MalformedRequest, "the credential parameter was sent twice"));
    }
    Ok(first.map(decode).filter(|value| !value.is_empty()))
}

/// The spellings of this parameter in the request. The upstream decodes names too, so `%74oken` is one of `token`, and the proxy removes
/// by spelling.
pub(super) fn spellings<'a>(request: &RequestView<'a>, name: &str) -> impl Iterator<Item = &'a str> {
    parameters(request.path).map(|(own, _)| own).filter(move |own| decode(own) == name)
}

/// Names and values as sent; one without `=` has an empty value.
fn parameters(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Bytes that are no UTF-8 become a character that no name of a policy and no token holds.
fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str) -> RequestView<'_> {
        RequestView { path, ..RequestView::default() }
    }

    #[test]
    fn a_parameter_is_found_decoded_once() {
        for (path, expected) in [
            ("/", Ok(None)),
            ("/?", Ok(None)),
            ("/?token", Ok(None)),
            ("/?token=", Ok(None)),
            ("/?token=a.b.c", Ok(Some("a.b.c"))),
            ("/?x=1&&token=a=b", Ok(Some("a=b"))),
            ("/?token=a%2Eb", Ok(Some("a.b"))),
            ("/?token=a%252Eb", Ok(Some("a%2Eb"))),
            ("/?%74oken=a+b", Ok(Some("a+b"))),
            ("/?Token=a", Ok(None)),
            ("/?token=%ff", Ok(Some("\u{fffd}"))),
            ("/token=a", Ok(None)),
            ("/?a=?token=b", Ok(None)),
            ("/?token=a&token=a", Err(Code::MalformedRequest)),
            ("/?token=&token=a", Err(Code::MalformedRequest)),
            ("/?token=a&%74oken=b", Err(Code::MalformedRequest)),
        ] {
            let found = find(&ask(path), "token").map_err(|deny| deny.code);
            assert_eq!(found.as_ref().map(Option::as_deref).map_err(|code| *code), expected, "{path}");
        }
    }

    #[test]
    fn every_spelling_is_removed() {
        let request = ask("/p?token=a&x=1&%74oken=b&tokens=c&token");
        assert_eq!(spellings(&request, "token").collect::<Vec<_>>(), ["token", "%74oken", "token"]);
    }
}
