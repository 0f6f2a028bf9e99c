//! Revoking in files: one value changes where it stands, and every other byte stays.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use crds::{api_keys, documents::Objects};
use jiff::Timestamp;

use super::{Outcome, RevokeArgs, records_of, written};
use crate::USAGE;

pub(super) fn revoke(args: &RevokeArgs, out: &mut impl Write) -> Outcome {
    let now = Timestamp::now();
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
    for id in &args.ids {
        let mut found = false;
        for file in &args.files {
            found |= revoke_in(file, id, &now, out)?;
        }
        if !found {
            let message = format!("no record has the id `{}`; `gatewright apikey list` shows them", id.escape_debug());
            return Err((1, message).into());
        }
    }
    Ok(())
}

/// Changes the value of the entry where it stands and leaves every other byte of the file alone, comments included.
fn revoke_in(file: &Path, id: &str, now: &str, out: &mut impl Write) -> Outcome<bool> {
    let unreadable = |error: io::Error| (USAGE, format!("{}: {error}", file.display()));
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let mut objects = Objects::default();
    objects.read(&file.display().to_string(), &text);
    let hits: Vec<_> = records_of(&objects).filter(|(_, name, _)| *name == id).collect();
    let Some((secret, _, value)) = hits.first() else { return Ok(false) };
    if hits.iter().all(|(_, name, value)| api_keys::listed(name, value).is_some_and(|one| one.revoked_at.is_some())) {
        written(writeln!(out, "{id} of {} was revoked already", secret.name()))?;
        return Ok(true);
    }
    let by_hand = |value: &str| {
        let name = secret.name();
        (
            1,
            format!(
                "{}: cannot find where the value of `{id}` of Secret {name} stands; set it by hand to: {value}",
                file.display()
            ),
        )
    };
    let revoked = api_keys::revoked(value, now).ok_or((1, format!("the record of `{id}` is no JSON object")))?;
    let old = String::from_utf8_lossy(value);
    // As it stands in single quotes or in a block, in double quotes, and in `data`.
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let spellings = [
        (old.replace('\'', "''"), revoked.replace('\'', "''")),
        (escaped(&old), escaped(&revoked)),
        (BASE64.encode(value), BASE64.encode(&revoked)),
    ];
    let changed = spellings.iter().find(|(old, _)| text.matches(old.as_str()).count() == 1);
    let (old, new) = changed.filter(|_| hits.len() == 1).ok_or_else(|| by_hand(&revoked))?;
    let text = text.replacen(old.as_str(), new, 1);
    // What was written must say what was meant, before the file is touched.
    let mut check = Objects::default();
    check.read("", &text);
    let good = records_of(&check).any(|(_, name, value)| {
        name == id && api_keys::listed(name, value).is_some_and(|one| one.revoked_at.as_deref() == Some(now))
    });
    if !good {
        return Err(by_hand(&revoked).into());
    }
    replace(file, &text).map_err(unreadable)?;
    written(writeln!(out, "{id} of {} is revoked in {}", secret.name(), file.display()))?;
    Ok(true)
}

/// A new file moved over the old one: a reader sees one or the other, never half.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(fs::metadata(file)?.permissions())?;
    new.persist(file).map(drop).map_err(|error| error.error)
}
