//! What makes an RSA modulus and exponent fit to verify with. Small integers and byte strings only; never the arithmetic of RSA.

/// RFC 7518 section 3.3 asks for 2048 bits or more.
const MIN_BITS: usize = 2048;

/// Verification takes time that grows with the square of the size: a set with huge keys would be a way to keep us busy.
const MAX_BITS: usize = 8192;

/// The odd primes up to 167: the modulus of a vulnerable key is a power of 65537 modulo each.
const ROCA_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Why these may not verify anything, if so. Both big-endian, without leading zeros.
pub(super) fn refuse(modulus: &[u8], exponent: &[u8]) -> Option<&'static str> {
    let bits = bit_length(modulus);
    if bits < MIN_BITS {
        return Some("an RSA key under 2048 bits");
    }
    if bits > MAX_BITS {
        return Some("an RSA key over 8192 bits");
    }
    if modulus.last().is_none_or(|last| last % 2 == 0) {
        return Some("an RSA modulus that is even");
    }
    // With e = 1 everybody can sign; an even e has no inverse; a long e makes each verification slow.
    match small(exponent) {
        Some(value) if value >= 3 && value % 2 == 1 && value < 1 << 33 => {}
        _ => return Some("an RSA exponent that is even, under 3, or over 33 bits"),
    }
    // CVE-2017-15361: the private key follows from the public one.
    has_roca_fingerprint(modulus).then_some("an RSA key of a generator with the ROCA flaw")
}

fn bit_length(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

fn small(number: &[u8]) -> Option<u64> {
    (number.len() <= 8).then(|| number.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    ROCA_PRIMES.into_iter().all(|prime| {
        let rest = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        is_power_of_65537(rest, prime)
    })
}

/// Walks the cycle of powers, which is at most `prime - 1` long.
fn is_power_of_65537(rest: u32, prime: u32) -> bool {
    let generator = 65_537 % prime;
    let mut power = 1;
    for _ in 1..prime {
        if power == rest {
            return true;
        }
        power = power * generator % prime;
    }
    false
}
