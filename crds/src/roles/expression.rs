//! JMESPath expressions over claims, compiled once, with bounds on what one evaluation can cost.
//!
//! The language has no loops, but it can copy: `[@, @] | [@, @] | …` doubles its data with every step, and `to_string` doubles
//! backslashes. So a parsed expression is refused unless the product of everything that multiplies data, and the number of passes over
//! data, stay small. What is left costs no more than a small multiple of the size of the claims.

use std::fmt;

use jmespath::{Expression, ast::Ast};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// Most bytes of an expression; the parser recurses once per nesting.
const MAX_BYTES: usize = 1024;
/// Most nested brackets, negations and references: what the parser's recursion may need of the stack.
const MAX_NESTING: usize = 64;
/// Most that an expression may multiply its data by.
const MAX_GROWTH: usize = 64;
/// Most passes over data: projections, flattenings, functions, comparisons.
const MAX_PASSES: usize = 128;
/// Most of an index.
const MAX_INDEX: u32 = 1_000_000;

/// An expression that yields a role.
#[derive(Clone)]
pub struct RoleExpression(Expression<'static>);

/// An expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadExpression {
    /// No JMESPath.
    #[error("no JMESPath expression: {0}")]
    Syntax(String),
    /// A function that there is not.
    #[error("there is no function `{0}`; see the list in the JMESPath specification")]
    Function(String),
    /// Too long or nested too deep to be read.
    #[error("too long or too deeply nested; at most {MAX_BYTES} bytes and {MAX_NESTING} levels")]
    Size,
    /// It could cost too much.
    #[error("one evaluation could cost too much: {0}")]
    Cost(&'static str),
}

// === impl RoleExpression ===

impl RoleExpression {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, BadExpression> {
        if text.len() > MAX_BYTES || nesting(text) > MAX_NESTING {
            return Err(BadExpression::Size);
        }
        let expression =
            jmespath::compile(text).map_err(|error| BadExpression::Syntax(first_line(&error.to_string())))?;
        let mut cost = Cost { growth: 1, passes: 0 };
        cost.add(expression.as_ast())?;
        if cost.growth > MAX_GROWTH {
            return Err(BadExpression::Cost("it copies its data too often; use fewer lists, objects and to_string"));
        }
        if cost.passes > MAX_PASSES {
            return Err(BadExpression::Cost("it has too many functions, comparisons and projections"));
        }
        Ok(Self(expression))
    }

    /// The text it yields; anything else, an error included, is none.
    pub fn text(&self, claims: &Map<String, Value>) -> Option<String> {
        self.0.search(claims).ok()?.as_string().filter(|text| !text.is_empty()).cloned()
    }
}

impl fmt::Debug for RoleExpression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_str().fmt(out)
    }
}

impl Serialize for RoleExpression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

/// An upper bound of the parser's recursion, texts and literals included: those count too, which refuses a little more than needed.
fn nesting(text: &str) -> usize {
    let (mut deepest, mut open, mut prefixes) = (0, 0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'!' | b'&' => prefixes += 1,
            _ => {}
        }
        deepest = deepest.max(open + prefixes);
    }
    deepest
}

/// The first line of an error is what, the others draw where.
fn first_line(error: &str) -> String {
    error.lines().next().unwrap_or_default().to_owned()
}

struct Cost {
    growth: usize,
    passes: usize,
}

// === impl Cost ===

impl Cost {
    fn grow(&mut self, factor: usize) {
        self.growth = self.growth.saturating_mul(factor.max(1));
    }

    fn add(&mut self, node: &Ast) -> Result<(), BadExpression> {
        match node {
            Ast::Identity { .. } | Ast::Field { .. } | Ast::Literal { .. } => Ok(()),
            Ast::Index { idx, .. } => index(*idx),
            Ast::Slice { start, stop, step, .. } => {
                [*start, *stop, Some(*step)].into_iter().flatten().try_for_each(index)
            }
            Ast::Expref { ast: node, .. } | Ast::Not { node, .. } => self.add(node),
            Ast::Flatten { node, .. } | Ast::ObjectValues { node, .. } => self.pass([&**node]),
            Ast::Comparison { lhs, rhs, .. } | Ast::Projection { lhs, rhs, .. } => self.pass([&**lhs, &**rhs]),
            Ast::Condition { predicate: lhs, then: rhs, .. }
            | Ast::And { lhs, rhs, .. }
            | Ast::Or { lhs, rhs, .. }
            | Ast::Subexpr { lhs, rhs, .. } => {
                self.add(lhs)?;
                self.add(rhs)
            }
            Ast::MultiList { elements, .. } => {
                self.grow(elements.len());
                elements.iter().try_for_each(|element| self.add(element))
            }
            Ast::MultiHash { elements, .. } => {
                self.grow(elements.len());
                elements.iter().try_for_each(|element| self.add(&element.value))
            }
            Ast::Function { name, args, .. } => self.function(name, args),
        }
    }

    fn pass<'a>(&mut self, nodes: impl IntoIterator<Item = &'a Ast>) -> Result<(), BadExpression> {
        self.passes += 1;
        nodes.into_iter().try_for_each(|node| self.add(node))
    }

    fn function(&mut self, name: &str, args: &[Ast]) -> Result<(), BadExpression> {
        if jmespath::DEFAULT_RUNTIME.get_function(name).is_none() {
            return Err(BadExpression::Function(crate::schema::shorten(name)));
        }
        match (name, args) {
            // A character becomes two to six.
            ("to_string", _) => self.grow(6),
            // One copy of the glue per element.
            ("join", [Ast::Literal { value, .. }, ..]) => self.grow(1 + value.as_string().map_or(0, String::len)),
            ("join", _) => {
                return Err(BadExpression::Cost("the first argument of join must be a literal, such as ','"));
            }
            // These hand on every argument.
            ("merge" | "not_null", args) => self.grow(args.len()),
            _ => {}
        }
        self.pass(args)
    }
}

fn index(index: i32) -> Result<(), BadExpression> {
    if index.unsigned_abs() > MAX_INDEX {
        return Err(BadExpression::Cost("an index is larger than any list of claims"));
    }
    Ok(())
}
