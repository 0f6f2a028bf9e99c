//! `requests`: sends HTTP/1.1 requests with a token to a proxy and counts how they were answered and how long it took.
//!
//! Owns the load, not the verdict: it prints the same JSON object as `checks`. It writes the same bytes again and reads no more of an
//! answer than where it ends, for it shares the machine with what is measured.

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bench::{
    must_be_here,
    samples::{Outcome, Sample, count},
};
use clap::Parser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

type Failure = Box<dyn Error + Send + Sync>;

/// Send requests through a proxy and print how they were answered.
#[derive(Parser)]
struct Args {
    /// HOST:PORT of the proxy; only one on this machine.
    address: String,
    /// File with tokens, one a line; each connection takes the next one in turn.
    tokens: PathBuf,
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// For how long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    must_be_here(&args.address)?;
    let tokens = fs::read_to_string(&args.tokens)?;
    let requests: Arc<Vec<String>> = Arc::new(tokens.lines().map(request).collect());
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut tasks = Vec::new();
    for connection in 0..args.connections {
        let stream = TcpStream::connect(&args.address).await?;
        stream.set_nodelay(true)?;
        tasks.push(tokio::spawn(ask(stream, requests.clone(), connection, args.connections, end)));
    }
    let mut samples = Vec::new();
    for task in tasks {
        samples.extend(task.await?);
    }
    writeln!(io::stdout(), "{}", serde_json::to_string(&count(&samples))?)?;
    Ok(())
}

fn request(token: &str) -> String {
    format!(
        "GET /v1/x?y=1 HTTP/1.1\r\nhost: api.example.com\r\nuser-agent: curl/8.5.0\r\naccept: */*\r\nauthorization: Bearer {token}\r\n\r\n"
    )
}

/// Until the end, or until the proxy ends the connection: that is one failure.
async fn ask(
    mut stream: TcpStream,
    requests: Arc<Vec<String>>,
    first: usize,
    step: usize,
    end: Instant,
) -> Vec<Sample> {
    let (mut samples, mut buffer) = (Vec::new(), Vec::with_capacity(4096));
    for request in requests.iter().cycle().skip(first % requests.len().max(1)).step_by(step) {
        if Instant::now() >= end {
            break;
        }
        let begin = Instant::now();
        let status = match stream.write_all(request.as_bytes()).await {
            Ok(()) => answer(&mut stream, &mut buffer).await,
            Err(_) => None,
        };
        let outcome = match status {
            Some(200) => Outcome::Allowed,
            Some(_) => Outcome::Refused,
            None => Outcome::Failed,
        };
        samples.push(Sample::since(begin, outcome));
        if outcome == Outcome::Failed {
            break;
        }
    }
    samples
}

/// The status of one answer that says how long it is; `None`: it does not, or there is none.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<u16> {
    buffer.clear();
    let (head, length) = loop {
        if let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break (std::str::from_utf8(buffer.get(..head)?).ok()?, head + 4);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body: usize = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    while buffer.len() < length + body {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(status)
}
