//! How long a check may take. Owns reading what the proxy gives; never waits itself.

use std::time::Duration;

use tonic::Request;

/// Our own deadline, or three quarters of what the proxy gives (`grpc-timeout`), whichever is shorter: an answer after the proxy
/// gave up is none.
pub(super) fn budget<T>(request: &Request<T>, own: Duration) -> Duration {
    let given = request.metadata().get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(parse_timeout);
    given.map_or(own, |given| own.min(given * 3 / 4))
}

/// `TimeoutValue TimeoutUnit` of the gRPC protocol over HTTP/2.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts() {
        for (text, expected) in [
            ("200m", Some(Duration::from_millis(200))),
            ("1S", Some(Duration::from_secs(1))),
            ("99999999H", Some(Duration::from_hours(99_999_999))),
            ("500000u", Some(Duration::from_millis(500))),
            ("", None),
            ("m", None),
            ("1x", None),
            ("-1S", None),
            ("999999999S", None),
            ("1é", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
    }
}
