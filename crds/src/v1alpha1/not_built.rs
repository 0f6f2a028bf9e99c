//! What the contract has and this build has not. Every entry leaves this file in the change that builds it.

/// AuthPolicy fields of the contract that cannot be enforced yet; everything below them is meant too.
const FIELDS: &[&str] =
    &["spec.dataSources", "spec.login", "spec.mcp", "spec.targetRefs", "spec.routes[].mcp", "spec.routes[].preflight"];

/// Fields of shapes that occur at more than one place.
const SHAPES: &[(&[&str], &[&str])] = &[(&["spec.forward", "spec.routes[].forward"], &["connection"])];

/// Whether this path of an AuthPolicy, without list indices (`spec.routes[].preflight`), is a field of the contract that this build lacks.
pub fn not_built(path: &str) -> bool {
    FIELDS.contains(&path)
        || path.rsplit_once('.').is_some_and(|(parent, name)| {
            SHAPES.iter().any(|(parents, names)| parents.contains(&parent) && names.contains(&name))
        })
}
