//! What the contract has and this build has not. Every entry leaves this file in the change that builds it.

/// AuthPolicy fields of the contract that cannot be enforced yet; everything below them is meant too.
const FIELDS: &[&str] = &[
    "spec.authorization",
    "spec.cors",
    "spec.dataSources",
    "spec.limits",
    "spec.login",
    "spec.mcp",
    "spec.mode",
    "spec.targetRefs",
    "spec.workloadSelector",
    "spec.authenticators[].clientCertificate",
    "spec.authenticators[].introspection",
    "spec.authenticators[].serviceAccount",
    "spec.authenticators[].totp",
    "spec.authenticators[].userInfo",
    "spec.authenticators[].webhook",
    "spec.authenticators[].jwt.caBundleRef",
    "spec.routes[].limits",
    "spec.routes[].mcp",
    "spec.routes[].preflight",
    "spec.routes[].respond",
];

/// Fields of shapes that occur at more than one place.
const SHAPES: &[(&[&str], &[&str])] = &[
    (
        &["spec.credentials[]", "spec.authenticators[].credentials[]", "spec.routes[].credentials[]"],
        &["clientCertificate"],
    ),
    (&["spec.require", "spec.routes[].require"], &["owner"]),
    (&["spec.errors", "spec.routes[].errors"], &["responses"]),
    (&["spec.forward", "spec.routes[].forward"], &["connection", "replaceCredential"]),
];

/// Error profiles of the contract that are not there yet.
const PROFILES: &[&str] = &["AgentFlow", "AgentFlow403", "FastAPIDetail", "Qaynaq", "CQ"];

/// Whether this path of an AuthPolicy, without list indices (`spec.routes[].respond`), is a field of the contract that this build lacks.
pub fn not_built(path: &str) -> bool {
    FIELDS.contains(&path)
        || path.rsplit_once('.').is_some_and(|(parent, name)| {
            SHAPES.iter().any(|(parents, names)| parents.contains(&parent) && names.contains(&name))
        })
}

/// Whether this value at this path of an AuthPolicy is a word of the contract that this build lacks.
pub fn not_built_value(path: &str, value: &str) -> bool {
    matches!(path, "spec.errors.profile" | "spec.routes[].errors.profile") && PROFILES.contains(&value)
}
