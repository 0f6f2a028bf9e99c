//! Shared secrets of codes that change with time (RFC 6238), and the check of one code. Owns the reading of base32 and the use of the
//! secret; that a code is good only once, and how often somebody may be wrong, is the caller's.

use totp_rs::{Algorithm, Builder};

use crate::secret::Secret;

/// RFC 4226 section 4, requirement R6.
const MIN_SECRET_BYTES: usize = 16;
/// RFC 6238 section 5.2: one step either way, for clocks that differ and codes that were just typed.
const SKEW_STEPS: u16 = 1;

/// What all codes of one authenticator have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct CodeForm {
    /// Six to eight.
    pub digits: u8,
    /// Length of a step in seconds; never 0.
    pub period_seconds: u64,
}

/// Why an entry is no shared secret. Nothing of it is in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSharedSecret {
    /// Not base32.
    #[error("is not base32 (RFC 4648 section 6)")]
    Base32,
    /// RFC 4226 section 4.
    #[error("has fewer than 128 bits; make one with `head -c 20 /dev/urandom | base32`")]
    Weak,
}

/// Reads a shared secret as people write it: either case, with or without padding, blanks and line breaks anywhere.
///
/// # Errors
///
/// [`BadSharedSecret`] for anything else, and for a secret that could be guessed.
pub fn shared_secret(text: &[u8]) -> Result<Secret, BadSharedSecret> {
    let written: String = text
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| char::from(byte.to_ascii_uppercase()))
        .collect();
    let bare = written.trim_end_matches('=');
    if bare.is_empty() || !bare.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')) {
        return Err(BadSharedSecret::Base32);
    }
    let bytes = totp_rs::Secret::try_from_base32(bare).map_err(|_| BadSharedSecret::Base32)?;
    let bytes: &[u8] = bytes.as_ref();
    if bytes.len() < MIN_SECRET_BYTES {
        return Err(BadSharedSecret::Weak);
    }
    Ok(Secret::new(bytes))
}

impl CodeForm {
    /// The step that this code belongs to, if it is one of now or of a step beside now. Compared in constant time.
    pub fn step_of(self, secret: &Secret, code: &str, now_seconds: u64) -> Option<u64> {
        if code.len() != usize::from(self.digits) || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let totp = Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(self.digits)
            .with_step_duration(self.period_seconds)
            .with_skew(SKEW_STEPS)
            .with_secret(secret.expose().to_vec())
            .build()
            .ok()?;
        totp.check(code, now_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: the secret of the SHA-1 vectors.
    const RFC: &[u8] = b"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn codes_of_the_rfc() {
        let secret = shared_secret(RFC).unwrap();
        let form = CodeForm { digits: 8, period_seconds: 30 };
        for (now, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(form.step_of(&secret, code, now), Some(now / 30), "{now}");
            for (away, good) in [(30, true), (90, false)] {
                assert_eq!(form.step_of(&secret, code, now + away).is_some(), good, "{now} + {away}");
            }
        }
    }

    #[test]
    fn nothing_else_is_a_code() {
        let secret = shared_secret(RFC).unwrap();
        let form = CodeForm { digits: 6, period_seconds: 30 };
        assert!(form.step_of(&secret, "287082", 59).is_some());
        for code in ["", "28708", "0287082", "94287082", " 287082", "287082 ", "+87082", "２87082", "28708a", "287083"]
        {
            assert_eq!(form.step_of(&secret, code, 59), None, "{code}");
        }
    }

    #[test]
    fn secrets_as_people_write_them() {
        let secret = shared_secret(RFC).unwrap();
        for text in ["gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ====\n"] {
            assert!(shared_secret(text.as_bytes()).unwrap() == secret, "{text}");
        }
        for (text, expected) in [
            ("", BadSharedSecret::Base32),
            ("====", BadSharedSecret::Base32),
            ("GEZDGNBV1GY3TQOJQ", BadSharedSecret::Base32),
            ("GEZD-GNBV", BadSharedSecret::Base32),
            ("GEZDGNBVGY3TQOJQ", BadSharedSecret::Weak),
        ] {
            assert_eq!(shared_secret(text.as_bytes()).unwrap_err(), expected, "{text}");
        }
    }
}
