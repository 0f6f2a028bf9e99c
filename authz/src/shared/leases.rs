//! Leases of open connections in a store: a sorted set for each counter, by the moment at which each ends.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use crds::snapshot::SharedStore;
use redis::Script;
use tokio::{runtime::Handle, time::Instant};

use super::{SharedStores, scripts::Call};
use crate::limits::{LEASE, Lease, Leased, Sign};

/// Ends are by the server's clock, which is the same for everybody.
const OPEN: &str = r"
local time, most, life = redis.call('TIME'), tonumber(ARGV[1]), tonumber(ARGV[2])
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= most then return 0 end
redis.call('ZADD', KEYS[1], now + life, ARGV[3])
redis.call('PEXPIRE', KEYS[1], life)
return 1
";

/// One that the store does not know, because it was flushed, counts again from now on.
const RENEW: &str = r"
local time, life = redis.call('TIME'), tonumber(ARGV[1])
redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000) + life, ARGV[2])
redis.call('PEXPIRE', KEYS[1], life)
return 1
";

const END: &str = "redis.call('ZREM', KEYS[1], ARGV[1]) return 1";

static OPEN_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(OPEN));
static RENEW_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(RENEW));
static END_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(END));

/// For the end of a lease that nobody uses: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// A question for a lease until its answer is there. A store that is late opens it all the same, for a connection that there is none of:
/// without an answer, and also where whoever asked has gone, the store is told that it has ended. The same connection tells it after the
/// question. What is lost ends by itself, and one that was never opened is ended in vain.
struct Asked<'a> {
    stores: &'a Arc<SharedStores>,
    store: &'a Arc<SharedStore>,
    lease: Lease,
    answered: bool,
}

// === impl Asked ===

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let (stores, store, lease) = (self.stores.clone(), self.store.clone(), self.lease);
        // Without a runtime the process is at its end.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { stores.hear(&store, lease, Sign::Ended, Instant::now() + PATIENCE).await });
        }
    }
}

// === impl SharedStores ===

impl SharedStores {
    /// Opens one more connection under this lease, if there is room. What is not known by `deadline` is not opened.
    pub async fn open(self: &Arc<Self>, store: &Arc<SharedStore>, max: u32, lease: Lease, deadline: Instant) -> Leased {
        let mut asked = Asked { stores: self, store, lease, answered: false };
        let arguments = vec![max.to_string(), LEASE.as_millis().to_string(), id(lease)];
        let call = Call { script: &OPEN_SCRIPT, keys: vec![key(store, lease)], arguments };
        let opened = self.run(store, "lease", deadline, &call, |reply| read(&reply)).await;
        asked.answered = opened.is_some();
        opened.map_or(Leased::Unknown, |opened| if opened { Leased::Granted(lease) } else { Leased::Full })
    }

    /// Takes note of what is told. What is lost is told again, or ends by itself.
    pub async fn hear(&self, store: &Arc<SharedStore>, lease: Lease, sign: Sign, deadline: Instant) {
        let keys = vec![key(store, lease)];
        let call = match sign {
            Sign::Alive => {
                Call { script: &RENEW_SCRIPT, keys, arguments: vec![LEASE.as_millis().to_string(), id(lease)] }
            }
            Sign::Ended => Call { script: &END_SCRIPT, keys, arguments: vec![id(lease)] },
        };
        let _ = self.run(store, "report", deadline, &call, |reply| read(&reply)).await;
    }
}

fn key(store: &SharedStore, lease: Lease) -> String {
    format!("{}open:{}", store.prefix, lease.counter.hex())
}

fn id(lease: Lease) -> String {
    format!("{:016x}", lease.id)
}

fn read(reply: &redis::Value) -> Option<bool> {
    match reply {
        redis::Value::Int(0) => Some(false),
        redis::Value::Int(1) => Some(true),
        _ => None,
    }
}
