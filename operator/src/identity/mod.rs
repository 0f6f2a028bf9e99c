//! Who everybody is: the operator's CA, our own certificate, certificates for pods that prove themselves and for proxies.
//!
//! Owns the Secrets `gatewright-ca` and `gatewright-seal`. The leader makes and rotates them; every replica reads them and signs. Must
//! never put a name into a certificate that its holder chose, and never hand out a key but to the Secret that it was made for.

mod ca;
mod given;
mod proofs;
mod secrets;
mod sign;
mod store;
#[cfg(test)]
mod tests;

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use authz::tls::{PeerId, Shared, TlsError, server_config};
use kube::Client;
use parking_lot::Mutex;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::transport::{Certificate, ClientTlsConfig};
use tracing::{info, warn};

pub use ca::{CaError, Lives};
pub use given::GivenError;
pub use proofs::{KubeProofs, ProofError, Proofs, Workload};
pub use sign::Certificates;
pub use store::{Kept, KubeStore, Store, StoreError};

use self::{
    ca::{Authorities, Authority, Origin, Subject},
    sign::Limits,
};
use crate::{
    owner::Owner,
    seal::{Seal, SealError},
};

/// Name of the CA's Secret.
pub const CA_SECRET: &str = "gatewright-ca";

/// Who we are, and whom we know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our namespace.
    pub namespace: String,
    /// Our pod.
    pub pod: String,
    /// Our ServiceAccount.
    pub account: String,
    /// The Service that data planes dial.
    pub service: String,
    /// The ServiceAccount of our own data planes.
    pub authz_account: String,
    /// The Service by which proxies reach them.
    pub authz_service: String,
    /// The Secret of our namespace that holds the CA; `None`: we make one.
    pub given: Option<String>,
    /// Lives of certificates.
    pub lives: Lives,
    /// How often the Secret is read and what is due is done.
    pub look: Duration,
}

/// The identity side. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    proofs: Arc<dyn Proofs>,
    settings: Settings,
    leader: watch::Receiver<bool>,
    authorities: ArcSwap<Authorities>,
    bundle: watch::Sender<Arc<str>>,
    server: Shared,
    own: ArcSwap<Own>,
    /// When our own certificate was made, and when it is replaced: before the one it is of a clock that was ahead, and good for nobody.
    good: Mutex<Range<SystemTime>>,
    seal: Arc<Seal>,
    limits: Limits,
}

/// Our own certificate with its key, in PEM.
struct Own {
    certificate: String,
    key: String,
}

/// A certificate with its key, for a proxy's Secret.
pub struct ClientCertificate {
    /// In PEM.
    pub certificate: String,
    /// In PEM.
    pub key: String,
    /// The CA certificates in PEM.
    pub authorities: Arc<str>,
    /// The end of its life.
    pub not_after: SystemTime,
    /// When to make a new one: at a third of its life, as whoever serves it must outlive an operator that is down.
    pub renew_at: SystemTime,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The CA cannot be used.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// What was made cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The Secrets cannot be had.
    #[error("Secret {0}: {1}")]
    Store(&'static str, StoreError),
    /// The CA that is given cannot be used.
    #[error("Secret {0}, from which the CA is to be taken: {1}")]
    Given(String, GivenError),
    /// It cannot be had.
    #[error("Secret {0}, from which the CA is to be taken: {1}")]
    GivenStore(String, StoreError),
    /// The sealing key cannot be used.
    #[error("Secret gatewright-seal: {0}")]
    Seal(#[from] SealError),
    /// The leader has not made a Secret yet.
    #[error("Secret {0} is not there yet; the leader makes it")]
    Waiting(&'static str),
}

/// The longest wait between two attempts at the start.
const RETRY: Duration = Duration::from_secs(2);

// === impl Identity ===

impl Identity {
    /// Waits until the Secrets can be had: the leader makes them, others read them.
    pub async fn start(
        client: Client,
        owner: Owner,
        settings: Settings,
        leader: watch::Receiver<bool>,
    ) -> Result<Self, IdentityError> {
        let store = Arc::new(KubeStore::new(client.clone(), &settings.namespace, owner));
        Self::start_with(store, Arc::new(KubeProofs::new(client)), settings, leader).await
    }

    /// [`Identity::start`] with other sources. Errors that time may heal are waited out.
    pub async fn start_with(
        store: Arc<dyn Store>,
        proofs: Arc<dyn Proofs>,
        settings: Settings,
        mut leader: watch::Receiver<bool>,
    ) -> Result<Self, IdentityError> {
        let mut told = String::new();
        let (authorities, seal) = loop {
            let leads = *leader.borrow_and_update();
            let error = match secrets::first(&*store, &settings, leads).await {
                Ok(had) => break had,
                Err(
                    error @ (IdentityError::Store(..)
                    | IdentityError::Waiting(_)
                    | IdentityError::Given(..)
                    | IdentityError::GivenStore(..)),
                ) => error,
                Err(error) => return Err(error),
            };
            let text = error.to_string();
            if told != text {
                warn!(%error, "no identity yet");
                told = text;
            }
            // Becoming the leader is a reason to look again; that nobody leads any more is not.
            if let Ok(Err(_)) = timeout(RETRY, leader.changed()).await {
                sleep(RETRY).await;
            }
        };
        let (own, server, good) = own_certificate(&authorities, &settings)?;
        let inner = Inner {
            store,
            proofs,
            settings,
            leader,
            bundle: watch::Sender::new(authorities.bundle()),
            authorities: ArcSwap::from_pointee(authorities),
            server: Arc::new(ArcSwap::new(server)),
            own: ArcSwap::from_pointee(own),
            good: Mutex::new(good),
            seal: Arc::new(seal),
            limits: Limits::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The CA certificates in PEM, those of a rotation under way included.
    pub fn ca_bundle(&self) -> watch::Receiver<Arc<str>> {
        self.inner.bundle.subscribe()
    }

    /// What seals state at rest.
    pub fn seal(&self) -> Arc<Seal> {
        self.inner.seal.clone()
    }

    /// TLS of the listener for data planes; replaced while serving.
    pub fn server_config(&self) -> Shared {
        self.inner.server.clone()
    }

    /// TLS towards another replica, whatever the address it is dialled at.
    pub(crate) fn client_config(&self) -> ClientTlsConfig {
        let (own, settings) = (self.inner.own.load(), &self.inner.settings);
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&**self.inner.bundle.borrow()))
            .identity(tonic::transport::Identity::from_pem(&own.certificate, &own.key))
            .domain_name(names(&settings.service, &settings.namespace).swap_remove(0))
    }

    /// The gRPC service that signs.
    pub fn service(&self) -> Certificates {
        Certificates::new(self.clone())
    }

    /// A key and a certificate for a proxy that shall be believed. `name`: lower case letters, digits, `-` and `.`.
    pub fn client_certificate(&self, name: &str) -> Result<ClientCertificate, IdentityError> {
        let now = SystemTime::now();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::from)?;
        let uri = PeerId::Gateway { name: name.to_owned() }.to_string();
        let authorities = self.inner.authorities.load();
        // A CA that is given may end before.
        let life = self.inner.settings.lives.proxy.min(authorities.signing().left(now)?);
        let certificate = authorities.signing().sign(&Subject { uri, dns: Vec::new(), life }, &key, now)?;
        Ok(ClientCertificate {
            certificate,
            key: key.serialize_pem(),
            authorities: authorities.bundle(),
            not_after: now + life,
            renew_at: now + life / 3,
        })
    }

    /// Reads, rotates and renews what is due. For ever.
    pub async fn keep_renewed(&self) {
        loop {
            sleep(self.inner.settings.look).await;
            if let Err(error) = self.look(SystemTime::now()).await {
                warn!(%error, "the CA could not be looked after; what is in use stays");
            }
        }
    }

    /// One look.
    async fn look(&self, now: SystemTime) -> Result<(), IdentityError> {
        let inner = &self.inner;
        let failed = |error| IdentityError::Store(CA_SECRET, error);
        let found = inner.store.read(CA_SECRET).await.map_err(failed)?;
        let leads = *inner.leader.borrow();
        let lives = &inner.settings.lives;
        let (read, version) = match found {
            Some(kept) => (Authorities::read(&kept.data)?, Some(kept.version)),
            // Deleted: what is in use goes on, and comes back.
            None => ((**inner.authorities.load()).clone(), None),
        };
        let given = if leads { self.given(now).await } else { None };
        let origin = if inner.settings.given.is_some() { Origin::Given(given.as_ref()) } else { Origin::Made };
        let next = if leads { read.rotated(now, lives, origin)? } else { None };
        let write = next.is_some() || (leads && version.is_none());
        let current = next.unwrap_or(read);
        if write {
            inner.store.write(CA_SECRET, current.data(), version).await.map_err(failed)?;
            info!("the CA's Secret was written: {current:?}");
        }
        let bundle = current.bundle();
        let signs = current.signing().is(inner.authorities.load().signing());
        inner.authorities.store(Arc::new(current));
        let told = inner.bundle.send_if_modified(|old| {
            let new = *old != bundle;
            *old = bundle;
            new
        });
        if told || !signs || !inner.good.lock().contains(&now) {
            let (own, server, good) = own_certificate(&inner.authorities.load(), &inner.settings)?;
            inner.server.store(server);
            inner.own.store(Arc::new(own));
            *inner.good.lock() = good;
        }
        Ok(())
    }

    /// The CA that is given, if one is and it can be used. What is in use stays otherwise.
    async fn given(&self, now: SystemTime) -> Option<Authority> {
        let name = self.inner.settings.given.as_ref()?;
        match secrets::given(&*self.inner.store, name, now).await {
            Ok(given) => Some(given),
            Err(error) => {
                warn!(%error, "the CA in use stays");
                None
            }
        }
    }

    fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    fn proofs(&self) -> &dyn Proofs {
        &*self.inner.proofs
    }

    /// A certificate for a pod, and whom it shall believe.
    fn for_workload(&self, of: &Workload, key: &impl PublicKeyData) -> Result<(String, Arc<str>), IdentityError> {
        let settings = &self.inner.settings;
        let Workload { namespace, account, pod } = of.clone();
        let own = namespace == settings.namespace && account == settings.authz_account;
        let dns = if own { names(&settings.authz_service, &settings.namespace) } else { Vec::new() };
        let uri = PeerId::Workload { namespace, account, pod }.to_string();
        let authorities = self.inner.authorities.load();
        let subject = Subject { uri, dns, life: settings.lives.leaf };
        Ok((authorities.signing().sign(&subject, key, SystemTime::now())?, authorities.bundle()))
    }
}

/// Our own certificate, and how long it is used.
fn own_certificate(
    authorities: &Authorities,
    settings: &Settings,
) -> Result<(Own, Arc<rustls::ServerConfig>, Range<SystemTime>), IdentityError> {
    let now = SystemTime::now();
    let life = settings.lives.leaf.min(authorities.signing().left(now)?);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::from)?;
    let Settings { namespace, account, pod, service, .. } = settings.clone();
    let dns = names(&service, &namespace);
    let uri = PeerId::Workload { namespace, account, pod }.to_string();
    let certificate = authorities.signing().sign(&Subject { uri, dns, life }, &key, now)?;
    let own = Own { certificate, key: key.serialize_pem() };
    let config = server_config(&own.certificate, &own.key, &authorities.bundle())?;
    Ok((own, config, now..now + life * 2 / 3))
}

/// The names of a Service, as pods spell them.
fn names(service: &str, namespace: &str) -> Vec<String> {
    vec![
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        format!("{service}.{namespace}"),
        service.to_owned(),
    ]
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ClientCertificate(until {:?})", self.not_after)
    }
}
