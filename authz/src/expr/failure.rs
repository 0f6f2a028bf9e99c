//! Why an expression has no usable outcome. Owns the texts, which must never hold a value of a request or a principal.

use cel::ExecutionError;
use crds::expr::Expr;

/// Why an expression has no usable outcome; fit for `explain` and logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A member that is not there.
    #[error("there is no {key}; test with `in` or has() first")]
    Missing {
        /// The member, if the expression spells it; else what it was.
        key: String,
    },
    /// An operator or function on values that it does not take.
    #[error("`{operation}` does not take ({types}); compare or convert values of one type")]
    Operands {
        /// The operator or function.
        operation: String,
        /// Types of the values.
        types: String,
    },
    /// A value of another type than the expression needs.
    #[error("a value has another type than the expression needs; test it with type()")]
    WrongType,
    /// An index beyond the end of a list.
    #[error("a list is shorter than the index used on it; test its size() first")]
    ShortList,
    /// Division by zero, or a number too large.
    #[error("an integer overflowed or was divided by zero")]
    Arithmetic,
    /// A function that could not handle its arguments.
    #[error("{function}() cannot handle the value it was given")]
    Function {
        /// The function.
        function: String,
    },
    /// A list or map of the request or the principal that is longer than the expression's bound on work allows for.
    #[error(
        "a list or map has more than the {limit} entries that this expression may read; nest fewer loops, or send fewer"
    )]
    TooManyItems {
        /// The bound.
        limit: usize,
    },
    /// A condition without a bool.
    #[error("the condition yields a value of type {got} instead of a bool")]
    NotBool {
        /// What it yields.
        got: String,
    },
    /// A header without a text.
    #[error("the header's expression yields a value of type {got}; use join(',') or pick a member")]
    NotText {
        /// What it yields.
        got: String,
    },
    /// A claim of a token that JSON cannot carry.
    #[error(
        "the claim's expression yields a value of type {got}; a claim is a text, a list of such, a number or a bool"
    )]
    NotClaim {
        /// What it yields.
        got: String,
    },
    /// The interpreter failed. A defect: please report it with the expression.
    #[error("the expression could not be evaluated; this is a defect of Gatewright, report it with the expression")]
    Broken,
}

// === impl Failure ===

impl Failure {
    /// Says what `error` says, without the values in it.
    pub(super) fn new(error: &ExecutionError, expr: &Expr) -> Self {
        match error {
            ExecutionError::NoSuchKey(key) => Self::Missing { key: spelled(key, expr) },
            ExecutionError::NoSuchOverload(overload) => {
                Self::Operands { operation: plain(overload.function()), types: overload.argument_types().join(", ") }
            }
            ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
                Self::Operands { operation: plain(operator), types: "values of these types".to_owned() }
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) | ExecutionError::Overflow(..) => {
                Self::Arithmetic
            }
            ExecutionError::IndexOutOfBounds(_) => Self::ShortList,
            ExecutionError::FunctionError { function, .. } => Self::Function { function: plain(function) },
            ExecutionError::UndeclaredReference(_) | ExecutionError::InternalError(_) => Self::Broken,
            _ => Self::WrongType,
        }
    }
}

/// The key if the policy's author wrote it; one that was computed may be a secret.
fn spelled(key: &str, expr: &Expr) -> String {
    let source = expr.source();
    let quoted = ["'", "\""].iter().any(|quote| source.contains(&format!("{quote}{key}{quote}")));
    let selected = || {
        source.match_indices(key).any(|(start, _)| {
            let before = source.get(..start).unwrap_or_default();
            let after = source.get(start + key.len()..).unwrap_or_default();
            before.ends_with(['.', '?']) && !after.starts_with(|next: char| next.is_alphanumeric() || next == '_')
        })
    };
    if !key.is_empty() && (quoted || selected()) { format!("`{key}`") } else { "member of that name".to_owned() }
}

/// The name of an operator or function as its author knows it: `_==_` is `==`.
fn plain(name: &str) -> String {
    let trimmed = name.trim_start_matches('@').trim_matches('_');
    if trimmed.is_empty() { name.to_owned() } else { trimmed.to_owned() }
}
