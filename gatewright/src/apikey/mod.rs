//! `gatewright apikey`: keys and their records, in files. A key is printed once, when it is minted, and kept nowhere.
//!
//! Must never take a key as an argument (other users of the machine can read those), and never print the hash of a record it lists.

mod revoke;
#[cfg(test)]
mod tests;

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use clap::{Args, Subcommand, ValueEnum};
use crds::{
    api_keys::{self, KeyId, Listed, Minted, Uses},
    documents::{Objects, SecretValues},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{USAGE, cli::Output, config, fail};

/// Keys that a user may have in force at once, where records are given.
const MOST_ACTIVE: usize = 20;
/// A shorter pepper weakens every record.
const MIN_PEPPER_BYTES: u64 = 32;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Make a key: prints it, and the Secret entry that knows it.
    Mint(MintArgs),
    /// Read a key from standard input and print what a Secret stores of it.
    Hash(HashArgs),
    /// Show the records in Secret documents, and when their keys were used last if the Secrets gatewright-last-used-N are among them.
    List(ListArgs),
    /// Revoke keys: writes `revoked_at` into the Secret documents that hold them, and changes nothing else.
    Revoke(RevokeArgs),
}

/// `gatewright apikey mint`.
#[derive(Debug, Args)]
pub struct MintArgs {
    /// Whose key it is: the subject of its requests.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    user: String,
    /// How long it holds: a number with s, m, h or d, at most 365d.
    #[arg(long, value_name = "TTL", default_value = "90d", value_parser = ttl)]
    ttl: SignedDuration,
    /// The kind of key, as in `apiKey.cqaV1` and `apiKey.sha256`.
    #[arg(long, value_enum, default_value_t = Format::CqaV1)]
    format: Format,
    /// File with the pepper, for cqa-v1: its bytes exactly as they are in the Secret, at least 32.
    #[arg(long, value_name = "FILE", required_if_eq("format", "cqa-v1"))]
    pepper_file: Option<PathBuf>,
    /// Documents with the records there are: refuses a user's 21st key in force. Repeatable.
    #[arg(long, value_name = "PATH")]
    records: Vec<PathBuf>,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// cqa.v1.ID.SECRET, checked with a pepper.
    CqaV1,
    /// Any text, known by its SHA-256.
    Sha256,
}

/// `gatewright apikey hash`.
#[derive(Debug, Args)]
pub struct HashArgs {
    /// Print the `hash` of a cqa.v1 key under this pepper. Without it: the SHA-256 that names the entry of any key.
    #[arg(long, value_name = "FILE")]
    pepper_file: Option<PathBuf>,
}

/// `gatewright apikey list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Files or folders with Secret documents.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Only this user's.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// `gatewright apikey revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Names of entries, as `list` shows them: the ID of a cqa.v1 key, or the SHA-256 of another. Repeatable.
    #[arg(long = "id", value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Files with Secret documents.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Exit 0: done. 1: refused, or not found. 2: usage.
pub(crate) fn command(action: &Action, out: &mut impl Write) -> u8 {
    let result = match action {
        Action::Mint(args) => mint(args, out),
        Action::Hash(args) => hash(args, out),
        Action::List(args) => list(args, out),
        Action::Revoke(args) => revoke::revoke(args, out),
    };
    match result {
        Ok(()) => 0,
        Err(Failure::Untold(code, message)) => fail(code, &message),
        Err(Failure::Told(code)) => code,
    }
}

type Outcome<T = ()> = Result<T, Failure>;

/// Why a command ends, and with which exit code.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Untold(u8, String),
    /// What is wrong stands on standard error already.
    Told(u8),
}

// === impl Failure ===

impl From<(u8, String)> for Failure {
    fn from((code, message): (u8, String)) -> Self {
        Self::Untold(code, message)
    }
}

fn mint(args: &MintArgs, out: &mut impl Write) -> Outcome {
    let now = Timestamp::now();
    if !args.records.is_empty() {
        let objects = objects(&args.records)?;
        let active = records(&objects)
            .filter(|(_, _, one)| one.user.as_deref() == Some(&args.user) && state(one, now) == "active")
            .count();
        if active >= MOST_ACTIVE {
            return Err((1, format!("Maximum of {MOST_ACTIVE} active API keys per user; revoke one first")).into());
        }
    }
    let until = now.checked_add(args.ttl).map_err(|error| (USAGE, error.to_string()))?;
    // Whole seconds, as people write them.
    let until = Timestamp::from_second(until.as_second()).unwrap_or(until).to_string();
    let minted = match (args.format, &args.pepper_file) {
        (Format::CqaV1, Some(file)) => Minted::cqa_v1(random()?, random()?, &pepper(file)?, &args.user, &until),
        (Format::CqaV1, None) => return Err((USAGE, "cqa-v1 keys need --pepper-file".to_owned()).into()),
        (Format::Sha256, _) => Minted::sha256(random()?, &args.user, &until),
    };
    written(match args.output {
        Output::Json => writeln!(
            out,
            "{:#}",
            json!({"key": minted.key, "prefix": minted.prefix, "expiresAt": until, "entry": {"name": minted.name, "value": minted.value}})
        ),
        Output::Text => writeln!(
            out,
            "# The key, shown only now: {}\n# Put this under stringData of a Secret that the policy reads:\n\"{}\": '{}'",
            minted.key,
            minted.name,
            minted.value.replace('\'', "''")
        ),
    })
}

fn hash(args: &HashArgs, out: &mut impl Write) -> Outcome {
    let mut key = String::new();
    io::stdin()
        .take(64 * 1024)
        .read_to_string(&mut key)
        .map_err(|error| (USAGE, format!("standard input: {error}")))?;
    let key = key.trim_end_matches(['\r', '\n']);
    if key.is_empty() {
        return Err((USAGE, "standard input is empty; write the key to it".to_owned()).into());
    }
    let digest = match &args.pepper_file {
        None => api_keys::sha256_name(key),
        Some(file) => {
            let secret = key.strip_prefix(api_keys::CQA_V1_PREFIX).and_then(|rest| rest.split_once('.'));
            let (_, secret) = secret.ok_or((USAGE, "this is no cqa.v1 key".to_owned()))?;
            api_keys::cqa_v1_hash(&pepper(file)?, secret)
        }
    };
    written(writeln!(out, "{digest}"))
}

fn list(args: &ListArgs, out: &mut impl Write) -> Outcome {
    let (objects, now) = (objects(&args.paths)?, Timestamp::now());
    let uses = Uses::of_secrets(&objects);
    let last_used = |secret: &str, id: &str| {
        let at = uses.of(secret.split_once('/')?.0, KeyId::of_entry(id)?)?;
        Timestamp::from_second(at).ok().map(|at| at.to_string())
    };
    let mut all: Vec<_> = records(&objects)
        .filter(|(_, _, one)| args.user.is_none() || args.user == one.user)
        .map(|(secret, id, one)| (secret.name(), id, one))
        .collect();
    all.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    if args.output == Output::Json {
        let rows: Vec<_> = all.iter().map(|(secret, id, one)| json!({
            "secret": secret, "id": id, "format": one.kind.as_str(), "user": one.user, "expiresAt": one.expires_at, "revokedAt": one.revoked_at,
            "lastUsedAt": last_used(secret, id), "state": state(one, now),
        })).collect();
        return written(writeln!(out, "{:#}", json!(rows)));
    }
    for (secret, id, one) in all {
        let user = one.user.as_deref().unwrap_or("-").escape_debug();
        let until = one.expires_at.as_deref().unwrap_or("never");
        written(writeln!(
            out,
            "{id:<64}  {:<7}  {:<7}  {until:<20}  {:<20}  {secret}  {user}",
            one.kind.as_str(),
            state(&one, now),
            last_used(secret, id).as_deref().unwrap_or("-")
        ))?;
    }
    Ok(())
}

fn objects(paths: &[PathBuf]) -> Outcome<Objects> {
    config::load_whole(paths).map_err(Failure::Told)
}

fn records_of(objects: &Objects) -> impl Iterator<Item = (SecretValues<'_>, &str, &[u8])> {
    // What cannot be read is no record, like everything else that is none.
    objects
        .secrets()
        .flat_map(|secret| secret.entries().filter_map(move |(name, value)| Some((secret, name, value?.expose()))))
}

fn records(objects: &Objects) -> impl Iterator<Item = (SecretValues<'_>, &str, Listed)> {
    records_of(objects).filter_map(|(secret, name, value)| api_keys::listed(name, value).map(|one| (secret, name, one)))
}

fn state(one: &Listed, now: Timestamp) -> &'static str {
    match one.ends_ms {
        _ if one.revoked_at.is_some() => "revoked",
        Some(end) if end <= now.as_millisecond() => "expired",
        _ => "active",
    }
}

fn pepper(file: &Path) -> Outcome<Vec<u8>> {
    let unreadable = |error: io::Error| (USAGE, format!("{}: {error}", file.display()));
    let bytes = fs::read(file).map_err(unreadable)?;
    if (bytes.len() as u64) < MIN_PEPPER_BYTES {
        return Err((USAGE, format!("{}: a pepper has at least {MIN_PEPPER_BYTES} bytes", file.display())).into());
    }
    Ok(bytes)
}

fn random<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| (1, "the system gives no random bytes".to_owned()))?;
    Ok(bytes)
}

fn ttl(text: &str) -> Result<SignedDuration, String> {
    const MOST: SignedDuration = SignedDuration::from_hours(365 * 24);
    let wrong = || "write a number with s, m, h or d, such as 90d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number =
        text.strip_suffix(unit).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<i64>().ok().and_then(|number| number.checked_mul(seconds)).ok_or_else(wrong)?;
    let ttl = SignedDuration::from_secs(seconds);
    if ttl.is_zero() || ttl > MOST { Err("between 1s and 365d".to_owned()) } else { Ok(ttl) }
}

/// A reader that went away, such as `head`, is no error of ours.
fn written(result: io::Result<()>) -> Outcome {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err((1, error.to_string()).into()),
        _ => Ok(()),
    }
}
