//! Keys of tokens that stand in Secrets, and lists of denied tokens.

use std::sync::Arc;

use super::{policy::Site, verdict::Reason};
use crate::{
    documents::ReferenceKind,
    keys::{StaticKey, StaticKeyError, StaticKeys},
    snapshot::{DeniedList, DeniedTokenIds, JwtKeys},
    v1alpha1,
};

/// The keys of one authenticator. One that is missing or not fit is left out and told; without any, `Missing`.
pub(super) fn compile(at: &str, specs: &[v1alpha1::StaticKey], site: &mut Site<'_>) -> JwtKeys {
    let (mut keys, mut missing) = (Vec::new(), Vec::new());
    for (index, spec) in specs.iter().enumerate() {
        match read(&format!("{at}.keys[{index}].secretKeyRef"), spec, site) {
            Some(read) => keys.extend(read),
            None => missing.push(spec.algorithm),
        }
    }
    if keys.is_empty() { JwtKeys::Missing } else { JwtKeys::Static(Arc::new(StaticKeys::new(keys, missing))) }
}

fn read(at: &str, spec: &v1alpha1::StaticKey, site: &Site<'_>) -> Option<Vec<StaticKey>> {
    let (name, key) = (&*spec.secret_key_ref.name, &*spec.secret_key_ref.key);
    let value = site.references.get(at, ReferenceKind::Secret, name, key, false)?;
    let error = match StaticKey::read(spec.algorithm, value.expose()) {
        Ok(keys) => return Some(keys),
        Err(error) => error,
    };
    let reason = match &error {
        StaticKeyError::Weak { .. } => Reason::WeakSecret,
        StaticKeyError::Private | StaticKeyError::PrivateAsSecret => Reason::PrivateKey,
        _ => Reason::BadContent,
    };
    site.references.problem(reason, format!("{at}: key `{key}` of Secret {name} {error}"));
    None
}

/// The list, or that it should be there and is not.
pub(super) fn denied(at: &str, spec: Option<&v1alpha1::DeniedTokenIds>, site: &Site<'_>) -> DeniedTokenIds {
    let Some(spec) = spec else { return DeniedTokenIds::Nobody };
    let (path, kind, list) = match (&spec.config_map_key_ref, &spec.secret_key_ref) {
        (Some(list), _) => (format!("{at}.deniedTokenIDs.configMapKeyRef"), ReferenceKind::ConfigMap, list),
        (None, Some(list)) => (format!("{at}.deniedTokenIDs.secretKeyRef"), ReferenceKind::Secret, list),
        // The schema demands one of the two; without it nobody knows what is denied.
        (None, None) => return DeniedTokenIds::Missing,
    };
    let optional = list.optional.unwrap_or(false);
    match site.references.get(&path, kind, &list.name, &list.key, optional) {
        // One that is there and cannot be read is not absent: it denies somebody.
        None if optional && !site.references.is_unfit(kind, &list.name, &list.key) => DeniedTokenIds::Nobody,
        None => DeniedTokenIds::Missing,
        Some(value) => {
            if let Ok(text) = std::str::from_utf8(value.expose()) {
                return DeniedTokenIds::Listed(Arc::new(DeniedList::parse(text)));
            }
            site.references.problem(Reason::BadContent, format!("{path}: is not text in UTF-8; write one jti a line"));
            DeniedTokenIds::Missing
        }
    }
}
