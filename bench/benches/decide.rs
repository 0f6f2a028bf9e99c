//! `cargo bench -p bench --bench decide`: how long one decision takes, without a server. `bench/instructions` counts the same for CI.

use std::{error::Error, hint::black_box};

use bench::decided::{Tokens, World, api_key};
use criterion::Criterion;
use mimalloc::MiMalloc;

// As in the product: what it costs to allocate is part of a decision.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Bytes of verified tokens that are kept, as the product keeps them.
const REMEMBERED: u64 = 32 << 20;
/// Tokens that come in turn where none is to be known.
const NEW: usize = 64;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut criterion = Criterion::default().configure_from_args();
    let tokens = Tokens::new(NEW)?;
    let known = tokens.authorizations.first().map_or("", |token| token);
    for policies in [1, 1_000, 10_000] {
        let world = World::new(&tokens.keys, policies, REMEMBERED);
        world.hosts.iter().for_each(|host| world.allowed(host, known));
        let mut hosts = world.hosts.iter().cycle();
        criterion.bench_function(&format!("known token, policies in turn: {policies}"), |bench| {
            bench.iter(|| black_box(&mut hosts).next().map(|host| world.allowed(host, known)));
        });
    }
    let world = World::new(&tokens.keys, 1, REMEMBERED);
    let key = api_key();
    criterion.bench_function("API key", |bench| {
        bench.iter(|| black_box(&world.hosts).iter().for_each(|host| world.allowed(host, &key)));
    });
    // Nothing is kept: every token is new.
    let world = World::new(&tokens.keys, 1, 0);
    let mut turn = tokens.authorizations.iter().cycle();
    criterion.bench_function("new RS256 token", |bench| {
        let mut next = || black_box(&mut turn).next().into_iter();
        bench.iter(|| next().zip(&world.hosts).for_each(|(token, host)| world.allowed(host, token)));
    });
    criterion.final_summary();
    Ok(())
}
