//! What a cluster takes: the definitions, the documents of users, and the charts, by a real API server and a real Helm.
//! Nothing of the operator runs here.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test's helper fails the test that calls it; indexing a JSON value does not panic"
)]

mod charts;
mod documents;
mod objects;
mod permissions;
mod served;
