//! `enforced`: asks several ext_authz servers until each answers as it should, and says when the last of them did.
//!
//! Owns one connection to each server and the question; `bench/operator` makes the edits. One line on standard input is one
//! question, one line on standard output its answer:
//!
//! ```text
//! wait HOST/PATH allowed|refused       nanoseconds since 1970 at which the last server had answered so
//! count HOST/PATH N allowed|refused    how many are answered otherwise, each asked once of each server; {} is a number below N
//! ```

use std::{
    error::Error,
    io::{self, BufRead, Write},
    time::{Duration, SystemTime},
};

use bench::{must_be_here, request};
use clap::Parser;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::transport::{Channel, Endpoint};

type Failure = Box<dyn Error + Send + Sync>;
type Server = AuthorizationClient<Channel>;

/// Between two questions to one server: finer than what is measured, and few enough to leave the machine to it.
const STEP: Duration = Duration::from_millis(1);
/// How long one `wait` may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// Say when ext_authz servers answer as they should; questions come on standard input.
#[derive(Parser)]
struct Args {
    /// HOST:PORT of each server; only on this machine.
    #[arg(required = true)]
    addresses: Vec<String>,
}

fn main() -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let mut servers = Vec::new();
    for address in Args::parse().addresses {
        must_be_here(&address)?;
        // Lazily: a server may start later, and start again.
        let channel = Endpoint::new(format!("http://{address}"))?.tcp_nodelay(true).connect_lazy();
        servers.push(AuthorizationClient::new(channel));
    }
    for line in io::stdin().lock().lines() {
        let answer = runtime.block_on(answer(&servers, &line?))?;
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

async fn answer(servers: &[Server], question: &str) -> Result<u128, Failure> {
    match question.split(' ').collect::<Vec<_>>()[..] {
        ["wait", place, wanted] => timeout(PATIENCE, last(servers, place, wanted == "allowed")).await?,
        ["count", places, count, wanted] => Ok(otherwise(servers, places, count.parse()?, wanted == "allowed").await),
        _ => Err(format!("not a question: {question}").into()),
    }
}

/// Whether a request to HOST/PATH may pass; `None`: no answer.
async fn allowed(server: &mut Server, place: &str) -> Option<bool> {
    let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let answer = server.check(request(host, path, None)).await.ok()?;
    Some(answer.get_ref().status.as_ref().is_some_and(|status| status.code == 0))
}

async fn last(servers: &[Server], place: &str, wanted: bool) -> Result<u128, Failure> {
    let mut asked = JoinSet::new();
    for server in servers {
        let (mut server, place) = (server.clone(), place.to_owned());
        asked.spawn(async move {
            let mut step = interval(STEP);
            step.set_missed_tick_behavior(MissedTickBehavior::Skip);
            while allowed(&mut server, &place).await != Some(wanted) {
                step.tick().await;
            }
            SystemTime::now()
        });
    }
    let newest = asked.join_all().await.into_iter().max().ok_or("no server")?;
    Ok(newest.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos())
}

async fn otherwise(servers: &[Server], places: &str, count: usize, wanted: bool) -> u128 {
    let mut wrong = 0;
    for server in servers {
        let mut server = server.clone();
        for number in 0..count {
            let place = places.replace("{}", &number.to_string());
            wrong += u128::from(allowed(&mut server, &place).await != Some(wanted));
        }
    }
    wrong
}
