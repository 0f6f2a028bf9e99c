//! What the fuzz targets call of the key cache. Exists under `--cfg fuzzing` only, and adds nothing.

use crds::origin::Origin;
use url::Url;

use super::fetch::{self, Plan};
use crate::net::Networks;

/// The location that a discovery document names, if it may be used; an error is the text of the status.
pub fn location(document: &[u8], issuer: &str, pinned: Option<Origin>, networks: &Networks) -> Result<Url, String> {
    let plan = Plan { issuer: issuer.into(), configured: None, known: None, pinned, rediscover: false };
    fetch::location(document, &plan, networks).map_err(|error| error.to_string())
}

/// Where the discovery document of an issuer is.
pub fn discovery_url(issuer: &str) -> Option<Url> {
    fetch::discovery_url(issuer)
}

/// Whether an answer of this content type is read.
pub fn may_be_json(content_type: &str) -> bool {
    fetch::may_be_json(content_type)
}
