//! `checks`: sends ext_authz checks as Envoy does and counts how they were answered and how long it took.
//!
//! Owns the load, not the verdict: it prints one JSON object, and `bench/figures` compares servers.

use std::{
    error::Error,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bench::{
    must_be_here, request,
    samples::{Outcome, Sample, count},
};
use clap::Parser;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, authorization_client::AuthorizationClient};
use tonic::transport::{Channel, Endpoint};

type Failure = Box<dyn Error + Send + Sync>;

/// Send checks to an ext_authz server and print how they were answered.
#[derive(Parser)]
struct Args {
    /// HOST:PORT of the server; only one on this machine.
    address: String,
    /// File with tokens, one a line; each stream takes the next one in turn. `-` sends none.
    tokens: PathBuf,
    /// Host of the requests; `{}` becomes a number below --hosts.
    #[arg(long, default_value = "api.example.com")]
    host: String,
    /// How many hosts.
    #[arg(long, default_value_t = 1)]
    hosts: usize,
    /// Path of the requests.
    #[arg(long, default_value = "/v1/x?y=1")]
    path: String,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Checks under way at once on each connection.
    #[arg(long, default_value_t = 32)]
    streams: usize,
    /// Checks a second over all streams; 0: as fast as answers come.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// For how long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    must_be_here(&args.address)?;
    let tokens = if args.tokens.as_os_str() == "-" { String::new() } else { std::fs::read_to_string(&args.tokens)? };
    let tokens: Vec<&str> = tokens.lines().filter(|line| !line.is_empty()).collect();
    let requests: Vec<CheckRequest> = (0..tokens.len().max(args.hosts).max(1))
        .map(|index| {
            let host = args.host.replace("{}", &(index % args.hosts).to_string());
            request(&host, &args.path, tokens.get(index % tokens.len().max(1)).copied())
        })
        .collect();
    let requests = Arc::new(requests);
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let total = args.connections * args.streams;
    let pause = (args.rate > 0).then(|| Duration::from_secs(1) * u32::try_from(total).unwrap_or(u32::MAX) / args.rate);
    let mut tasks = Vec::new();
    for connection in 0..args.connections {
        let channel = Endpoint::new(format!("http://{}", args.address))?.tcp_nodelay(true).connect().await?;
        for stream in 0..args.streams {
            let first = connection * args.streams + stream;
            tasks.push(tokio::spawn(ask(channel.clone(), requests.clone(), first, total, pause, end)));
        }
    }
    let mut samples = Vec::new();
    for task in tasks {
        samples.extend(task.await?);
    }
    writeln!(io::stdout(), "{}", serde_json::to_string(&count(&samples))?)?;
    Ok(())
}

async fn ask(
    channel: Channel,
    requests: Arc<Vec<CheckRequest>>,
    first: usize,
    step: usize,
    pause: Option<Duration>,
    end: Instant,
) -> Vec<Sample> {
    let mut client = AuthorizationClient::new(channel);
    let mut samples = Vec::new();
    let mut index = first;
    // A paced stream starts somewhere in its first period, or all would come at once.
    let share = u32::try_from(step).unwrap_or(u32::MAX).max(1);
    let mut due = Instant::now() + pause.unwrap_or_default() * u32::try_from(first).unwrap_or(0) / share;
    while Instant::now() < end {
        if let Some(pause) = pause {
            tokio::time::sleep_until(due.into()).await;
            due += pause;
        }
        let Some(request) = requests.get(index % requests.len()).cloned() else { break };
        index += step;
        let begin = Instant::now();
        let outcome = match client.check(request).await {
            Ok(answer) if answer.get_ref().status.as_ref().is_some_and(|status| status.code == 0) => Outcome::Allowed,
            Ok(_) => Outcome::Refused,
            Err(_) => Outcome::Failed,
        };
        samples.push(Sample::since(begin, outcome));
    }
    samples
}
