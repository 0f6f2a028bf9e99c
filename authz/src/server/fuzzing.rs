//! What the fuzz targets call of the server. Exists under `--cfg fuzzing` only, and adds nothing: what is called is what Envoy reaches.

use prost::Message;

use super::{request, response, wire::Check};
use crate::{
    decide::{Decision, Deny},
    errors::Asked,
    request::RequestView,
};

/// Hands the view of a message and the request's id to `then`; `None`: the bytes are no CheckRequest.
pub fn read<R>(
    message: &[u8],
    proven: bool,
    then: impl FnOnce(Result<&RequestView<'_>, Deny>, Option<&str>) -> R,
) -> Option<R> {
    let check = Check::decode(message).ok()?;
    let view = request::view(&check, proven);
    let id = request::id(&check, view.as_ref().ok());
    Some(then(view.as_ref().map_err(Clone::clone), id.as_deref()))
}

/// The answer to Envoy, encoded.
pub fn respond(decision: Decision, asked: &Asked<'_>) -> Vec<u8> {
    response::respond(decision, asked)
}
