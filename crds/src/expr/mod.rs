//! CEL expressions of a policy, checked when the policy is compiled so that a typing error is found there and not at the first
//! request.
//!
//! Owns what an expression may say, how much work it may ask for, and the form in which it is evaluated: variables by their full
//! name, patterns compiled. Must never see a request; the values come from a resolver (`authz::expr`).
//!
//! What holds for an accepted expression:
//! - every variable, field and function in it exists, and `matches` has a literal pattern that compiles;
//! - it is at most [`MAX_DEPTH`] deep: the interpreter recurses, and an overflown stack ends the process;
//! - it takes at most [`MAX_WORK`] steps and builds values of at most [`MAX_BYTES`] bytes, if the request holds no list or map of
//!   more than [`Expr::max_items`] entries (the resolver must refuse longer ones) and each value has up to [`INPUT_BYTES`] bytes.

mod cost;
mod error;
mod library;
mod lower;
mod shape;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, thread};

use cel::{
    Context, Env, ExecutionError, Value,
    common::{ast::IdedExpr, value::CowVal},
    context::VariableResolver,
};

use self::{cost::Budget, lower::Lowering};
pub use self::{
    error::{ExprError, Position},
    library::Pattern,
    vocabulary::{Field, Variable},
};

/// Longest source, in bytes.
pub const MAX_SOURCE: usize = 4096;
/// Most words and signs of a source: the parser recurses once for each of them in the worst case.
pub const MAX_WORDS: usize = 1024;
/// Most operations, macros expanded.
pub const MAX_NODES: usize = 512;
/// Deepest nesting of operations.
pub const MAX_DEPTH: usize = 32;
/// Most comprehensions (`exists`, `all`, `map`, …).
pub const MAX_COMPREHENSIONS: usize = 8;
/// Deepest nesting of comprehensions inside each other.
pub const MAX_COMPREHENSION_DEPTH: usize = 2;
/// Most steps of an evaluation, about 50 ns each.
pub const MAX_WORK: u64 = 2_000_000;
/// Largest value that an evaluation may build, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;
/// What the estimate takes for the size of every value of a request, in bytes.
pub const INPUT_BYTES: u64 = 16 * 1024;
/// Most entries of a list or map that an expression reads, unless comprehensions are nested in it.
pub const MAX_ITEMS: usize = 1024;
/// The same where comprehensions are nested: their numbers multiply.
pub const MAX_ITEMS_NESTED: usize = 256;

/// Stack of the thread that parses; [`MAX_WORDS`] levels of the generated parser take under half of it without optimization.
const PARSER_STACK: usize = 32 * 1024 * 1024;
/// Deepest nesting of brackets that the parser follows. It counts each twice in some rules.
const PARSER_DEPTH: u16 = 64;

/// Where an expression stands, and so what it must yield.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The value of a header.
    Header,
    /// A condition.
    Condition,
    /// The value of a claim in a token of ours: what JSON can carry.
    Claim,
}

/// A checked expression. Cheap to clone; equal if the source is.
#[derive(Clone)]
pub struct Expr(Arc<Checked>);

struct Checked {
    source: Box<str>,
    ast: IdedExpr,
    patterns: Vec<Pattern>,
    max_items: usize,
    env: Arc<Env>,
}

// === impl Expr ===

impl Expr {
    /// Checks and compiles `source`. The error says what is wrong, where, and what would be right.
    pub fn parse(source: &str, place: Place) -> Result<Self, ExprError> {
        if source.len() > MAX_SOURCE {
            return Err(ExprError::TooLong { bytes: source.len() });
        }
        let words = words(source);
        if words == 0 {
            return Err(ExprError::Empty);
        }
        if words > MAX_WORDS {
            return Err(ExprError::TooManyWords { words });
        }
        // On a thread of its own, for the generated parser recurses once per operator of a chain such as `1+1+1…`, has no limit for
        // those, and nobody knows how much stack the caller has left. Its panics end there, too.
        thread::scope(|scope| {
            thread::Builder::new()
                .stack_size(PARSER_STACK)
                .spawn_scoped(scope, || check(source, place))
                .map_err(|_| ExprError::Parser)?
                .join()
                .unwrap_or(Err(ExprError::Parser))
        })
        .map(|checked| Self(Arc::new(checked)))
    }

    /// As written in the policy.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Most entries of a list or map that this expression may read; its bound on work holds for no more.
    pub fn max_items(&self) -> usize {
        self.0.max_items
    }

    /// The pattern of [`Variable::Pattern`].
    pub fn pattern(&self, number: usize) -> Option<&Pattern> {
        self.0.patterns.get(number)
    }

    /// Evaluates the expression and hands the outcome to `read`. `variables` is asked for the names that [`Variable::named`] knows.
    pub fn evaluate<'v, R>(
        &'v self,
        variables: &'v dyn VariableResolver,
        read: impl FnOnce(Result<CowVal<'_, 'v>, ExecutionError>) -> R,
    ) -> R {
        let mut context = Context::with_env(Arc::clone(&self.0.env));
        context.set_variable_resolver(variables);
        read(Value::resolve_val(&self.0.ast, &context))
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl Eq for Expr {}

/// The source alone: the rest follows from it.
impl fmt::Debug for Expr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.source, out)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.source)
    }
}

impl serde::Serialize for Expr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.source)
    }
}

// === checks ===

/// An upper bound on the tokens of `source`: what stands in a text literal counts as well, so that no malformed literal hides any.
fn words(source: &str) -> usize {
    let mut words = 0;
    let mut in_word = false;
    for char in source.chars() {
        let word = char.is_alphanumeric() || char == '_';
        words += usize::from(!(char.is_whitespace() || word && in_word));
        in_word = word;
    }
    words
}

fn check(source: &str, place: Place) -> Result<Checked, ExprError> {
    let env = library::environment().ok_or(ExprError::Parser)?;
    let (parsed, info) = env
        .parser()
        .max_recursion_depth(PARSER_DEPTH)
        .parse_with_source_info(source)
        .map_err(|errors| error::syntax(&errors, source))?;
    let mut lowering = Lowering::new(source, &info);
    let ast = lowering.lower(parsed)?;
    let depth = cost::depth(&ast);
    if depth > MAX_DEPTH {
        return Err(ExprError::TooDeep);
    }
    shape::suits(&ast, place)?;
    let max_items = if lowering.nested() { MAX_ITEMS_NESTED } else { MAX_ITEMS };
    let patterns = lowering.into_patterns();
    Budget::new(max_items).check(&ast)?;
    Ok(Checked { source: source.into(), ast, patterns, max_items, env })
}
