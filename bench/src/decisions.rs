//! `decisions`: makes the same decision many times, so that `bench/instructions` can count what one costs.
//!
//! Owns the command line. Two steps, because making a key takes another number of instructions each time:
//!
//! ```text
//! decisions prepare FILE N     a key set, then N RS256 tokens that it signed, one a line
//! decisions KIND FILE N        reads all of FILE, then decides N times, with --policies for the hosts of so many policies in turn
//! ```

use std::{error::Error, fs, path::PathBuf};

use bench::decided::{Tokens, World, api_key};
use clap::{Parser, ValueEnum};
use mimalloc::MiMalloc;

type Failure = Box<dyn Error + Send + Sync>;

// As in the product: what it costs to allocate is part of a decision.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Decide many times.
#[derive(Parser)]
struct Args {
    /// What is decided, or what makes FILE.
    kind: Kind,
    /// A key set and tokens.
    file: PathBuf,
    /// How many tokens, or how many decisions.
    count: usize,
    /// How many policies there are.
    #[arg(long, default_value_t = 1)]
    policies: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Makes FILE.
    Prepare,
    /// A token that was verified before.
    Warm,
    /// Tokens that come for the first time.
    Cold,
    /// An API key.
    Key,
}

fn main() -> Result<(), Failure> {
    let Args { kind, file, count, policies } = Args::parse();
    if matches!(kind, Kind::Prepare) {
        let Tokens { keys, authorizations } = Tokens::new(count)?;
        return Ok(fs::write(file, [vec![keys], authorizations].concat().join("\n"))?);
    }
    let text = fs::read_to_string(file)?;
    let (keys, authorizations) = text.split_once('\n').ok_or("the file holds no key set")?;
    let mut authorizations: Vec<String> = authorizations.lines().map(str::to_owned).collect();
    match kind {
        Kind::Cold if authorizations.len() < count => return Err("the file holds fewer tokens".into()),
        Kind::Warm => authorizations.truncate(1),
        Kind::Key => authorizations = vec![api_key()],
        Kind::Cold | Kind::Prepare => {}
    }
    let world = World::new(keys, policies, 32 << 20);
    for (authorization, host) in authorizations.iter().cycle().zip(world.hosts.iter().cycle()).take(count) {
        world.allowed(host, authorization);
    }
    Ok(())
}
