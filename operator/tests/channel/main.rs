//! The channel between operator and data plane over real sockets and real TLS; only the API server is played.

mod change;
mod proof;
mod world;
