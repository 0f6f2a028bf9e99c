//! Bodies whose parts come when the test says so.

use std::future::poll_fn;

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::unconstrained,
    time::{Instant, advance},
};
use tonic::Code;

use super::{super::untaken::Untaken, *};

struct Parts(UnboundedReceiver<Bytes>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

fn answers() -> Answers {
    Untaken::default().connection(false)
}

/// The body of a stream under way, and where its parts are put in.
fn begun(room: &Room) -> (UnboundedSender<Bytes>, Bounded<Parts>) {
    let (parts, body) = unbounded_channel();
    (parts, Bounded::new(Parts(body), Reading::Stream, room, &answers()))
}

/// The same of a unary call.
fn unary(room: &Room) -> (UnboundedSender<Bytes>, Bounded<Parts>) {
    let (parts, body) = unbounded_channel();
    (parts, Bounded::new(Parts(body), Reading::Unary, room, &answers()))
}

/// What announces a message of this length.
fn prefix(length: usize) -> Vec<u8> {
    [&[0], &u32::try_from(length).unwrap().to_be_bytes()[..]].concat()
}

/// Everything that is there; the error that ended it, or `None`: it waits, or is at its end.
async fn drain(body: &mut Bounded<Parts>) -> Option<Code> {
    let drained = poll_fn(|context| {
        loop {
            match Pin::new(&mut *body).poll_frame(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(status.code())),
                Poll::Ready(None) | Poll::Pending => return Poll::Ready(None),
            }
        }
    });
    // Or the channel would say that it is empty whenever it thinks that others should have a turn.
    unconstrained(drained).await
}

fn taken(room: &Room) -> usize {
    room.0.load(Ordering::Relaxed)
}

#[tokio::test]
async fn what_comes_as_a_whole_takes_no_room() {
    let room = Room::default();
    let (parts, mut body) = begun(&room);
    for _ in 0..2 {
        let mut message = prefix(MOST_BYTES);
        message.resize(PREFIX + MOST_BYTES, 0);
        parts.send(message.into()).unwrap();
        assert_eq!(drain(&mut body).await, None);
        assert_eq!(taken(&room), 0, "it waits for the next one, of which nothing came");
    }
}

/// However a message is cut: what it announces is what counts, from the end of its prefix to its last byte.
#[tokio::test]
async fn the_announced_length_counts_until_the_message_is_there() {
    let message =
        [prefix(3), b"one".to_vec(), prefix(0), prefix(1000), vec![b'x'; 1000], prefix(2), b"no".to_vec()].concat();
    let expected = |sent: usize| match sent {
        // The prefix; the body; the empty message; a prefix; a body; a prefix; a body.
        0..5 => sent,
        5..8 => 3,
        8..13 => sent - 8,
        13..18 => sent - 13,
        18..1018 => 1000,
        1018..1023 => sent - 1018,
        1023..1025 => 2,
        _ => 0,
    };
    for step in [1, 2, 7, 64, 1500] {
        let room = Room::default();
        let (parts, mut body) = begun(&room);
        let mut sent = 0;
        for part in message.chunks(step) {
            parts.send(part.to_vec().into()).unwrap();
            assert_eq!(drain(&mut body).await, None);
            sent += part.len();
            assert_eq!(taken(&room), expected(sent), "{sent} bytes, {step} at a time");
        }
    }
}

#[tokio::test]
async fn unfinished_messages_share_one_room() {
    let room = Room::default();
    let half = MOST_BYTES / 2;
    let mut two = Vec::new();
    for _ in 0..2 {
        let (parts, mut body) = begun(&room);
        parts.send(prefix(half).into()).unwrap();
        assert_eq!(drain(&mut body).await, None);
        // Asked again, with nothing new: nothing counts twice.
        assert_eq!(drain(&mut body).await, None);
        two.push((parts, body));
    }
    assert_eq!(taken(&room), MOST_BYTES);
    let (parts, mut one_more) = begun(&room);
    parts.send(prefix(1).into()).unwrap();
    assert_eq!(drain(&mut one_more).await, Some(Code::ResourceExhausted));
    // A whole one passes all the same.
    let (parts, mut whole) = begun(&room);
    parts.send([prefix(4), b"good".to_vec()].concat().into()).unwrap();
    drop(parts);
    assert_eq!(drain(&mut whole).await, None);
    drop((one_more, whole));
    assert_eq!(taken(&room), MOST_BYTES);
    two.pop();
    assert_eq!(taken(&room), half, "who is gone takes nothing");
    two.pop();
    assert_eq!(taken(&room), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_never_ends_is_ended() {
    let room = Room::default();
    let (parts, mut body) = begun(&room);
    // A stream that says nothing has all the time of the world, and so has one between its messages.
    for _ in 0..2 {
        assert_eq!(drain(&mut body).await, None);
        advance(3 * PATIENCE).await;
        parts.send([prefix(4), b"good".to_vec()].concat().into()).unwrap();
        assert_eq!(drain(&mut body).await, None);
    }
    parts.send(prefix(100).into()).unwrap();
    assert_eq!(drain(&mut body).await, None);
    // A byte now and then buys no time.
    for _ in 0..9 {
        advance(PATIENCE / 10).await;
        parts.send(Bytes::from_static(b"x")).unwrap();
        assert_eq!(drain(&mut body).await, None);
    }
    advance(PATIENCE / 10).await;
    assert_eq!(drain(&mut body).await, Some(Code::DeadlineExceeded));
}

/// A stream that is never between messages for as long as somebody looks: each has time of its own.
#[tokio::test(start_paused = true)]
async fn each_message_of_a_stream_has_time_of_its_own() {
    let (parts, mut body) = begun(&Room::default());
    let cut = [vec![b'x'; 10], prefix(20), vec![b'x'; 10]].concat();
    parts.send([prefix(20), vec![b'x'; 10]].concat().into()).unwrap();
    for _ in 0..6 {
        assert_eq!(drain(&mut body).await, None);
        advance(PATIENCE / 2).await;
        parts.send(cut.clone().into()).unwrap();
    }
    assert_eq!(drain(&mut body).await, None);
    advance(PATIENCE).await;
    assert_eq!(drain(&mut body).await, Some(Code::DeadlineExceeded), "the one that does not come");
}

#[tokio::test]
async fn a_unary_call_that_comes_as_a_whole_takes_no_room_and_no_timer() {
    let room = Room::default();
    let (parts, mut body) = unary(&room);
    let mut message = prefix(MOST_BYTES);
    message.resize(PREFIX + MOST_BYTES, 0);
    parts.send(message.into()).unwrap();
    drop(parts);
    assert_eq!(drain(&mut body).await, None);
    assert_eq!((taken(&room), body.late.is_none()), (0, true));
}

/// Whoever reads it would keep it until the peer ends the call.
#[tokio::test]
async fn a_unary_call_ends_with_its_message() {
    let room = Room::default();
    let all = [prefix(10), vec![b'x'; 10], prefix(4), b"more".to_vec()].concat();
    for step in [1, 5, 8, 15, 100] {
        let (parts, mut body) = unary(&room);
        for part in all.chunks(step) {
            assert!(parts.send(part.to_vec().into()).is_ok());
        }
        assert_eq!(drain(&mut body).await, None);
        assert!(body.is_end_stream(), "although its peer says nothing of an end");
        let next = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert!(next.is_none() && body.late.is_none());
        drop(body);
        assert_eq!(taken(&room), 0);
    }
}

/// HTTP/2 resets a stream of which nobody waits for the end.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_unary_call_is_waited_for() {
    let answered = || async {
        let (parts, mut body) = unary(&Room::default());
        parts.send(prefix(0).into()).unwrap();
        assert_eq!(drain(&mut body).await, None);
        drop(body);
        tokio::task::yield_now().await;
        assert!(!parts.is_closed(), "not waited for");
        parts
    };
    let parts = answered().await;
    parts.send(Bytes::new()).unwrap();
    tokio::task::yield_now().await;
    assert!(!parts.is_closed(), "what says nothing is no end");
    parts.send(Bytes::from_static(b"more")).unwrap();
    parts.closed().await;
    let (parts, began) = (answered().await, Instant::now());
    parts.closed().await;
    assert_eq!(began.elapsed(), PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn a_unary_call_without_its_message_is_ended() {
    for said in [Vec::new(), prefix(9), [prefix(9), b"part".to_vec()].concat()] {
        let (parts, mut body) = unary(&Room::default());
        parts.send(said.into()).unwrap();
        assert_eq!(drain(&mut body).await, None);
        advance(PATIENCE).await;
        assert_eq!(drain(&mut body).await, Some(Code::DeadlineExceeded));
    }
}

#[tokio::test]
async fn strangers_leave_room_for_who_proved_himself() {
    let rooms = Rooms::default();
    let mut bodies = Vec::new();
    for is_proven in [false, true] {
        let (parts, mut body) = begun(rooms.of(is_proven));
        parts.send(prefix(MOST_BYTES).into()).unwrap();
        assert_eq!(drain(&mut body).await, None);
        let (other, mut one_more) = begun(rooms.of(is_proven));
        other.send(prefix(1).into()).unwrap();
        assert_eq!(drain(&mut one_more).await, Some(Code::ResourceExhausted));
        bodies.push((parts, body));
    }
}
