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
use bytes::{Buf, BufMut, Bytes};
use clap::Parser;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

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

/// Checks go out as bytes that were written once, and of an answer the status is read: what a load generator shares the processors for
/// is to cost little, and the same for every server.
#[derive(Clone, Copy)]
struct Bare;

/// `CheckResponse`.
#[derive(Clone, PartialEq, Message)]
struct Told {
    #[prost(message, optional, tag = "1")]
    status: Option<Code>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Code {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    must_be_here(&args.address)?;
    let tokens = if args.tokens.as_os_str() == "-" { String::new() } else { std::fs::read_to_string(&args.tokens)? };
    let tokens: Vec<&str> = tokens.lines().filter(|line| !line.is_empty()).collect();
    let requests: Vec<Bytes> = (0..tokens.len().max(args.hosts).max(1))
        .map(|index| {
            let host = args.host.replace("{}", &(index % args.hosts).to_string());
            request(&host, &args.path, tokens.get(index % tokens.len().max(1)).copied()).encode_to_vec().into()
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
    requests: Arc<Vec<Bytes>>,
    first: usize,
    step: usize,
    pause: Option<Duration>,
    end: Instant,
) -> Vec<Sample> {
    let mut client = Grpc::new(channel);
    let method = PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
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
        let answer = match client.ready().await {
            Ok(()) => client.unary(Request::new(request), method.clone(), Bare).await.ok(),
            Err(_) => None,
        };
        let outcome = match answer.map(tonic::Response::into_inner) {
            // An answer without a status lets a request pass, as status 0 does; no server is to be measured by it.
            Some(Told { status: Some(Code { code: 0 }) }) => Outcome::Allowed,
            Some(_) => Outcome::Refused,
            None => Outcome::Failed,
        };
        samples.push(Sample::since(begin, outcome));
    }
    samples
}

// === impl Bare ===

impl Codec for Bare {
    type Encode = Bytes;
    type Decode = Told;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bare {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Bare {
    type Item = Told;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Told>, Status> {
        Told::decode(buffer.copy_to_bytes(buffer.remaining()))
            .map(Some)
            .map_err(|_| Status::internal("not a CheckResponse"))
    }
}
