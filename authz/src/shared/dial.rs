//! Makes a connection: a permitted address, TLS where it is wanted, the sign-in.

use std::{net::IpAddr, sync::Arc, time::Duration};

use crds::snapshot::{Authorities, ClientCertificate, SharedStore, StorePassword, Tls};
use futures_util::future::BoxFuture;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, aio::MultiplexedConnection};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;

use super::{error::StoreError, stream::Bounded};
use crate::net::Networks;

/// For all of it. Longer than a count may take: nobody waits for it but the task whose work it is.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Counts that wait to be written; those over it wait in their own place.
const PIPELINE: usize = 1024;

/// What drives a connection; it ends with it.
pub(super) type Driver = BoxFuture<'static, ()>;

/// A connection and what drives it, which ends when the connection does. A server that accepts and is silent is no connection.
pub(super) async fn dial(
    networks: &Networks,
    store: &SharedStore,
) -> Result<(MultiplexedConnection, Driver), StoreError> {
    let connected = tokio::time::timeout(PATIENCE, connect(networks, store));
    let (connection, driver) = connected.await.map_err(|_| StoreError::Timeout)??;
    Ok((connection, driver))
}

async fn connect(networks: &Networks, store: &SharedStore) -> Result<(MultiplexedConnection, Driver), StoreError> {
    let info = sign_in(store)?;
    let tls = if store.secure { Some(client_config(&store.tls)?) } else { None };
    let stream = Bounded::new(match tls {
        None => Either::Left(open(networks, store).await?),
        Some(config) => {
            let name = ServerName::try_from(store.host.to_string()).map_err(|_| StoreError::Tls)?;
            let stream = open(networks, store).await?;
            let secured = TlsConnector::from(config).connect(name, stream).await;
            Either::Right(secured.map_err(|_| StoreError::Tls)?)
        }
    });
    // Time is ours to keep: see `Link::run`.
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(PIPELINE);
    let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
    let (connection, driver) = made.map_err(|error| StoreError::of(&error))?;
    Ok((connection, Box::pin(driver)))
}

/// The address that was checked is the one that is dialled.
async fn open(networks: &Networks, store: &SharedStore) -> Result<TcpStream, StoreError> {
    let mut addresses = if let Ok(address) = store.host.parse::<IpAddr>() {
        networks.permit(address, store.secure)?;
        vec![(address, 0).into()]
    } else {
        networks.resolve(&store.host, store.secure).await?
    };
    addresses.iter_mut().for_each(|address| address.set_port(store.port));
    let stream = TcpStream::connect(&*addresses).await.map_err(|_| StoreError::Connect)?;
    stream.set_nodelay(true).map_err(|_| StoreError::Connect)?;
    Ok(stream)
}

fn sign_in(store: &SharedStore) -> Result<RedisConnectionInfo, StoreError> {
    let mut info = RedisConnectionInfo::default().set_db(store.database.into()).set_skip_set_lib_name();
    if let Some(user) = &store.username {
        info = info.set_username(user);
    }
    match &store.password {
        StorePassword::None => Ok(info),
        StorePassword::Own(password) => {
            let text = std::str::from_utf8(password.expose()).map_err(|_| StoreError::Incomplete)?;
            Ok(info.set_password(text))
        }
        // Without it we might be let in as somebody else.
        StorePassword::Missing => Err(StoreError::Incomplete),
    }
}

fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, StoreError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| StoreError::Tls)?;
    let builder = match &tls.authorities {
        Authorities::System => builder.with_platform_verifier().map_err(|_| StoreError::Tls)?,
        Authorities::Own(bundle) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(bundle.pem()) {
                let added = roots.add(certificate.map_err(|_| StoreError::Incomplete)?);
                added.map_err(|_| StoreError::Incomplete)?;
            }
            builder.with_root_certificates(roots)
        }
        Authorities::Missing => return Err(StoreError::Incomplete),
    };
    let config = match &tls.certificate {
        ClientCertificate::None => builder.with_no_client_auth(),
        ClientCertificate::Own(pem) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.expose()).collect();
            let key = PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|_| StoreError::Incomplete)?;
            let chain = chain.map_err(|_| StoreError::Incomplete)?;
            builder.with_client_auth_cert(chain, key).map_err(|_| StoreError::Incomplete)?
        }
        ClientCertificate::Missing => return Err(StoreError::Incomplete),
    };
    Ok(Arc::new(config))
}
