//! The compact serialisation of a JWS (RFC 7515 section 7.1): three parts and a header. Owns the form; never looks into the payload.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Map, Value};

use super::json;

/// The longest token that is looked at. Envoy itself refuses requests with about 60 KiB of headers; below that, an identity provider
/// that puts groups into tokens can come to tens of kilobytes.
pub const MAX_TOKEN_BYTES: usize = 48 * 1024;

/// The longest header, decoded. A certificate chain in `x5c` fits in twice over.
pub const MAX_HEADER_BYTES: usize = 4 * 1024;

/// The longest `kid`: keys with a longer one are never kept.
const MAX_KID_BYTES: usize = crds::keys::MAX_KID_BYTES;

/// Members that would change how the rest is read (RFC 7515 section 4.1.11, RFC 7797, RFC 7516): this build knows none of them, so a
/// token that needs one is refused whole. `cty` announces a token inside a token.
const REFUSED_MEMBERS: [(&str, &str); 5] = [
    ("crit", "the header asks for an extension"),
    ("b64", "the header asks for an unencoded payload"),
    ("enc", "the header is that of an encrypted token"),
    ("zip", "the header asks for decompression"),
    ("cty", "the header announces a nested token"),
];

/// Members that are never read (keys, and places of keys), and what each of them is (RFC 7515 sections 4.1.2 to 4.1.8). A header in which
/// one is something else is no header to other verifiers, so it is none here.
const UNREAD_MEMBERS: [UnreadMember; 6] = [
    ("jwk", Value::is_object),
    ("jku", Value::is_string),
    ("x5u", Value::is_string),
    ("x5t", Value::is_string),
    ("x5t#S256", Value::is_string),
    ("x5c", |value| value.as_array().is_some_and(|chain| chain.iter().all(Value::is_string))),
];

/// A name, and whether a value is of its type.
type UnreadMember = (&'static str, fn(&Value) -> bool);

/// Text that is no token. Says why in fixed words and holds nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a signed token in compact form: {0}")]
pub struct Malformed(pub &'static str);

/// A signed message, not yet verified. Does not print what it holds.
pub struct Jws<'a> {
    header: Header,
    signing_input: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// What the header says, of what this build reads. Everything else in it (`jwk`, `jku`, `x5u`, `x5c`, `x5t`...) is never read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `alg` as sent: any text.
    pub algorithm: Box<str>,
    /// `kid`: 1 to 256 bytes.
    pub kid: Option<Box<str>>,
    /// `typ` as sent: not empty.
    pub typ: Option<Box<str>>,
}

// === impl Jws ===

impl<'a> Jws<'a> {
    /// Splits and decodes. Takes one pass over the text and allocates for the decoded parts only, whatever the text is.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Malformed("longer than 48 KiB"));
        }
        let mut dots = 0_usize;
        for byte in text.bytes() {
            match byte {
                b'.' if dots == 2 => return Err(Malformed("more than three parts")),
                b'.' => dots += 1,
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
                _ => return Err(Malformed("a character that base64url does not have")),
            }
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(Malformed("fewer than three parts"))?;
        let (header, payload) = signing_input.split_once('.').ok_or(Malformed("fewer than three parts"))?;
        if header.is_empty() || signature.is_empty() {
            return Err(Malformed("an empty part"));
        }
        let header = Header::parse(header)?;
        Ok(Self { header, signing_input, payload: decode(payload)?, signature: decode(signature)? })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes that were signed, exactly as received (RFC 7515 section 5.2, step 8).
    pub fn signing_input(&self) -> &'a [u8] {
        self.signing_input.as_bytes()
    }

    /// The decoded payload; may be empty.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The decoded signature; never empty.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl std::fmt::Debug for Jws<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Jws").finish_non_exhaustive()
    }
}

/// Canonical base64url: no padding, and no bits after the last byte (RFC 7515 section 2, RFC 4648 section 3.5).
fn decode(part: &str) -> Result<Vec<u8>, Malformed> {
    BASE64URL.decode(part).map_err(|_| Malformed("a part that is not base64url"))
}

// === impl Header ===

impl Header {
    fn parse(part: &str) -> Result<Self, Malformed> {
        // Three bytes take four characters, and there is no padding.
        if part.len() > (MAX_HEADER_BYTES * 4).div_ceil(3) {
            return Err(Malformed("a header over 4 KiB"));
        }
        let members =
            json::object(&decode(part)?).map_err(|_| Malformed("a header that is not a strict JSON object"))?;
        for (name, reason) in REFUSED_MEMBERS {
            if members.contains_key(name) {
                return Err(Malformed(reason));
            }
        }
        if UNREAD_MEMBERS.iter().any(|(name, fits)| members.get(*name).is_some_and(|value| !fits(value))) {
            return Err(Malformed("a header member that is not of its type"));
        }
        let algorithm = text(&members, "alg", "`alg` is not text")?.ok_or(Malformed("a header without `alg`"))?;
        let kid = text(&members, "kid", "`kid` is not text of 1 to 256 bytes")?;
        if kid.is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return Err(Malformed("`kid` is not text of 1 to 256 bytes"));
        }
        let typ = text(&members, "typ", "`typ` is not text")?;
        Ok(Self { algorithm: algorithm.into(), kid: kid.map(Into::into), typ: typ.map(Into::into) })
    }
}

/// A member that must be non-empty text if it is there.
fn text<'a>(
    members: &'a Map<String, Value>,
    name: &str,
    otherwise: &'static str,
) -> Result<Option<&'a str>, Malformed> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(Malformed(otherwise)),
    }
}
