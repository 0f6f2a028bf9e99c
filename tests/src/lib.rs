//! The peers that the wire tests and the quickstart put around the real product: one file per peer.
//!
//! ```text
//!   client ──▶ envoy ──▶ upstream          every peer is real, or speaks the real protocol on a real socket;
//!                │ ext_authz               everything listens on port 0 and writes in temporary folders,
//!                ▼                         so that tests run beside each other
//!             product ──▶ issuer
//! ```
//!
//! Owns: starting, steering and ending those peers. Never: a line of the product's code. The product is the
//! binary, spoken to as its users do.

#![allow(
    clippy::indexing_slicing,
    reason = "indexing a JSON value yields null and does not panic; nothing else is indexed"
)]

pub mod agentflow;
pub mod apiserver;
pub mod bench;
pub mod client;
pub mod collector;
pub mod cq;
pub mod demo;
pub mod dns;
pub mod envoy;
pub mod error;
pub mod fault_proxy;
pub mod grpc;
pub mod helm;
pub mod issued;
pub mod issuer;
pub mod keycloak;
pub mod keys;
pub mod load;
pub mod node;
pub mod oidc_provider;
pub mod operator;
pub mod page;
pub mod process;
pub mod product;
pub mod redis;
pub mod secrets;
pub mod socket;
pub mod tools;
pub mod upstream;
pub mod wait;

pub use bench::{Bench, Documents};
pub use client::{Answer, Call};
pub use error::PeerError;
pub use issuer::{Fault, Issuer};
pub use product::Product;
