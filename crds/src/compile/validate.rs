//! A raw document to its typed spec, with every mistake at once.

use serde_json::Value;

use super::{problem, verdict, verdict::Verdict};
use crate::{
    documents::Object,
    schema::{Problem, ProblemKind},
    v1alpha1::{self, AuthPolicySpec},
};

/// The spec, or everything that is wrong with the document.
pub(super) fn spec(object: &Object) -> Result<AuthPolicySpec, Vec<Problem>> {
    let mut document = object.document.value();
    let problems = v1alpha1::check(&document);
    if !problems.is_empty() {
        return Err(problems);
    }
    let spec = document.get_mut("spec").map(Value::take).unwrap_or_default();
    // The walk above found nothing, so this reads; if it does not, the document is refused all the same.
    serde_json::from_value(spec).map_err(|error| vec![problem("spec", error.to_string())])
}

/// DataSources are published by the broker, which this build does not have: a good one is `Unsupported`, never silently accepted.
pub(super) fn data_source(object: &Object) -> Verdict {
    let mut problems = v1alpha1::check(&object.document.value());
    if problems.is_empty() {
        problems.push(Problem {
            path: "kind".to_owned(),
            message: "this build cannot publish data sources yet; nothing of this object is in force".to_owned(),
            kind: ProblemKind::Unsupported,
        });
    }
    verdict::rejected_source(object, &problems)
}
