//! Stores that replicas count in: where they are, whom we believe there, as whom we ask.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use url::{Host, Url};

use super::{
    authenticator::duration,
    policy::Site,
    problem,
    remote::{tls, value},
    verdict::Reason,
};
use crate::{
    snapshot::{ClientCertificate, SharedStore, StorePassword},
    v1alpha1::{self, CallTimeout, OnFailure},
};

/// A third of what a check has by default: a store that is late leaves time for the answer.
const TIMEOUT: Duration = Duration::from_millis(50);
const PORT: u16 = 6379;
const PREFIX: &str = "gatewright:";

/// The place that a URL names.
struct Place {
    host: Box<str>,
    port: u16,
    secure: bool,
    database: u16,
}

/// The store of one policy.
pub(super) fn compile(spec: &v1alpha1::LimitStore, site: &mut Site<'_>) -> Option<Arc<SharedStore>> {
    let (at, spec) = ("spec.limits.store.redis", &spec.redis);
    let place = Place::parse(&spec.url).map_err(|why| site.problems.push(problem(format!("{at}.url"), why))).ok();
    let secure = spec.url.starts_with("rediss:");
    let timeout_at = format!("{at}.timeout");
    let timeout = duration(&timeout_at, spec.timeout.as_ref().map(CallTimeout::parse), TIMEOUT, site);
    let tls = tls(at, secure, spec.ca_bundle_ref.as_ref(), spec.client_certificate_ref.as_ref(), site);
    let password = password(at, spec, site);
    let Place { host, port, secure, database } = place?;
    let mut store = SharedStore {
        host,
        port,
        secure,
        database,
        username: spec.username.as_ref().map(|name| (**name).into()),
        password,
        tls,
        timeout,
        prefix: spec.key_prefix.as_deref().unwrap_or(PREFIX).into(),
        pass_uncounted: spec.on_failure == Some(OnFailure::Allow),
        id: [0; 32],
    };
    store.id = id(&store);
    Some(Arc::new(store))
}

fn password(at: &str, spec: &v1alpha1::RedisStore, site: &Site<'_>) -> StorePassword {
    let at = format!("{at}.passwordRef");
    if spec.password_ref.is_none() {
        return StorePassword::None;
    }
    let Some(value) = value(&at, spec.password_ref.as_ref(), site) else { return StorePassword::Missing };
    if std::str::from_utf8(value.expose()).is_ok_and(|text| !text.is_empty()) {
        return StorePassword::Own(value);
    }
    let message =
        format!("{at}: is no password; give text in UTF-8 that is not empty, without a line break at its end");
    site.references.problem(Reason::BadContent, message);
    StorePassword::Missing
}

/// Not over the names of keys and what a failure means: a connection depends on neither.
fn id(store: &SharedStore) -> [u8; 32] {
    let tls = serde_json::to_vec(&store.tls).unwrap_or_default();
    let certificate = match &store.tls.certificate {
        ClientCertificate::Own(pem) => pem.expose(),
        ClientCertificate::None | ClientCertificate::Missing => &[],
    };
    let (password, missing) = match &store.password {
        StorePassword::Own(password) => (password.expose(), false),
        StorePassword::None => (&[][..], false),
        StorePassword::Missing => (&[][..], true),
    };
    let SharedStore { port, secure, database, .. } = store;
    let numbers = format!("{port}/{secure}/{database}/{}/{missing}", store.timeout.as_millis());
    let user = store.username.as_deref().unwrap_or_default();
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [store.host.as_bytes(), numbers.as_bytes(), user.as_bytes(), password, certificate, &tls] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    crate::digest::finish(context)
}

// === impl Place ===

impl Place {
    /// The schema has its shape; what is left are numbers that are too large, and hosts that are none.
    fn parse(text: &str) -> Result<Self, String> {
        let bad = |what: &str| format!("`{text}` {what}; write it as rediss://HOST:PORT/DATABASE");
        // This scheme is none whose hosts the parser knows as such: their other notations of addresses are read as https would.
        let (secure, rest) = match text.split_once("://") {
            Some(("rediss", rest)) => (true, rest),
            Some(("redis", rest)) => (false, rest),
            _ => return Err(bad("is no URL of a Redis server")),
        };
        let own = Url::parse(text).map_err(|_| bad("has no valid port"))?;
        let url = Url::parse(&format!("https://{rest}")).map_err(|_| bad("has no valid host or port"))?;
        let host = match url.host() {
            Some(Host::Domain(name)) => name.into(),
            Some(Host::Ipv4(address)) => address.to_string().into(),
            Some(Host::Ipv6(address)) => address.to_string().into(),
            None => return Err(bad("has no host")),
        };
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| bad("has no valid number of a database"))?,
        };
        Ok(Self { host, port: own.port().unwrap_or(PORT), secure, database })
    }
}
