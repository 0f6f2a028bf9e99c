//! API keys: which records, under which peppers; and the tables and key sets that are kept from one compile to the next.

use std::{
    cell::RefCell,
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Weak},
};

use aws_lc_rs::digest::{SHA256, digest};

use super::{policy::Site, problem, references::WhichSecrets, verdict::Reason};
use crate::{
    api_keys::{CqaV1Record, Peppers, Record, Sha256Record, Table},
    documents::{ReferenceKind, SecretValues},
    keys::{KeySet, KeySetError},
    snapshot::ApiKey,
    v1alpha1,
};

/// A pepper shorter than the digest weakens it (RFC 2104 section 3).
const MIN_PEPPER_BYTES: usize = 32;

/// Tables and key sets by the digest of what they were made from: a hundred thousand records are read once, whoever refers to them and
/// however often a policy is edited. Holds none of them alive.
#[derive(Debug, Default)]
pub(super) struct Tables {
    sha256: Kept<Sha256Record>,
    cqa_v1: Kept<CqaV1Record>,
    key_sets: ByDigest<KeySet>,
}

type Kept<R> = ByDigest<Table<R>>;
type ByDigest<T> = RefCell<HashMap<[u8; 32], Weak<T>>>;

/// A record whose tables are kept here.
pub(super) trait TableRecord: Record {
    /// Where.
    fn kept(tables: &Tables) -> &Kept<Self>;
}

impl TableRecord for Sha256Record {
    fn kept(tables: &Tables) -> &Kept<Self> {
        &tables.sha256
    }
}

impl TableRecord for CqaV1Record {
    fn kept(tables: &Tables) -> &Kept<Self> {
        &tables.cqa_v1
    }
}

impl Tables {
    /// The table of these Secrets.
    pub(super) fn get<R: TableRecord>(&self, secrets: &[SecretValues<'_>], digest: [u8; 32]) -> Arc<Table<R>> {
        let made: Result<_, Infallible> = kept(R::kept(self), digest, || Ok(Table::new(secrets, &digest)));
        let Ok(table) = made;
        table
    }

    /// The key set of this document.
    pub(super) fn key_set(&self, document: &[u8]) -> Result<Arc<KeySet>, KeySetError> {
        let digest = crate::digest::array(&digest(&SHA256, document));
        kept(&self.key_sets, digest, || KeySet::parse(document))
    }
}

fn kept<T, E>(all: &ByDigest<T>, digest: [u8; 32], make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
    let mut all = all.borrow_mut();
    if let Some(known) = all.get(&digest).and_then(Weak::upgrade) {
        return Ok(known);
    }
    if all.len() == all.capacity() {
        // Before it grows, so that adding many costs no look at all others each time.
        all.retain(|_, one| one.strong_count() > 0);
    }
    let made = Arc::new(make()?);
    all.insert(digest, Arc::downgrade(&made));
    Ok(made)
}

/// One authenticator's keys; `None` where the document is wrong.
pub(super) fn compile(at: &str, spec: &v1alpha1::ApiKey, site: &mut Site<'_>) -> Option<ApiKey> {
    match (&spec.sha256, &spec.cqa_v1) {
        (Some(secrets), None) => {
            let at = format!("{at}.sha256");
            let which = which(&at, secrets, site)?;
            Some(ApiKey::Sha256 { records: site.references.table(&at, which) })
        }
        (None, Some(cqa)) => {
            let at = format!("{at}.cqaV1");
            let which = which(&format!("{at}.keys"), &cqa.keys, site)?;
            let peppers = peppers(&at, &cqa.peppers, site);
            Some(ApiKey::CqaV1 { peppers, records: site.references.table(&format!("{at}.keys"), which) })
        }
        _ => {
            site.problems.push(problem(at, "must name exactly one of `sha256` and `cqaV1`"));
            None
        }
    }
}

fn which(at: &str, spec: &v1alpha1::SecretsRef, site: &mut Site<'_>) -> Option<WhichSecrets> {
    match (&spec.secret_ref, &spec.secret_selector) {
        (Some(one), None) => Some(WhichSecrets::Named(one.name.to_string())),
        // No label at all would mean every Secret of the namespace.
        (None, Some(all)) if !all.match_labels.is_empty() => Some(WhichSecrets::Labelled(
            all.match_labels.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
        )),
        _ => {
            site.problems.push(problem(
                at,
                "must name exactly one of `secretRef` and `secretSelector`, with at least one label",
            ));
            None
        }
    }
}

fn peppers(at: &str, specs: &[v1alpha1::Pepper], site: &mut Site<'_>) -> Peppers {
    let mut peppers = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let at = format!("{at}.peppers[{index}].secretKeyRef");
        let (name, key) = (&*spec.secret_key_ref.name, &*spec.secret_key_ref.key);
        let Some(pepper) = site.references.get(&at, ReferenceKind::Secret, name, key, false) else { continue };
        let have = pepper.expose().len();
        if have < MIN_PEPPER_BYTES {
            let message = format!(
                "{at}: key `{key}` of Secret {name} has {have} bytes; a pepper needs at least {MIN_PEPPER_BYTES}, such as from `openssl rand -base64 32`"
            );
            site.references.problem(Reason::WeakSecret, message);
            continue;
        }
        peppers.push(pepper.clone());
    }
    let missing = peppers.len() < specs.len();
    Peppers::new(&peppers, missing)
}
