//! An OpenID provider inside the test: discovery and a key set whose behaviour can be switched while it runs.
//! Never judges a request: it serves, counts and signs.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    serve::Listener,
};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::{PeerError, keys, secrets};

/// What discovery and the key set do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They answer.
    None,
    /// They accept the request and never answer.
    Hang,
    /// Connections are reset as soon as they are made.
    Refuse,
    /// 200 with text that is no JSON.
    Garbage,
    /// 200 with a page, as a captive portal does.
    Html,
    /// Only this status.
    Status(u16),
    /// A redirect to a copy that would answer well: whoever follows it is found out.
    Redirect,
    /// The right answer behind 16 MiB of blanks: whoever reads without a bound is found out.
    Huge,
    /// The right answer, later.
    Delay(Duration),
}

const HUGE: usize = 16 << 20;
const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/keys";
/// Lifetime of the tokens it signs, in seconds.
const LIFETIME: i64 = 300;

/// A running issuer; it ends with the runtime of the test.
#[derive(Clone, Debug)]
pub struct Issuer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    fault: Fault,
    published: Vec<String>,
    hits: Vec<String>,
}

impl Issuer {
    /// Starts one that publishes the key `rsa`.
    pub async fn start() -> Result<Self, PeerError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(PeerError::io("a port for the issuer"))?;
        let address = listener.local_addr().map_err(PeerError::io("the issuer's address"))?;
        let inner = Inner { fault: Fault::None, published: vec!["rsa".to_owned()], hits: Vec::new() };
        let shared = Arc::new(Shared(Mutex::new(inner)));
        keys::named("rsa")?;
        let issuer = Self { address, shared: Arc::clone(&shared) };
        let router = Router::new().fallback(answer).with_state(issuer.clone());
        let doors = Doors { listener, shared };
        tokio::spawn(async move { axum::serve(doors, router).await });
        Ok(issuer)
    }

    /// Its identifier, the `iss` of its tokens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next connection on it behaves like this.
    pub fn set(&self, fault: Fault) {
        self.shared.lock().fault = fault;
    }

    /// Publishes these keys and no others; see [`keys::named`].
    pub fn publish(&self, names: &[&str]) -> Result<(), PeerError> {
        for name in names {
            keys::named(name)?;
        }
        self.shared.lock().published = names.iter().map(|&name| name.to_owned()).collect();
        Ok(())
    }

    /// How often its key set was asked for.
    pub fn key_fetches(&self) -> usize {
        self.shared.lock().hits.iter().filter(|path| *path == KEYS).count()
    }

    /// Every path asked for, in order.
    pub fn hits(&self) -> Vec<String> {
        self.shared.lock().hits.clone()
    }

    /// A token of the key `rsa`: issuer, issue time and expiry, with `claims` laid over; `null` leaves one out.
    pub fn token(&self, claims: &Value) -> Result<String, PeerError> {
        self.token_by("rsa", claims)
    }

    /// The same by another key, published or not.
    pub fn token_by(&self, key: &str, claims: &Value) -> Result<String, PeerError> {
        let key = keys::named(key)?;
        let header = json!({"alg": key.algorithm(), "typ": "JWT", "kid": key.kid});
        let now = now();
        let mut all = Map::from_iter([
            ("iss".to_owned(), json!(self.url())),
            ("iat".to_owned(), json!(now)),
            ("exp".to_owned(), json!(now + LIFETIME)),
        ]);
        for (name, value) in claims.as_object().into_iter().flatten() {
            match value {
                Value::Null => all.remove(name),
                value => all.insert(name.clone(), value.clone()),
            };
        }
        let token = key.sign(&header, &Value::Object(all))?;
        secrets::note(&token);
        Ok(token)
    }

    fn discovery(&self) -> String {
        let url = self.url();
        json!({"issuer": url, "jwks_uri": format!("{url}{KEYS}"), "authorization_endpoint": format!("{url}/authorize"),
               "token_endpoint": format!("{url}/token"), "response_types_supported": ["code"],
               "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"]})
        .to_string()
    }

    fn key_set(&self) -> String {
        let published = self.shared.lock().published.clone();
        let set: Vec<Value> = published.iter().filter_map(|name| Some(keys::named(name).ok()?.jwk())).collect();
        json!({ "keys": set }).to_string()
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

// === serving ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(issuer): State<Issuer>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let fault = {
        let mut inner = issuer.shared.lock();
        inner.hits.push(path.clone());
        inner.fault
    };
    let (path, moved) = path.strip_prefix("/moved").map_or((path.as_str(), false), |rest| (rest, true));
    let good = match path {
        DISCOVERY => issuer.discovery(),
        KEYS => issuer.key_set(),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let mut response = match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Garbage => json_body("{\"keys\": [{{{".to_owned()),
        Fault::Html => ([(header::CONTENT_TYPE, "text/html")], "<html>Please sign in</html>").into_response(),
        Fault::Status(code) => StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response(),
        Fault::Redirect if !moved => (StatusCode::FOUND, [(header::LOCATION, format!("/moved{path}"))]).into_response(),
        Fault::Huge => json_body(" ".repeat(HUGE) + &good),
        Fault::Delay(delay) => {
            tokio::time::sleep(delay).await;
            json_body(good)
        }
        Fault::None | Fault::Refuse | Fault::Redirect => json_body(good),
    };
    // One request per connection, so that a switch of behaviour holds for the next request.
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}

fn json_body(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Body::from(text)).into_response()
}

/// The listener that resets what comes while the issuer refuses. The port stays ours meanwhile, which closing the
/// listener would not promise.
struct Doors {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Listener for Doors {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = Listener::accept(&mut self.listener).await;
            if self.shared.lock().fault != Fault::Refuse {
                return (stream, from);
            }
            self.shared.lock().hits.push("refused".to_owned());
            let _ = stream.set_zero_linger();
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
