//! CEL expressions against a request.
//!
//! Owns what the variables of an expression stand for and what its outcome means. Must never change a request or a principal, nor
//! let a value of either into an error text: those reach logs and `explain`.
//!
//! Rules (contract, section 3):
//! - `principal.type` is always set. Any other field of `principal` is unset where it is empty, and always where nobody was proven.
//! - A header whose expression *reads* an unset field stays absent, whatever it yields and even if it fails later; branches that are
//!   not taken read nothing, and `has(principal.email)` asks without reading. A condition sees the empty value.
//! - A member of `principal.claims` or `request.headers` that is not there is an error; test with `has()` or `in` first, or use
//!   `request.headers[?'x'].orValue('')`. Without a principal, `principal.claims` is unset as a whole.
//! - A header takes texts as they are, and bools and numbers as CEL prints them. It is absent for `null`, an empty text and
//!   `optional.none()`. Lists and maps are an error: `principal.roles.join(',')` says which separator is meant.
//! - Claims become CEL values: numbers are `int` if they fit, `uint` if only that fits, else `double`.

mod claims;
mod failure;
mod variables;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::{
    ExecutionError,
    common::{
        types::{CelBool, CelDouble, CelInt, CelList, CelNull, CelOptional, CelString, CelUInt},
        value::{CowVal, Val},
    },
};
use crds::expr::Expr;
use serde_json::Value;

pub use self::failure::Failure;
use self::variables::Variables;
use crate::{
    principal::{CallerKind, Principal, Traffic},
    request::RequestView,
};

/// What an expression can see.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a, 'h> {
    /// What was proven; the value of `principal.type`.
    pub caller: CallerKind,
    /// Who was proven. Read only if `caller` is [`CallerKind::Proven`].
    pub principal: Option<&'a Principal>,
    /// Method and headers.
    pub request: &'a RequestView<'h>,
    /// The canonical, decoded path without query.
    pub path: &'a str,
    /// The canonical host.
    pub host: &'a str,
    /// Where the request came from.
    pub traffic: Traffic,
    /// The route's name; empty where no route was matched.
    pub route: &'a str,
}

/// The value of a header; `None` leaves it absent.
pub fn header_value(expr: &Expr, inputs: &Inputs<'_, '_>) -> Result<Option<String>, Failure> {
    let variables = Variables::new(expr, inputs);
    let value = run(expr, &variables, text);
    match value {
        Err(failure @ (Failure::TooManyItems { .. } | Failure::Broken)) => Err(failure),
        _ if variables.read_unset() => Ok(None),
        Err(failure) => Err(failure),
        Ok(value) => Ok(value.filter(|text| !text.is_empty())),
    }
}

/// The value of a claim in a token of ours; `None` leaves it out. An unset field that is read leaves it out, as in a header.
pub fn claim_value(expr: &Expr, inputs: &Inputs<'_, '_>) -> Result<Option<Value>, Failure> {
    let variables = Variables::new(expr, inputs);
    match run(expr, &variables, |value| json(value, true)) {
        Err(failure @ (Failure::TooManyItems { .. } | Failure::Broken)) => Err(failure),
        _ if variables.read_unset() => Ok(None),
        outcome => outcome,
    }
}

/// Whether a condition holds. Anything but a bool is a failure, which refuses.
pub fn condition(expr: &Expr, inputs: &Inputs<'_, '_>) -> Result<bool, Failure> {
    let variables = Variables::new(expr, inputs);
    run(expr, &variables, |value| {
        value
            .downcast_ref::<CelBool>()
            .map(|bool| *bool.inner())
            .ok_or_else(|| Failure::NotBool { got: value.get_type().name().to_owned() })
    })
}

fn run<T>(
    expr: &Expr,
    variables: &Variables<'_, '_>,
    read: impl FnOnce(&dyn Val) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let judge = |outcome: Result<CowVal<'_, '_>, ExecutionError>| match outcome {
        Ok(value) => read(value.as_ref()),
        Err(error) => Err(Failure::new(&error, expr)),
    };
    // The interpreter holds `panic!`, `unreachable!` and indexing for trees that its parser does not build; if one is reached after
    // all, this request is refused and the process lives. An overflown stack could not be caught: the depth is bounded when the
    // expression is compiled.
    let outcome = catch_unwind(AssertUnwindSafe(|| expr.evaluate(variables, judge))).unwrap_or(Err(Failure::Broken));
    // `||` and `&&` forgive an operand that failed, but no policy is decided on a list that was not read.
    if variables.refused_items() {
        return Err(Failure::TooManyItems { limit: expr.max_items() });
    }
    outcome
}

fn text(value: &dyn Val) -> Result<Option<String>, Failure> {
    if let Some(text) = value.downcast_ref::<CelString>() {
        return Ok(Some(text.inner().to_owned()));
    }
    if let Some(optional) = value.downcast_ref::<CelOptional>() {
        return optional.inner().map_or(Ok(None), text);
    }
    if value.downcast_ref::<CelNull>().is_some() {
        return Ok(None);
    }
    let printed = value
        .downcast_ref::<CelBool>()
        .map(|value| value.inner().to_string())
        .or_else(|| value.downcast_ref::<CelInt>().map(|value| value.inner().to_string()))
        .or_else(|| value.downcast_ref::<CelUInt>().map(|value| value.inner().to_string()))
        .or_else(|| value.downcast_ref::<CelDouble>().map(|value| value.inner().to_string()));
    printed.map(Some).ok_or_else(|| Failure::NotText { got: value.get_type().name().to_owned() })
}

/// A list holds no lists: no reader of tokens expects one, and so deep values cannot be built.
fn json(value: &dyn Val, lists: bool) -> Result<Option<Value>, Failure> {
    if let Some(optional) = value.downcast_ref::<CelOptional>() {
        return optional.inner().map_or(Ok(None), |value| json(value, lists));
    }
    if value.downcast_ref::<CelNull>().is_some() {
        return Ok(None);
    }
    let other = || Failure::NotClaim { got: value.get_type().name().to_owned() };
    if let Some(list) = value.downcast_ref::<CelList<'_>>().filter(|_| lists) {
        let entries = list.inner().iter().map(|entry| json(&**entry, false)?.ok_or_else(other));
        return entries.collect::<Result<_, _>>().map(|entries| Some(Value::Array(entries)));
    }
    let scalar = value
        .downcast_ref::<CelString>()
        .map(|text| Value::from(text.inner()))
        .or_else(|| value.downcast_ref::<CelBool>().map(|value| Value::from(*value.inner())))
        .or_else(|| value.downcast_ref::<CelInt>().map(|value| Value::from(*value.inner())))
        .or_else(|| value.downcast_ref::<CelUInt>().map(|value| Value::from(*value.inner())))
        // Infinity and what is no number are not JSON.
        .or_else(|| {
            value
                .downcast_ref::<CelDouble>()
                .and_then(|value| serde_json::Number::from_f64(*value.inner()).map(Value::Number))
        });
    scalar.map(Some).ok_or_else(other)
}
