//! A name server on loopback that gives one answer to every question, whichever that is at the moment, and never lets it be kept.
//! Needs port 53, which belongs to root. Never asks another one.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::net::UdpSocket;

use crate::PeerError;

/// An address that nobody else is likely to use: a machine's own resolver may have port 53 of others.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 53, 0, 53);
const HEADER: usize = 12;
const A: [u8; 2] = [0, 1];

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This address, for no time at all.
    Address(Ipv4Addr),
    /// There is no such name.
    NxDomain,
    /// It cannot say.
    ServFail,
    /// The address, after so long.
    Late(Ipv4Addr, Duration),
}

/// A running name server; it ends with the runtime of the test.
#[derive(Clone, Debug)]
pub struct Dns {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    answer: Answer,
    asked: usize,
}

impl Dns {
    /// Starts one.
    pub async fn start(answer: Answer) -> Result<Self, PeerError> {
        let socket = UdpSocket::bind((ADDRESS, 53)).await.map_err(PeerError::io("port 53 for names"))?;
        let dns = Self { shared: Arc::new(Mutex::new(Shared { answer, asked: 0 })) };
        tokio::spawn(dns.clone().serve(Arc::new(socket)));
        Ok(dns)
    }

    /// From the next question on.
    pub fn set(&self, answer: Answer) {
        self.lock().answer = answer;
    }

    /// How many questions came.
    pub fn asked(&self) -> usize {
        self.lock().asked
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, socket: Arc<UdpSocket>) {
        let mut question = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut question).await {
            let answer = {
                let mut shared = self.lock();
                shared.asked += 1;
                shared.answer
            };
            let Some(message) = question.get(..length).and_then(|question| message(question, answer)) else { continue };
            tokio::spawn(send(socket.clone(), peer, message, answer));
        }
    }
}

async fn send(socket: Arc<UdpSocket>, peer: SocketAddr, message: Vec<u8>, answer: Answer) {
    if let Answer::Late(_, delay) = answer {
        tokio::time::sleep(delay).await;
    }
    // Whoever asked may be gone.
    let _ = socket.send_to(&message, peer).await;
}

/// The answer to one question (RFC 1035 section 4), whose name ends at the first empty label.
fn message(question: &[u8], answer: Answer) -> Option<Vec<u8>> {
    let name = question.get(HEADER..)?.iter().position(|byte| *byte == 0)?;
    let asked = question.get(HEADER..HEADER + name + 5)?;
    let kind = asked.get(name + 1..name + 3)?;
    let (code, address) = match answer {
        Answer::Address(address) | Answer::Late(address, _) => (0, (kind == A).then_some(address)),
        Answer::NxDomain => (3, None),
        Answer::ServFail => (2, None),
    };
    let mut message = question.get(..2)?.to_vec();
    // A response that may be asked for recursion, one question, as many answers as there are addresses.
    message.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    message.extend(asked);
    if let Some(address) = address {
        // The name of the question, A, IN, a lifetime of zero, four bytes.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        message.extend(address.octets());
    }
    Some(message)
}
