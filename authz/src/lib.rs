//! Decides who may reach what, and answers Envoy.
//!
//! ```text
//!  CheckRequest ─► server::request ─► RequestView ─┐
//!  explain's flags ────────────────► RequestView ─┤
//!                                                 ▼
//!          Snapshot ────────────────────────► decide ──► Decision ─► server::response ─► CheckResponse
//! KeyStore, RemoteStore, TokenCache, now ──────┘  ▲          └────► explain
//!                                                  └── Wait(Need): the caller awaits it and asks again
//! ```
//!
//! [`decide`] and everything it uses ([`request`], [`principal`], [`jwt`], [`expr`], [`errors`], [`cache`], [`keystore`], and the shapes of
//! [`limits`], [`factors`], [`signers`]) is synchronous and pure; it compiles without the `server` feature. [`server`] holds Envoy's types and sockets, [`jwks`] fetches keys, [`remote`] asks services, [`cluster`] is
//! the API server, [`shared`] counts where replicas count together, [`net`] says what may be dialled, [`uses`] knows when API keys
//! were used last, [`channel`] takes policies from an operator, [`tls`] says who a peer is, [`seal`] keeps state unreadable at rest,
//! [`trace`] makes spans.

pub mod cache;
#[cfg(feature = "server")]
pub mod channel;
#[cfg(feature = "server")]
pub mod cluster;
pub mod decide;
pub mod errors;
pub mod expr;
pub mod factors;
#[cfg(feature = "server")]
pub mod jwks;
pub mod jwt;
pub mod keystore;
pub mod limits;
#[cfg(feature = "server")]
pub mod net;
pub mod principal;
pub mod remote;
pub mod request;
#[cfg(feature = "server")]
pub mod seal;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod shared;
pub mod signers;
#[cfg(feature = "server")]
pub mod tls;
#[cfg(feature = "server")]
pub mod trace;
pub mod uses;
