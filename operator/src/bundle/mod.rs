//! What proxies need to trust us and to be trusted: ConfigMap `gatewright-ca` and Secret `gatewright-client-tls`, in our own namespace
//! and in those that ask for them by label.
//!
//! Owns objects of these names that carry our label and were written by us, and no other: one that somebody else made is never
//! overwritten, whatever it carries. Copies stay when a namespace asks no more: whoever mounts them may still need them. Must never write
//! while not leading.

mod kube;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

pub use self::kube::{KubePlaces, PlaceError, Places};

use crate::{identity::Identity, leader::Leader};

/// Namespaces with this label get the CA certificates.
pub const INJECT_CA: &str = "gatewright.dev/inject-ca";
/// Namespaces with this label get the certificate of a proxy.
pub const GATEWAY: &str = "gatewright.dev/gateway";
/// The ConfigMap.
pub const CA: &str = "gatewright-ca";
/// The Secret.
pub const CLIENT_TLS: &str = "gatewright-client-tls";
/// When a certificate is replaced, as an annotation.
const RENEW_AT: &str = "gatewright.dev/renew-at";

/// No certificate is made to be replaced later than so, a third of its life: one that says so is of a clock that was ahead, and perhaps
/// begins only when that clock would be right.
const FARTHEST: SignedDuration = SignedDuration::from_hours(7 * 24 / 3 + 1);
/// How often namespaces are asked for.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is looked whether what was written is still there.
const AGAIN: Duration = Duration::from_mins(1);

/// One of the two objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Piece {
    /// The CA certificates.
    Authorities,
    /// The certificate of a proxy.
    Client,
}

/// An object as it is.
#[derive(Clone, Default)]
pub struct Found {
    /// Whether we made it.
    pub ours: bool,
    /// `metadata.uid`.
    pub uid: String,
    /// The CA certificates in it.
    pub authorities: Option<String>,
    /// When its certificate is replaced.
    pub renew_at: Option<String>,
}

/// An object as it shall be.
#[derive(Clone)]
pub struct Content {
    /// Entries.
    pub data: BTreeMap<&'static str, String>,
    /// Annotations.
    pub annotations: BTreeMap<&'static str, String>,
}

/// Who makes certificates.
pub trait Certificates: Send + Sync {
    /// The CA certificates in PEM.
    fn authorities(&self) -> Arc<str>;
    /// A certificate for the proxies of a namespace, and when it is replaced; `None`: not now.
    fn client(&self, namespace: &str) -> Option<(Content, SystemTime)>;
}

/// The task.
pub struct Bundles {
    places: Arc<dyn Places>,
    certificates: Arc<dyn Certificates>,
    namespace: String,
    /// What was seen right, when, and under which certificates.
    right: HashMap<(Piece, String), (Instant, Arc<str>)>,
    /// What went wrong last, as long as it does; without a namespace: with the list of those that ask.
    told: HashMap<(Piece, Option<String>), String>,
}

// === impl Bundles ===

impl Bundles {
    /// For the operator's own `namespace`, and others that ask.
    pub fn new(places: Arc<dyn Places>, certificates: Arc<dyn Certificates>, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        Self { places, certificates, namespace, right: HashMap::new(), told: HashMap::new() }
    }

    /// Writes what is missing or old, while this process leads. For ever.
    pub async fn run(mut self, leader: &Leader) {
        let mut leading = leader.is_leading();
        loop {
            if leader.guard().is_some() {
                self.round(&|| leader.guard().is_some_and(|guard| guard.holds())).await;
                sleep(LOOK).await;
            } else {
                // What others write meanwhile is looked at anew.
                self.right.clear();
                if leading.wait_for(|leads| *leads).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// One look at every namespace. `may`: asked right before each write.
    async fn round(&mut self, may: &(dyn Fn() -> bool + Sync)) {
        for (piece, label) in [(Piece::Authorities, INJECT_CA), (Piece::Client, GATEWAY)] {
            let mut targets = BTreeSet::from([self.namespace.clone()]);
            match self.places.namespaces(label).await {
                Ok(asking) => {
                    targets.extend(asking);
                    self.told.remove(&(piece, None));
                }
                Err(error) => {
                    self.tell_once((piece, None), &format!("namespaces that ask by {label} are not known: {error}"));
                }
            }
            self.right.retain(|(of, namespace), _| *of != piece || targets.contains(namespace));
            self.told.retain(|(of, namespace), _| {
                *of != piece || namespace.as_ref().is_none_or(|namespace| targets.contains(namespace))
            });
            for namespace in targets {
                if !may() {
                    return;
                }
                if let Err(error) = self.ensure(piece, &namespace, may).await {
                    let text = format!("{} of {namespace}: {error}", piece.name());
                    self.tell_once((piece, Some(namespace)), &text);
                }
            }
        }
    }

    async fn ensure(
        &mut self,
        piece: Piece,
        namespace: &str,
        may: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), PlaceError> {
        let key = (piece, namespace.to_owned());
        let authorities = self.certificates.authorities();
        let now = Instant::now();
        if self.right.get(&key).is_some_and(|(seen, under)| now.duration_since(*seen) < AGAIN && *under == authorities)
        {
            return Ok(());
        }
        let found = self.places.read(piece, namespace).await?;
        if let Some(found) = &found {
            if !found.ours {
                let text = format!(
                    "{} {namespace}/{} was made by somebody else and is left alone: delete or rename it, and ours is put there",
                    piece.kind(),
                    piece.name()
                );
                if self.is_news((piece, Some(namespace.to_owned())), &text) {
                    warn!("{text}");
                    self.places.complain(piece, namespace, &found.uid, &text).await;
                }
                return Ok(());
            }
            if found.authorities.as_deref() == Some(&*authorities) && (piece == Piece::Authorities || found.is_fresh())
            {
                self.note_right(key, (now, authorities));
                return Ok(());
            }
        }
        let content = match piece {
            Piece::Authorities => {
                Content { data: BTreeMap::from([("ca.crt", authorities.to_string())]), annotations: BTreeMap::new() }
            }
            Piece::Client => match self.certificates.client(namespace) {
                Some((mut content, renew_at)) => {
                    content.annotations.insert(RENEW_AT, stamp(renew_at));
                    content
                }
                None => return Ok(()),
            },
        };
        if may() {
            self.places.write(piece, namespace, content, found.map(|found| found.uid)).await?;
            self.note_right(key, (now, authorities));
        }
        Ok(())
    }

    fn note_right(&mut self, key: (Piece, String), seen: (Instant, Arc<str>)) {
        self.told.remove(&(key.0, Some(key.1.clone())));
        self.right.insert(key, seen);
    }

    fn tell_once(&mut self, about: (Piece, Option<String>), text: &str) {
        if self.is_news(about, text) {
            warn!("{text}; trying again");
        } else {
            debug!("{text}");
        }
    }

    /// Whether this is not what was said of it last.
    fn is_news(&mut self, about: (Piece, Option<String>), text: &str) -> bool {
        self.told.insert(about, text.to_owned()).is_none_or(|before| before != text)
    }
}

/// RFC 3339.
fn stamp(time: SystemTime) -> String {
    Timestamp::try_from(time).map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default()
}

// === impl Found ===

impl Found {
    /// Whether its certificate is not due yet. A time that cannot be read is due, and one that makes no sense.
    fn is_fresh(&self) -> bool {
        let due = self.renew_at.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
        let left = due.map(|due| due.duration_since(Timestamp::now()));
        left.is_some_and(|left| left.is_positive() && left <= FARTHEST)
    }
}

// === impl Piece ===

impl Piece {
    /// The object's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorities => CA,
            Self::Client => CLIENT_TLS,
        }
    }

    /// The object's kind.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Authorities => "ConfigMap",
            Self::Client => "Secret",
        }
    }
}

impl Certificates for Identity {
    fn authorities(&self) -> Arc<str> {
        self.ca_bundle().borrow().clone()
    }

    fn client(&self, namespace: &str) -> Option<(Content, SystemTime)> {
        match self.client_certificate(namespace) {
            Ok(made) => {
                let authorities = made.authorities.to_string();
                let data =
                    BTreeMap::from([("tls.crt", made.certificate), ("tls.key", made.key), ("ca.crt", authorities)]);
                Some((Content { data, annotations: BTreeMap::new() }, made.renew_at))
            }
            Err(error) => {
                warn!(namespace, %error, "no certificate can be made for its proxies");
                None
            }
        }
    }
}
