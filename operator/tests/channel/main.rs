//! The channel between operator and data plane over real sockets and real TLS; only the API server is played.

mod change;
mod fence;
mod proof;
mod proxy;
mod raw;
mod replicas;
mod restart;
mod rotate;
mod world;
