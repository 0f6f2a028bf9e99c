//! The proxy settings of the environment. Owns their reading and their validity; never their credentials in any text.

use std::fmt;

use reqwest::NoProxy;
use url::Url;

/// Why the proxy settings cannot be used. The value is not shown: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Not a URL with a host.
    #[error("{0} is not a proxy address; write it as http://HOST:PORT")]
    Unreadable(&'static str),
    /// A kind of proxy this build does not speak.
    #[error("{0} names a kind of proxy that is not supported; use an HTTP proxy, written as http://HOST:PORT")]
    Unsupported(&'static str),
}

/// The settings as they were found; read once so that a connection and its check see the same.
#[derive(Clone, Default)]
pub(crate) struct ProxySettings {
    https: Option<(&'static str, String)>,
    http: Option<(&'static str, String)>,
    except: String,
}

/// The same, understood.
#[derive(Clone, Default)]
pub(crate) struct Proxies {
    /// For `https://` targets.
    pub(crate) https: Option<Url>,
    /// For `http://` targets.
    pub(crate) http: Option<Url>,
    except: String,
}

// === impl ProxySettings ===

impl ProxySettings {
    /// Upper case before lower case, the special variable before `ALL_PROXY`, as the client library itself does it.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| Some((*name, variable(name).filter(|value| !value.trim().is_empty())?)))
        };
        Self {
            https: first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
            http: first(&["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
            except: first(&["NO_PROXY", "no_proxy"]).map(|(_, value)| value).unwrap_or_default(),
        }
    }

    pub(crate) fn parse(&self) -> Result<Proxies, ProxyError> {
        let one = |setting: &Option<(&'static str, String)>| {
            setting.as_ref().map(|(name, value)| address(name, value.trim())).transpose()
        };
        Ok(Proxies { https: one(&self.https)?, http: one(&self.http)?, except: self.except.clone() })
    }
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |setting: &Option<(&'static str, String)>| setting.as_ref().map(|(name, _)| *name);
        let mut shown = out.debug_struct("ProxySettings");
        shown.field("https", &name(&self.https)).field("http", &name(&self.http)).field("except", &self.except).finish()
    }
}

fn address(name: &'static str, value: &str) -> Result<Url, ProxyError> {
    let text = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&text).map_err(|_| ProxyError::Unreadable(name))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ProxyError::Unsupported(name));
    }
    if url.host().is_none() { Err(ProxyError::Unreadable(name)) } else { Ok(url) }
}

// === impl Proxies ===

impl Proxies {
    /// The settings in the form of the client library.
    pub(crate) fn rules(&self) -> reqwest::Result<Vec<reqwest::Proxy>> {
        let except = || NoProxy::from_string(&self.except);
        let https = self.https.iter().map(|url| Ok(reqwest::Proxy::https(url.clone())?.no_proxy(except())));
        let http = self.http.iter().map(|url| Ok(reqwest::Proxy::http(url.clone())?.no_proxy(except())));
        https.chain(http).collect()
    }

    /// The proxy that a URL of this scheme may be sent to.
    pub(crate) fn of_scheme(&self, scheme: &str) -> Option<&Url> {
        if scheme == "https" { self.https.as_ref() } else { self.http.as_ref() }
    }

    /// Whether a name is that of a proxy: its addresses are the operator's choice.
    pub(crate) fn names(&self, host: &str) -> bool {
        [&self.https, &self.http].into_iter().flatten().any(|url| url.host_str() == Some(host))
    }
}
