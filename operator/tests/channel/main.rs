//! The channel between operator and data plane over real sockets and real TLS; only the API server is played.

mod change;
mod fence;
mod proof;
mod raw;
mod restart;
mod rotate;
mod world;
