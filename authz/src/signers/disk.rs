//! The pairs on disk, so that a restart signs with the keys that upstreams know.
//!
//! Owns `data_dir/signing`: one file per algorithm, readable by its owner only, replaced as a whole. It holds private keys.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use crds::v1alpha1::SigningAlgorithm;
use serde::{Deserialize, Serialize};

use super::generate::{Pair, name};

#[derive(Serialize, Deserialize)]
struct Record {
    made: i64,
    pkcs8: String,
}

/// What was saved; nothing if nothing was.
pub(super) fn load(folder: &Path, algorithm: SigningAlgorithm) -> io::Result<Vec<Pair>> {
    let text = match fs::read(file(folder, algorithm)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    // The text of the parser could quote the file.
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
    let records: Vec<Record> = serde_json::from_slice(&text).map_err(|_| damaged())?;
    let read = |one: Record| {
        let der = BASE64.decode(&one.pkcs8).map_err(|_| damaged())?;
        Pair::restore(algorithm, &der, one.made)
    };
    records.into_iter().map(read).collect()
}

/// Written beside its place and moved there in one step.
pub(super) fn save(folder: &Path, algorithm: SigningAlgorithm, pairs: &[Pair]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let record = |pair: &Pair| Record { made: pair.made, pkcs8: BASE64.encode(pair.private.expose()) };
    let text = serde_json::to_vec(&pairs.iter().map(record).collect::<Vec<_>>())?;
    let place = file(folder, algorithm);
    let draft = place.with_extension(format!("{}.tmp", fastrand::u64(..)));
    let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&draft, &place));
    if moved.is_err() {
        let _ = fs::remove_file(&draft);
    }
    moved
}

fn file(folder: &Path, algorithm: SigningAlgorithm) -> PathBuf {
    folder.join(format!("{}.json", name(algorithm)))
}
