//! Messages and calls that peers have begun and not ended: bounded in bytes, over all connections, and in time.
//!
//! Owns the count. A check comes as a whole, end of the call included, and then nothing is counted. A message of which a part came is
//! counted with the length that it announces, while more of it is waited for: tonic makes room for all of that at once, so that a few bytes
//! on each of a thousand streams would otherwise take a gigabyte. A unary call ends with its message, whether or not the peer says so:
//! tonic would keep the message until it does; its end is waited for beside the answer. Reads how long messages are, and must never look into one.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep, timeout},
};
use tonic::Status;
use tower::BoxError;

use super::untaken::{Answers, Place};

/// Room for unfinished messages together. Envoy sends a check with one write, so that this is thousands of peers on slow networks.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// How long a message may take, from when it is first waited for. Envoy itself gives up after 200 ms, unless told
/// otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before each message of gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What unfinished messages take now. A clone is the same.
#[derive(Clone, Default)]
pub(super) struct Room(Arc<AtomicUsize>);

/// Strangers have a room of their own: however full they keep it, a proxy that proved itself finds room.
#[derive(Clone, Default)]
pub(super) struct Rooms {
    proven: Room,
    strangers: Room,
}

/// How a call is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// One message, and its time runs from the begin of the call.
    Unary,
    /// Message after message, each done with when it has come, and as much time as there may be between them.
    Stream,
}

/// The body of one request.
pub(super) struct Bounded<B: HttpBody<Data = Bytes> + Send + Unpin + 'static> {
    /// There until drop.
    inner: Option<B>,
    reading: Reading,
    room: Room,
    answers: Answers,
    message: Message,
    /// Of a unary call, the message is there.
    is_done: bool,
    /// What of the room is taken.
    taken: usize,
    late: Option<Pin<Box<Sleep>>>,
}

/// Where in a message a body is.
#[derive(Default)]
struct Message {
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that came.
    begun: usize,
    /// What the prefix announces.
    length: usize,
    /// What of that has not come.
    left: usize,
}

// === impl Message ===

impl Message {
    /// These bytes came. Whether a message ended in them.
    fn advance(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while !bytes.is_empty() {
            let part = if self.left > 0 {
                let part = bytes.len().min(self.left);
                self.left -= part;
                part
            } else {
                let room = self.prefix.get_mut(self.begun..).unwrap_or_default();
                let part = bytes.len().min(room.len());
                room.iter_mut().zip(bytes).for_each(|(own, byte)| *own = *byte);
                self.begun += part;
                if self.begun == PREFIX {
                    let [_, length @ ..] = self.prefix;
                    self.length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                    (self.left, self.begun) = (self.length, 0);
                }
                part
            };
            // Between messages, so that these bytes were the last of one.
            ended |= self.room() == 0;
            bytes = bytes.get(part..).unwrap_or_default();
        }
        ended
    }

    /// The room that it takes while it is waited for; 0 between messages.
    fn room(&self) -> usize {
        if self.left > 0 { self.length } else { self.begun }
    }
}

// === impl Rooms ===

impl Rooms {
    /// The room for the calls of such a peer.
    pub(super) fn of(&self, is_proven: bool) -> &Room {
        if is_proven { &self.proven } else { &self.strangers }
    }
}

// === impl Bounded ===

impl<B: HttpBody<Data = Bytes> + Send + Unpin + 'static> Bounded<B> {
    pub(super) fn new(inner: B, reading: Reading, room: &Room, answers: &Answers) -> Self {
        Self {
            inner: Some(inner),
            reading,
            room: room.clone(),
            answers: answers.clone(),
            message: Message::default(),
            is_done: false,
            taken: 0,
            late: None,
        }
    }

    /// More is waited for. In a stream nothing is kept between messages, and it has all the time there is; how many streams there are
    /// is bounded for each connection. Of a unary call even its first byte is waited for no longer than for its last.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        let wanted = self.message.room();
        if wanted != self.taken && !self.take(wanted) {
            return Poll::Ready(Status::resource_exhausted("too many unfinished messages"));
        }
        if wanted == 0 && self.reading == Reading::Stream {
            self.late = None;
            return Poll::Pending;
        }
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        late.as_mut().poll(context).map(|()| Status::deadline_exceeded("the message was not finished in time"))
    }

    /// Takes so much of the room in place of what was taken before; false: more than that, and there is less.
    fn take(&mut self, wanted: usize) -> bool {
        let all = self.room.0.fetch_add(wanted, Ordering::Relaxed).saturating_add(wanted).saturating_sub(self.taken);
        self.room.0.fetch_sub(self.taken, Ordering::Relaxed);
        let grows = wanted > std::mem::replace(&mut self.taken, wanted);
        !grows || all <= MOST_BYTES
    }
}

impl<B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static> HttpBody for Bounded<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let own = self.get_mut();
        let Some(inner) = own.inner.as_mut().filter(|_| !own.is_done) else { return Poll::Ready(None) };
        let polled = Pin::new(inner).poll_frame(context);
        match &polled {
            Poll::Pending => return own.wait(context).map(|status| Some(Err(status))),
            Poll::Ready(Some(Ok(frame))) => {
                if frame.data_ref().is_some_and(|data| own.message.advance(data)) {
                    own.late = None;
                    own.is_done = own.reading == Reading::Unary;
                }
            }
            Poll::Ready(_) => {}
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_done || self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl<B: HttpBody<Data = Bytes> + Send + Unpin + 'static> Drop for Bounded<B> {
    fn drop(&mut self) {
        if self.is_done
            && let Some(inner) = self.inner.take().filter(|inner| !inner.is_end_stream())
            && let (Ok(runtime), Ok(place)) = (Handle::try_current(), self.answers.enter())
        {
            runtime.spawn(end(inner, place));
        }
        // Nearly no body ever took any: all threads would write to one place for nothing.
        if self.taken > 0 {
            self.room.0.fetch_sub(self.taken, Ordering::Relaxed);
        }
    }
}

/// Waits for the end of a call whose message is there, which many clients say apart: without, HTTP/2 resets the stream once it is answered,
/// and gives up a connection after a thousand of those. Whoever says more than the end is reset.
async fn end<B: HttpBody<Data = Bytes> + Send + Unpin + 'static>(mut inner: B, place: Place) {
    let ended = async {
        while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut inner).poll_frame(context)).await
            && frame.data_ref().is_some_and(Bytes::is_empty)
        {}
    };
    // In time or not: the stream is over either way.
    let _ = timeout(PATIENCE, ended).await;
    drop(place);
}

#[cfg(test)]
mod tests;
