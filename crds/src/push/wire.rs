//! Names, types and versions of what travels on the channel. Pure: the transport wraps these bytes and reads none of them.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{PushedPolicy, PushedValues, SigningKeys};
use crate::documents::ReferenceKind;

/// The one type that a stream subscribes to: a policy and its values are in one change only if they share a type.
pub const RESOURCE_TYPE: &str = "type.gatewright.dev/v1alpha1.Resource";
/// Type of a [`PushedPolicy`].
pub const POLICY_TYPE: &str = "type.gatewright.dev/v1alpha1.Policy";
/// Type of [`PushedValues`].
pub const VALUES_TYPE: &str = "type.gatewright.dev/v1alpha1.Values";
/// Type of [`Trust`].
pub const TRUST_TYPE: &str = "type.gatewright.dev/v1alpha1.Trust";
/// Type of [`SigningKeys`].
pub const SIGNING_TYPE: &str = "type.gatewright.dev/v1alpha1.SigningKeys";
/// Type of a [`State`].
pub const STATE_TYPE: &str = "type.gatewright.dev/v1alpha1.State";

/// Names a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// `policy/NS/NAME`.
    Policy(Arc<str>),
    /// `secret/NS/NAME`, `configmap/NS/NAME`.
    Values(ReferenceKind, Arc<str>),
    /// `signing-keys`.
    Signing,
    /// `trust`.
    Trust,
    /// `state`.
    State,
}

/// The last resource of every change: what was staged before it is in force from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The leadership under which this was made; never goes back.
    pub epoch: u64,
    /// The how-manieth change of the stream.
    pub counter: u64,
    /// How many policies the receiver holds after this change. Another number means that something was lost.
    pub policies: usize,
}

/// Whom to believe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trust {
    /// The certificates of the operator's CA in PEM, those of a rotation under way included.
    pub authorities: Arc<str>,
}

/// One resource that the receiver refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// Its name.
    pub resource: String,
    /// Why, with field paths.
    pub reason: String,
}

/// What one receiver tells about the issuers of one policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `namespace/name`.
    pub policy: Arc<str>,
    /// The issuer as configured.
    pub issuer: String,
    /// What went wrong in the newest attempt to fetch its keys; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What one receiver tells about the proxies that ask it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerReport {
    /// Whether any of them proved itself since the receiver began: by a certificate, or by being on the same machine.
    #[serde(default)]
    pub proved: bool,
    /// Those that did not, and were refused a secret of a policy (`namespace/name`) of late. Not all of them if they are many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub strangers: BTreeMap<Arc<str>, Vec<IpAddr>>,
}

/// A resource as it was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A policy.
    Policy(Box<PushedPolicy>),
    /// Values.
    Values(PushedValues),
    /// Keys that sign tokens for upstreams.
    Signing(SigningKeys),
    /// Whom to believe.
    Trust(Trust),
    /// The end of a change.
    State(State),
}

/// Why a resource cannot be read. Values are not quoted: they are secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// The name is not of this protocol.
    #[error("a resource of an unknown name: the sender speaks another version")]
    Name,
    /// The type is not that of its name.
    #[error("{0} is not of the type of its name: the sender speaks another version")]
    Type(Name),
    /// The content names something else.
    #[error("{0} holds another object")]
    Mismatch(Name),
    /// The bytes are no such resource.
    #[error("{0} cannot be read (at byte {1}): the sender speaks another version")]
    Bytes(Name, usize),
}

/// The version of a resource: the first half of SHA-256 over its bytes, in hex. Equal bytes have equal versions on every replica.
pub fn version(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    crate::digest::hex(digest.as_ref().get(..16).unwrap_or_default())
}

// === impl Name ===

impl Name {
    /// The type of what has this name.
    pub const fn type_url(&self) -> &'static str {
        match self {
            Self::Policy(_) => POLICY_TYPE,
            Self::Values(..) => VALUES_TYPE,
            Self::Signing => SIGNING_TYPE,
            Self::Trust => TRUST_TYPE,
            Self::State => STATE_TYPE,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(name) => write!(out, "policy/{name}"),
            Self::Values(ReferenceKind::Secret, name) => write!(out, "secret/{name}"),
            Self::Values(ReferenceKind::ConfigMap, name) => write!(out, "configmap/{name}"),
            Self::Signing => out.write_str("signing-keys"),
            Self::Trust => out.write_str("trust"),
            Self::State => out.write_str("state"),
        }
    }
}

impl FromStr for Name {
    type Err = Undecodable;

    fn from_str(text: &str) -> Result<Self, Undecodable> {
        match text.split_once('/') {
            None if text == "state" => Ok(Self::State),
            None if text == "signing-keys" => Ok(Self::Signing),
            None if text == "trust" => Ok(Self::Trust),
            Some(("policy", name)) => Ok(Self::Policy(name.into())),
            Some(("secret", name)) => Ok(Self::Values(ReferenceKind::Secret, name.into())),
            Some(("configmap", name)) => Ok(Self::Values(ReferenceKind::ConfigMap, name.into())),
            _ => Err(Undecodable::Name),
        }
    }
}

// === impl Body ===

impl Body {
    /// Reads a resource; it must be what its name says.
    pub fn read(name: &Name, type_url: &str, bytes: &[u8]) -> Result<Self, Undecodable> {
        if type_url != name.type_url() {
            return Err(Undecodable::Type(name.clone()));
        }
        // The message of the error may quote the text, which may be a secret.
        let failed = |error: serde_json::Error| Undecodable::Bytes(name.clone(), error.column());
        let (body, same) = match name {
            Name::Policy(own) => {
                let policy: PushedPolicy = serde_json::from_slice(bytes).map_err(failed)?;
                let same = policy.name == *own;
                (Self::Policy(Box::new(policy)), same)
            }
            Name::Values(kind, own) => {
                let values: PushedValues = serde_json::from_slice(bytes).map_err(failed)?;
                let same = (values.kind, values.name.as_str()) == (*kind, own);
                (Self::Values(values), same)
            }
            Name::Signing => (Self::Signing(serde_json::from_slice(bytes).map_err(failed)?), true),
            Name::Trust => (Self::Trust(serde_json::from_slice(bytes).map_err(failed)?), true),
            Name::State => (Self::State(serde_json::from_slice(bytes).map_err(failed)?), true),
        };
        if same { Ok(body) } else { Err(Undecodable::Mismatch(name.clone())) }
    }
}
