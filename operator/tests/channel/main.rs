//! The channel between operator and data plane over real sockets and real TLS; only the API server is played.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "all of it is tests: a helper that fails, fails the test that calls it"
)]

mod change;
mod crowd;
mod fence;
mod kube;
mod proof;
mod proxy;
mod raw;
mod replicas;
mod restart;
mod rollback;
mod rotate;
mod signing;
mod uses;
mod watches;
mod world;
