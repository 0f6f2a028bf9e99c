//! The API server of the cluster that this process is in, or was told of: where it is, whom we believe there, and who we are to it.
//!
//! Owns its client. Token and certificate authorities are read for each request, as both are replaced while we run. Whoever started the
//! process named this server, so its address is believed, and no document can change it.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderValue, Method, header};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use parking_lot::Mutex;
use reqwest::RequestBuilder;
use url::Url;

use crate::net::{Client, Manner, Networks, ResponseError};

/// The part of a request's time that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections without work are kept this long.
const KEEP_IDLE: Duration = Duration::from_secs(15);

/// Asks the API server.
pub struct Cluster {
    /// `https://HOST:PORT`.
    server: Url,
    authorities_file: PathBuf,
    token_file: PathBuf,
    /// The client, with the authorities that it believes.
    client: Mutex<Option<(Vec<u8>, Arc<Client>)>>,
}

/// Why the API server cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// Nobody said where it is.
    #[error(
        "no API server is known here; run in a pod with a ServiceAccount token, or give --kube-api-server, --kube-ca-file and --kube-token-file"
    )]
    Unknown,
    /// A file is not there.
    #[error(
        "{path} cannot be read ({kind}); project a ServiceAccount token and its ca.crt into the pod, or name them with --kube-token-file and --kube-ca-file"
    )]
    File {
        /// Which.
        path: String,
        /// Why.
        kind: io::ErrorKind,
    },
    /// The file of the token holds something else.
    #[error("{path} holds no token")]
    Token {
        /// Which.
        path: String,
    },
    /// It knows us and does not let us ask, or does not know us.
    #[error(
        "the API server refuses us with status {0}; let our ServiceAccount create tokenreviews and read service-account-issuer-discovery"
    )]
    Refused(u16),
    /// No client, no connection, no answer.
    #[error(transparent)]
    Response(#[from] ResponseError),
}

// === impl Cluster ===

impl Cluster {
    /// The server at an `https` URL. The files may come later.
    pub fn new(server: Url, authorities_file: PathBuf, token_file: PathBuf) -> Arc<Self> {
        Arc::new(Self { server, authorities_file, token_file, client: Mutex::default() })
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.server.clone();
        url.set_path(path);
        url
    }

    /// A request in our name. The caller bounds its time.
    pub(crate) async fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ClusterError> {
        let client = self.client().await?;
        let token = read(&self.token_file).await?;
        let unfit = || ClusterError::Token { path: self.token_file.display().to_string() };
        let token = std::str::from_utf8(token.trim_ascii()).ok().filter(|token| !token.is_empty()).ok_or_else(unfit)?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| unfit())?;
        bearer.set_sensitive(true);
        Ok(client.request(method, &self.url(path)).await?.header(header::AUTHORIZATION, bearer))
    }

    /// Made anew when the authorities were replaced.
    async fn client(&self) -> Result<Arc<Client>, ClusterError> {
        let authorities = read(&self.authorities_file).await?;
        let mut client = self.client.lock();
        if let Some((believed, client)) = client.as_ref()
            && *believed == authorities
        {
            return Ok(client.clone());
        }
        let manner = Manner { authorities: Some(&authorities), keep_idle: KEEP_IDLE, ..Manner::default() };
        let made = Client::with(anywhere(), CONNECT_TIMEOUT, &manner).map_err(ResponseError::from)?;
        let made = Arc::new(made);
        *client = Some((authorities, made.clone()));
        Ok(made)
    }
}

/// The path, not what is in the files.
impl std::fmt::Debug for Cluster {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cluster").field("server", &self.server.as_str()).finish_non_exhaustive()
    }
}

/// The server's address is the operator's word, like a proxy's: in a cluster it is always private.
fn anywhere() -> Networks {
    Networks::new(vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())])
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, ClusterError> {
    let failed = |error: io::Error| ClusterError::File { path: path.display().to_string(), kind: error.kind() };
    tokio::fs::read(path).await.map_err(failed)
}
