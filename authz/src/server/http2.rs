//! Connections of proxies: HTTP/2 by hyper, checks answered where they are read, every other call by tonic's routes.
//!
//! Owns what a connection may take (a place, streams, pings, age), who is at its other end, and its drain. tonic's own server leads each
//! call through a router, timers and boxes that a check has no use for. Must never decide.

use std::{
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http2::Builder,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
    service::Routes,
};
use tower::Service;
use tracing::debug;

use super::{
    accept::Accepted,
    calls::Calls,
    check::{Answering, CheckService},
    strangers::{self, Strangers},
    unfinished::{Bounded, Reading, Room, Rooms},
    untaken::{Answers, NoPlace, Place, Untaken},
    wire::{Check, CheckCodec},
};
use crate::tls;

/// The one method that is not routed.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// The one method whose calls hold more than one message.
const REPORTS: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
/// Largest CheckRequest. Envoy's own header limit is 60 KiB, sent twice at most; bodies are not part of a check here.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// Streams of one connection at once; a proxy that has more opens another connection or waits.
const MAX_STREAMS: u32 = 1024;
/// What rapid resets may pile up (CVE-2023-44487) before the connection is ended.
const MAX_RESETS: usize = 64;
/// A peer is asked for a sign of life this often, and is gone if none comes for as long as the second.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// How long a proxy may keep one TLS connection: its certificate is looked at when it connects. It is asked to leave, and connects anew.
const MAX_AGE: Duration = Duration::from_hours(1);

/// Frames of this size are gathered and leave together. HTTP/2 writes each longer one by a system call of its own, which costs more
/// than the decision.
const PIECE: usize = 1000;

/// The other end of a connection; an extension of the calls that are routed.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// Of a Unix socket.
    Unix,
    /// Of a connection without TLS.
    Plain(SocketAddr),
    /// Of a connection with TLS.
    Tls(tls::Peer),
}

/// What is served on every connection.
#[derive(Clone)]
pub(super) struct Server {
    service: CheckService,
    /// Health, and what proxies report.
    others: Routes,
    /// For messages that are begun, of all connections together.
    rooms: Rooms,
    /// For answers that are not taken, of all connections together.
    untaken: Untaken,
    strangers: Strangers,
    /// Cancelled when connections shall end.
    leave: CancellationToken,
}

/// What one connection asks.
struct Asked {
    server: Server,
    caller: Caller,
    room: Room,
    answers: Answers,
}

/// An answer in frames of at most [`PIECE`] bytes, from when it is made until it is sent.
struct InPieces {
    body: Body,
    /// Of the last frame, what was not given on.
    rest: Bytes,
    place: Option<Place>,
}

/// A part of an answer, until it is written.
struct Piece {
    bytes: Bytes,
    /// With the last one, that of the whole answer: HTTP/2 keeps what the peer's window does not let out.
    _place: Option<Place>,
}

// === impl Caller ===

impl Caller {
    /// Whether it may be given secrets and be believed: see [`tls::Peer::is_proven_proxy`]. Whoever can reach a Unix socket or
    /// loopback already runs beside us.
    pub(super) fn is_proven(&self) -> bool {
        match self {
            Self::Unix => true,
            Self::Plain(address) => address.ip().to_canonical().is_loopback(),
            Self::Tls(peer) => peer.is_proven_proxy(SystemTime::now()),
        }
    }

    /// Where it is, if it proved nothing.
    fn stranger(&self) -> Option<IpAddr> {
        match self {
            Self::Plain(address) if !self.is_proven() => Some(address.ip()),
            Self::Tls(peer) if !self.is_proven() => Some(peer.address.ip()),
            Self::Unix | Self::Plain(_) | Self::Tls(_) => None,
        }
    }

    /// Where a peer with TLS is: the others are not told of.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Unix | Self::Plain(_) => None,
            Self::Tls(peer) => Some(peer.address.ip()),
        }
    }
}

// === impl Server ===

impl Server {
    pub(super) fn new(service: CheckService, others: Routes) -> Self {
        Self {
            service,
            others: others.prepare(),
            rooms: Rooms::default(),
            untaken: Untaken::default(),
            strangers: Strangers::default(),
            leave: CancellationToken::new(),
        }
    }

    /// Serves connections until `drained`, then asks them to end. Ends when the last one has.
    pub(super) async fn serve<S>(self, incoming: impl Stream<Item = (S, Caller)>, drained: impl Future<Output = ()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut connections = JoinSet::new();
        {
            // Dropped before the wait for the last connection: nobody may connect to a socket that nobody serves.
            let (mut incoming, mut drained) = (pin!(incoming), pin!(drained));
            loop {
                tokio::select! {
                    () = &mut drained => break,
                    Some((stream, caller)) = incoming.next() => {
                        // Closed at once otherwise: to a proxy that is a peer which is not there, and a connection that is not taken
                        // would be one which never answers.
                        if let Some(place) = self.strangers.admit(caller.stranger()) {
                            connections.spawn(self.clone().one(stream, caller, place));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        }
        self.leave.cancel();
        while connections.join_next().await.is_some() {}
    }

    /// Serves one connection to its end, and keeps its place until then.
    async fn one<S>(self, stream: S, caller: Caller, place: strangers::Place)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (leave, is_tls) = (self.leave.clone(), matches!(caller, Caller::Tls(_)));
        let stream = Accepted::preface(stream, leave.clone());
        // For as long as the connection lasts, which is an hour at most where proof can expire.
        let room = self.rooms.of(place.is_proven()).clone();
        let answers = self.untaken.connection(place.is_proven());
        let asked = Arc::new(Asked { server: self, caller, room, answers });
        let answer = service_fn(move |request| {
            let asked = asked.clone();
            // In a box, which is given back once there is an answer: hyper keeps all room of a call until its answer is taken.
            Box::pin(asked.answer(request))
        });
        let calls = Calls::default();
        let mut connection = pin!(builder(calls.clone()).serve_connection(TokioIo::new(stream), answer));
        let mut end = pin!(async {
            tokio::select! {
                () = leave.cancelled() => {}
                () = sleep(MAX_AGE), if is_tls => {}
            }
        });
        let mut is_ending = false;
        let ended = poll_fn(|context| {
            if !is_ending && end.as_mut().poll(context).is_ready() {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            loop {
                let polled = connection.as_mut().poll(context);
                // The answers are sent by the next look at the connection.
                if !calls.run() || polled.is_ready() {
                    return polled;
                }
            }
        });
        if let Err(error) = ended.await {
            debug!(%error, "a connection ended");
        }
    }
}

fn builder(calls: Calls) -> Builder<Calls> {
    let mut builder = Builder::new(calls);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .max_pending_accept_reset_streams(MAX_RESETS)
        // gRPC has no use for one.
        .auto_date_header(false);
    builder
}

// === impl Asked ===

impl Asked {
    async fn answer(self: Arc<Self>, request: http::Request<Incoming>) -> Result<http::Response<InPieces>, NoPlace> {
        let reading = if request.uri().path() == REPORTS { Reading::Stream } else { Reading::Unary };
        let mut request = request.map(|body| Bounded::new(body, reading, &self.room, &self.answers));
        let response = if request.uri().path() == CHECK {
            let mut grpc = Grpc::new(CheckCodec).max_decoding_message_size(MAX_MESSAGE_BYTES);
            grpc.unary(&*self, request).await
        } else {
            request.extensions_mut().insert(self.caller.clone());
            // In a box: rare, and larger than a check.
            match Box::pin(self.server.others.clone().call(request)).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        };
        let place = Some(self.answers.enter()?);
        Ok(response.map(|body| InPieces { body, rest: Bytes::new(), place }))
    }
}

impl UnaryService<Check> for &Asked {
    type Response = Vec<u8>;
    type Future = Answering;

    fn call(&mut self, request: Request<Check>) -> Answering {
        self.server.service.check(request, &self.caller)
    }
}

// === impl InPieces ===

impl HttpBody for InPieces {
    type Data = Piece;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, Status>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => {
                    return Poll::Ready(other.into_trailers().ok().map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let piece = self.rest.len().min(PIECE);
        let bytes = self.rest.split_to(piece);
        let place = if self.rest.is_empty() { self.place.take() } else { None };
        Poll::Ready(Some(Ok(Frame::data(Piece { bytes, _place: place }))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

// === impl Piece ===

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// The name under which health is asked for.
impl NamedService for CheckService {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}
