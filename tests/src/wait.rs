//! Waiting for a condition. The only place that sleeps to wait for something; no test asserts how long anything took.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

use crate::PeerError;

/// Long enough for anything that is going to happen on a busy machine.
pub const LONG: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(20);

/// Calls `probe` until it yields a value; [`PeerError::Late`] after `limit`. `what` completes "waiting for …".
pub async fn until<T, F>(what: &str, limit: Duration, mut probe: impl FnMut() -> F) -> Result<T, PeerError>
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = probe().await {
            return Ok(value);
        }
        if Instant::now() > end {
            return Err(PeerError::Late { what: what.to_owned(), waited: limit });
        }
        sleep(STEP).await;
    }
}
