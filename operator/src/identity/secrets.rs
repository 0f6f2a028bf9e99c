//! The Secrets that an identity begins with: read, made by the leader, or taken from somebody else.

use std::{collections::BTreeMap, time::SystemTime};

use super::{
    CA_SECRET, IdentityError, Kept, Settings, Store,
    ca::{Authorities, Authority},
    given,
};
use crate::seal::{self, Seal};

/// Both Secrets, made if need be and allowed.
pub(super) async fn first(
    store: &dyn Store,
    settings: &Settings,
    leads: bool,
) -> Result<(Authorities, Seal), IdentityError> {
    let now = SystemTime::now();
    // Not asked for where a CA is in use: it must not depend on what became of the Secret it was taken from.
    let in_use = store.read(CA_SECRET).await.map_err(|error| IdentityError::Store(CA_SECRET, error))?;
    let given = match &settings.given {
        Some(name) if leads && in_use.is_none() => Some(given(store, name, now).await?),
        _ => None,
    };
    let ca = had(store, CA_SECRET, leads, || match given {
        Some(given) => Ok(Authorities::adopt(given, now).data()),
        None => Ok(Authorities::create(now, &settings.lives)?.data()),
    });
    let ca = ca.await?;
    let sealing = had(store, seal::SECRET, leads, || Ok(BTreeMap::from([(seal::ENTRY.to_owned(), seal::new_key()?)])));
    let sealing = sealing.await?;
    let key = sealing.data.get(seal::ENTRY).map(Vec::as_slice).unwrap_or_default();
    Ok((Authorities::read(&ca.data)?, Seal::new(key)?))
}

pub(super) async fn given(store: &dyn Store, name: &str, now: SystemTime) -> Result<Authority, IdentityError> {
    let found = store.read(name).await.map_err(|error| IdentityError::GivenStore(name.to_owned(), error))?;
    let unfit = |error| IdentityError::Given(name.to_owned(), error);
    let data = found.map(|kept| kept.data).unwrap_or_default();
    given::read(&data, now).map_err(unfit)
}

async fn had(
    store: &dyn Store,
    name: &'static str,
    leads: bool,
    make: impl FnOnce() -> Result<BTreeMap<String, Vec<u8>>, IdentityError> + Send,
) -> Result<Kept, IdentityError> {
    let failed = |error| IdentityError::Store(name, error);
    match store.read(name).await.map_err(failed)? {
        Some(kept) => Ok(kept),
        None if leads => store.write(name, make()?, None).await.map_err(failed),
        None => Err(IdentityError::Waiting(name)),
    }
}
