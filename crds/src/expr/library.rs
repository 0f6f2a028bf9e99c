//! The functions behind an expression. Owns the environment, the patterns, and our bounded stand-ins for library functions whose
//! result or work grows without bound; never knows a variable.

use std::{
    any::Any,
    sync::{Arc, LazyLock},
};

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{CelBool, CelList, CelString, LIST_TYPE, STRING_TYPE, Type},
        value::{CowVal, StaticVal, Val},
    },
    extensions,
};
use regex::{Regex, RegexBuilder};

/// Names that no source text can spell, so nobody reaches them but through [`super::lower`].
pub(super) const MATCHES: &str = "@matches";
pub(super) const SPLIT: &str = "@split";
pub(super) const JOIN: &str = "@join";
pub(super) const REPLACE: &str = "@replace";

/// Longest source of a pattern, in bytes.
pub(super) const MAX_PATTERN: usize = 512;
/// Largest compiled pattern, in bytes: the time to match grows with it.
const MAX_PATTERN_SIZE: usize = 1 << 18;
/// Most pieces that `split` yields: the text may be the client's.
pub(super) const MAX_PIECES: usize = 256;
/// Longest text that `join` and `replace` yield, in bytes.
pub(super) const MAX_TEXT: usize = 64 * 1024;

static ENVIRONMENT: LazyLock<Option<Arc<Env>>> = LazyLock::new(|| build().ok().map(Arc::new));
static PATTERN_TYPE: Type = Type::new_unspecified_type("pattern");

/// A pattern of `matches`, compiled with the expression: no request pays for it, and no request chooses it.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

/// The environment of every expression, built once. `None` only if the library refuses its own functions.
pub(super) fn environment() -> Option<Arc<Env>> {
    ENVIRONMENT.clone()
}

fn build() -> Result<Env, DeclarationError> {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings)?;
    env.add_overload(MATCHES, "matches", vec![STRING_TYPE, PATTERN_TYPE.to_owned()], matches)?;
    env.add_overload(SPLIT, "split", vec![STRING_TYPE, STRING_TYPE], split)?;
    env.add_overload(JOIN, "join", vec![LIST_TYPE], join)?;
    env.add_overload(JOIN, "join_separator", vec![LIST_TYPE, STRING_TYPE], join)?;
    env.add_overload(REPLACE, "replace", vec![STRING_TYPE, STRING_TYPE, STRING_TYPE], replace)?;
    Ok(env)
}

// === impl Pattern ===

impl Pattern {
    /// Compiles `source`; the error is one line.
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        if source.len() > MAX_PATTERN {
            return Err(format!("it has {} bytes, more than {MAX_PATTERN}", source.len()));
        }
        RegexBuilder::new(source).size_limit(MAX_PATTERN_SIZE).build().map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large once compiled; repeat fewer times".to_owned(),
            // The library draws the pattern above its last line, which alone says what is wrong.
            other => {
                other.to_string().lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
            }
        })
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN_TYPE
    }

    fn cel_type() -> &'static Type {
        &PATTERN_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}

// === functions ===

type Outcome<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// The environment picked the overload by its types, so a text is missing only if the library is broken.
fn text<'a>(function: &str, value: Option<&'a CowVal<'_, '_>>) -> Result<&'a str, ExecutionError> {
    value
        .and_then(|value| value.downcast_ref::<CelString>())
        .map(CelString::inner)
        .ok_or_else(|| ExecutionError::function_error(function, "wants a text"))
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is the library's")]
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Outcome<'b, 'v> {
    let subject = text(MATCHES, args.first())?;
    let pattern = args
        .get(1)
        .and_then(|value| value.downcast_ref::<Pattern>())
        .ok_or_else(|| ExecutionError::function_error(MATCHES, "wants a pattern"))?;
    Ok(CowVal::owned(CelBool::from(pattern.0.is_match(subject))))
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is the library's")]
fn split<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Outcome<'b, 'v> {
    let (subject, separator) = (text(SPLIT, args.first())?, text(SPLIT, args.get(1))?);
    let piece = |piece: &str| -> Box<dyn Val + 'v> { Box::new(CelString::from(piece.to_owned())) };
    let mut pieces: Vec<Box<dyn Val + 'v>> = if separator.is_empty() {
        subject.chars().take(MAX_PIECES + 1).map(|one| piece(one.encode_utf8(&mut [0; 4]))).collect()
    } else {
        subject.split(separator).take(MAX_PIECES + 1).map(piece).collect()
    };
    if pieces.len() > MAX_PIECES {
        return Err(ExecutionError::function_error(SPLIT, "too many pieces"));
    }
    pieces.shrink_to_fit();
    Ok(CowVal::owned(CelList::from(pieces)))
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is the library's")]
fn join<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Outcome<'b, 'v> {
    let list = args
        .first()
        .and_then(|value| value.as_iterable())
        .ok_or_else(|| ExecutionError::function_error(JOIN, "wants a list"))?;
    let separator = if args.len() > 1 { text(JOIN, args.get(1))? } else { "" };
    let mut joined = String::new();
    let mut items = list.iter();
    let mut first = true;
    while let Some(item) = items.next() {
        let item = item
            .downcast_ref::<CelString>()
            .ok_or_else(|| ExecutionError::function_error(JOIN, "wants a list of texts"))?;
        if !std::mem::take(&mut first) {
            joined.push_str(separator);
        }
        joined.push_str(item.inner());
        bounded(JOIN, joined.len())?;
    }
    Ok(CowVal::owned(CelString::from(joined)))
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is the library's")]
fn replace<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Outcome<'b, 'v> {
    let (subject, from, to) = (text(REPLACE, args.first())?, text(REPLACE, args.get(1))?, text(REPLACE, args.get(2))?);
    let count = subject.matches(from).count();
    let kept = subject.len().saturating_sub(count.saturating_mul(from.len()));
    bounded(REPLACE, kept.saturating_add(count.saturating_mul(to.len())))?;
    Ok(CowVal::owned(CelString::from(subject.replace(from, to))))
}

fn bounded(function: &str, length: usize) -> Result<(), ExecutionError> {
    if length > MAX_TEXT { Err(ExecutionError::function_error(function, "the text grows too long")) } else { Ok(()) }
}
