//! The scripts that count, and how their answers are read. One call is one step of the server: nobody counts in between.

use std::{sync::LazyLock, time::Duration};

use crds::snapshot::SharedStore;
use redis::{FromRedisValue, RedisResult, Script, Value, aio::MultiplexedConnection};

use crate::{
    factors::{Attempt, FAILURE_WINDOW_MS, MAX_FAILURES, Redeemed},
    limits::{Count, Taken, Tally},
};

/// A window begins with its first request and ends with the key, by the server's clock, which is the same for everybody. A counter that has
/// lost its end, by a restore or a `PERSIST`, gets a new one, or it would refuse for ever. Answers {room, count, milliseconds left} of each.
const TALLY: &str = r"
local take, out = ARGV[1] == '1', {}
for i, key in ipairs(KEYS) do
  local rate, window = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local count = tonumber(redis.call('GET', key) or 0) or 0
  local left = redis.call('PTTL', key)
  local room = count < rate
  if take and room then count = redis.call('INCR', key) end
  if left < 0 then
    if count > 0 then redis.call('PEXPIRE', key, window) end
    left = window
  end
  out[i] = {room and 1 or 0, count, left}
  if take and not room then break end
end
return out
";

/// As `State::redeem` of the local store. Answers {0 refused, 1 accepted, 2 locked; milliseconds left}.
const REDEEM: &str = r"
local step, most, window, keep = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local failures = tonumber(redis.call('GET', KEYS[2]) or 0) or 0
local left = redis.call('PTTL', KEYS[2])
if failures >= most then
  if left < 0 then
    redis.call('PEXPIRE', KEYS[2], window)
    left = window
  end
  return {2, left}
end
local used = tonumber(redis.call('GET', KEYS[1]) or -1) or -1
if step ~= '' and tonumber(step) > used then
  redis.call('SET', KEYS[1], step, 'PX', keep)
  return {1, 0}
end
redis.call('INCR', KEYS[2])
if left < 0 then redis.call('PEXPIRE', KEYS[2], window) end
return {0, 0}
";

static TALLY_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(TALLY));
static REDEEM_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(REDEEM));

/// How long a used code is remembered: the longest period of codes is two minutes, and none is good for more than three of them.
const USED_KEPT: Duration = Duration::from_mins(15);

/// A script with its keys and arguments.
pub(super) struct Call {
    pub(super) script: &'static Script,
    pub(super) keys: Vec<String>,
    pub(super) arguments: Vec<String>,
}

// === impl Call ===

impl Call {
    /// By its digest; a server that does not know the script, new or flushed, is sent it once.
    pub(super) async fn run(&self, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        let mut invocation = self.script.prepare_invoke();
        self.keys.iter().for_each(|key| {
            invocation.key(key);
        });
        self.arguments.iter().for_each(|argument| {
            invocation.arg(argument);
        });
        invocation.invoke_async(connection).await
    }
}

/// The question of a tally.
pub(super) fn tally(tally: &Tally) -> Call {
    let numbers = |count: &Count| [count.rate.to_string(), count.window.as_millis().to_string()];
    Call {
        script: &TALLY_SCRIPT,
        keys: tally.counts.iter().map(|count| format!("{}limit:{}", tally.store.prefix, count.name.hex())).collect(),
        arguments: [u8::from(tally.take).to_string()]
            .into_iter()
            .chain(tally.counts.iter().flat_map(numbers))
            .collect(),
    }
}

/// Its answer; `None` if it is none.
pub(super) fn tallied(tally: &Tally, reply: &Value, now_ms: i64) -> crate::limits::Tallied {
    let rows = Vec::<Vec<i64>>::from_redis_value_ref(reply).ok()?;
    let mut taken = smallvec::SmallVec::new();
    for (count, row) in tally.counts.iter().zip(&rows) {
        taken.push(one(count, row, now_ms)?);
    }
    let refused = tally.take && taken.last().is_some_and(|last: &Taken| !last.allowed);
    let whole = rows.len() == tally.counts.len() || (refused && rows.len() == taken.len());
    whole.then_some(taken)
}

fn one(count: &Count, row: &[i64], now_ms: i64) -> Option<Taken> {
    let &[room, counted, left] = row else { return None };
    let window = i64::try_from(count.window.as_millis()).ok()?;
    if !(0..=1).contains(&room) || counted < 0 || !(0..=window).contains(&left) {
        return None;
    }
    let remaining = i64::from(count.rate).saturating_sub(counted).max(0);
    Some(Taken {
        allowed: room == 1,
        remaining: u32::try_from(remaining).ok()?,
        resets_ms: now_ms.saturating_add(left),
    })
}

/// The question of an attempt.
pub(super) fn redeem(store: &SharedStore, attempt: &Attempt) -> Call {
    let key = |what: &str| format!("{}code:{}:{what}", store.prefix, attempt.holder.hex());
    Call {
        script: &REDEEM_SCRIPT,
        keys: vec![key("used"), key("wrong")],
        arguments: vec![
            attempt.step.map_or_else(String::new, |step| step.to_string()),
            MAX_FAILURES.to_string(),
            FAILURE_WINDOW_MS.to_string(),
            USED_KEPT.as_millis().to_string(),
        ],
    }
}

/// Its answer; `None` if it is none.
pub(super) fn redeemed(reply: &Value, now_ms: i64) -> Option<Redeemed> {
    match *Vec::<i64>::from_redis_value_ref(reply).ok()? {
        [0, _] => Some(Redeemed::Refused),
        [1, _] => Some(Redeemed::Accepted),
        [2, left] if (0..=FAILURE_WINDOW_MS).contains(&left) => {
            Some(Redeemed::Locked { until_ms: now_ms.saturating_add(left) })
        }
        _ => None,
    }
}
