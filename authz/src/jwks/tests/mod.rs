//! The cache against a provider that fails on command. Real sockets on loopback, no clock but the one of each deadline.

mod cluster;
mod discovery;
mod disk;
mod fetching;
mod flights;
pub(crate) mod gzip;
mod lifecycle;
pub(super) mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use crds::snapshot::{Authorities, KeySetId, KeySetSource};
use prometheus_client::{encoding::text::encode, registry::Registry};

use self::server::{Mode, Provider, within};
use super::{Freshness, KeyCache, KeySetStatus, Options};
use crate::keystore::KeyStore;
use crate::net::Networks;

const HOUR: Duration = Duration::from_hours(1);

/// A cache with its registry.
struct Fixture {
    cache: Arc<KeyCache>,
    registry: Registry,
}

impl Fixture {
    fn new(options: Options) -> Self {
        let mut registry = Registry::default();
        Self { cache: KeyCache::new(options, &mut registry).unwrap(), registry }
    }

    /// A cache that has fetched the keys of a provider.
    async fn fetched(options: Options, source: &KeySetSource) -> Self {
        let fixture = Self::new(options);
        fixture.cache.sync(vec![source.clone()]);
        within(fixture.cache.fetched_once()).await;
        fixture
    }

    /// The names of the keys in force.
    fn kids(&self, source: &KeySetSource) -> Option<Vec<String>> {
        let keys = self.cache.state(&source.id).keys?;
        Some(keys.keys().iter().map(|key| key.kid().unwrap_or_default().to_owned()).collect())
    }

    fn status(&self, source: &KeySetSource) -> KeySetStatus {
        self.cache.status().into_iter().find(|one| one.id == *source.id.0).unwrap()
    }

    fn last_error(&self, source: &KeySetSource) -> String {
        self.status(source).last_error.unwrap_or_default()
    }

    async fn refresh(&self, source: &KeySetSource) {
        within(self.cache.refresh(&source.id)).await;
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// Options without patience, for loopback only.
fn options() -> Options {
    Options {
        networks: loopback(),
        retry_first: Duration::from_millis(10),
        retry_last: Duration::from_millis(40),
        ..Options::default()
    }
}

fn loopback() -> Networks {
    Networks::without_proxy(vec!["127.0.0.0/8".parse().unwrap()])
}

fn keeping(data_dir: &std::path::Path) -> Options {
    Options { data_dir: Some(data_dir.to_owned()), ..options() }
}

/// Options where nothing that failed is tried again within a test, unless somebody asks.
fn patient() -> Options {
    Options { retry_first: HOUR, retry_last: HOUR, ..options() }
}

/// Options where every unknown `kid` may fetch.
fn eager() -> Options {
    Options { unknown_kid_cooldown: Duration::ZERO, ..patient() }
}

fn configured(provider: &Provider) -> KeySetSource {
    source(&provider.issuer(), Some(&provider.keys_url()))
}

fn discovered(provider: &Provider) -> KeySetSource {
    source(&provider.issuer(), None)
}

fn source(issuer: &str, jwks_uri: Option<&str>) -> KeySetSource {
    let id = KeySetId(format!("{issuer} {}", jwks_uri.unwrap_or_default()).into());
    KeySetSource {
        id,
        issuer: issuer.into(),
        jwks_uri: jwks_uri.map(Into::into),
        max_age: HOUR,
        authorities: Authorities::System,
        cluster: false,
    }
}

/// A set of new keys with these names.
fn key_set(kids: &[&str]) -> String {
    let keys: Vec<_> = kids.iter().map(|kid| jwk(kid)).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn keys(kids: &[&str]) -> Mode {
    Mode::json(key_set(kids))
}

fn jwk(kid: &str) -> String {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    let [x, y] = [&point[1..33], &point[33..]].map(|half| BASE64_URL_SAFE_NO_PAD.encode(half));
    format!(r#"{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"{x}","y":"{y}"}}"#)
}

/// A directory of its own for each test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("gatewright-jwks-{:016x}", fastrand::u64(..)));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// The only file of the key store.
    fn file(&self) -> PathBuf {
        let files: Vec<_> =
            std::fs::read_dir(self.0.join("keys")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
