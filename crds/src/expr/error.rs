//! What is wrong with an expression, in words for the author of a policy. Owns the texts; decides nothing.

use std::fmt;

use cel::ParseErrors;

use super::{
    MAX_BYTES, MAX_COMPREHENSION_DEPTH, MAX_COMPREHENSIONS, MAX_DEPTH, MAX_NODES, MAX_SOURCE, MAX_WORDS, MAX_WORK,
};

/// Why an expression is refused, and what would be right. One line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// Nothing but white space.
    #[error("the expression is empty")]
    Empty,
    /// Longer than [`MAX_SOURCE`].
    #[error("the expression has {bytes} bytes; at most {MAX_SOURCE} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// More than [`MAX_WORDS`].
    #[error("the expression has {words} words and signs; at most {MAX_WORDS} are allowed")]
    TooManyWords {
        /// Their number.
        words: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the expression is nested deeper than {MAX_DEPTH} levels; split it into several conditions or headers")]
    TooDeep,
    /// More operations than [`MAX_NODES`].
    #[error("the expression has more than {MAX_NODES} operations; split it into several conditions or headers")]
    TooManyOperations,
    /// More comprehensions than [`MAX_COMPREHENSIONS`].
    #[error("{at}: the expression has more than {MAX_COMPREHENSIONS} loops (exists, all, map, …)")]
    TooManyLoops {
        /// The first loop too many.
        at: Position,
    },
    /// Comprehensions nested deeper than [`MAX_COMPREHENSION_DEPTH`].
    #[error("{at}: loops (exists, all, map, …) are nested deeper than {MAX_COMPREHENSION_DEPTH}")]
    LoopsTooDeep {
        /// The innermost loop.
        at: Position,
    },
    /// More steps than [`MAX_WORK`].
    #[error(
        "evaluating the expression may take {steps} steps; at most {MAX_WORK} are allowed: nest fewer loops, or do less in them"
    )]
    TooMuchWork {
        /// The estimate.
        steps: u64,
    },
    /// Builds values larger than [`MAX_BYTES`].
    #[error("the expression may build a value of {bytes} bytes; at most {MAX_BYTES} are allowed")]
    TooLarge {
        /// The estimate.
        bytes: u64,
    },
    /// It is not CEL.
    #[error("{at}: {problem}")]
    Syntax {
        /// Where.
        at: Position,
        /// What is wrong there.
        problem: String,
    },
    /// A variable that does not exist.
    #[error("{at}: there is no variable `{name}`; {advice}")]
    UnknownVariable {
        /// Where.
        at: Position,
        /// As written.
        name: String,
        /// What there is.
        advice: String,
    },
    /// A field that does not exist.
    #[error("{at}: `{of}` has no field `{name}`; {advice}")]
    UnknownField {
        /// Where.
        at: Position,
        /// The variable.
        of: &'static str,
        /// As written.
        name: String,
        /// What there is.
        advice: String,
    },
    /// `principal` or `request` alone.
    #[error("{at}: `{name}` is no value itself; name one of its fields: {fields}")]
    NotAValue {
        /// Where.
        at: Position,
        /// The variable.
        name: &'static str,
        /// What there is.
        fields: String,
    },
    /// A member of a text or a list.
    #[error("{at}: `{of}` is no map and has no member `{member}`")]
    NoMembers {
        /// Where.
        at: Position,
        /// The variable.
        of: String,
        /// As written.
        member: String,
    },
    /// A function or method that does not exist.
    #[error("{at}: there is no {kind} `{name}()`{advice}")]
    UnknownFunction {
        /// Where.
        at: Position,
        /// `function` or `method`.
        kind: &'static str,
        /// As written.
        name: String,
        /// The nearest name, if one is near.
        advice: String,
    },
    /// A wrong number of arguments.
    #[error("{at}: `{name}()` takes {takes}")]
    Arguments {
        /// Where.
        at: Position,
        /// The function.
        name: String,
        /// What it takes.
        takes: String,
    },
    /// `matches` with a computed pattern.
    #[error(
        "{at}: the pattern of `matches()` must be a literal text, so that it is compiled once and no client chooses it"
    )]
    ComputedPattern {
        /// Where.
        at: Position,
    },
    /// `matches` with a bad pattern.
    #[error("{at}: the pattern of `matches()` is unusable: {problem}")]
    BadPattern {
        /// Where.
        at: Position,
        /// What is wrong with it.
        problem: String,
    },
    /// A header's name in upper case, which no request ever has.
    #[error("{at}: header names are lower case here; write `{lower}` instead of `{name}`")]
    HeaderCase {
        /// Where.
        at: Position,
        /// As written.
        name: String,
        /// What would be right.
        lower: String,
    },
    /// `Type{…}`.
    #[error("{at}: there is no message type `{name}`")]
    Message {
        /// Where.
        at: Position,
        /// As written.
        name: String,
    },
    /// A condition that can never be true.
    #[error(
        "a condition must be true or false, but this expression never is; compare it with something, as in `… == 'value'`"
    )]
    NeverBool,
    /// A header that can never have a value.
    #[error(
        "a header takes a text, a number or a bool, but this expression yields a list or a map; use `.join(',')` or pick a member"
    )]
    NeverText,
    /// The parser failed on it.
    #[error("the expression cannot be read; write it in another way")]
    Parser,
}

/// A place in the source, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

// === impl Position ===

impl Position {
    /// The place of the byte number `offset`, from 0.
    pub(super) fn of(source: &str, offset: usize) -> Self {
        let before = source.char_indices().take_while(|(index, _)| *index < offset).map(|(_, char)| char);
        before.fold(Self { line: 1, column: 1 }, |at, char| {
            if char == '\n' {
                Self { line: at.line + 1, column: 1 }
            } else {
                Self { line: at.line, column: at.column + 1 }
            }
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.line, self.column)
    }
}

/// The first complaint of the parser, reworded.
pub(super) fn syntax(errors: &ParseErrors, source: &str) -> ExprError {
    if errors.errors.iter().any(|error| error.msg.contains("Recursion limit")) {
        return ExprError::TooDeep;
    }
    // Complaints about incomplete rules only follow from a syntax error, but may stand before it.
    let first =
        errors.errors.iter().find(|error| error.msg.starts_with("Syntax error")).or_else(|| errors.errors.first());
    let Some(first) = first else { return ExprError::Parser };
    let at = match (usize::try_from(first.pos.0), usize::try_from(first.pos.1)) {
        (Ok(line), Ok(column)) if line > 0 => Position { line, column },
        _ => Position::of(source, 0),
    };
    ExprError::Syntax { at, problem: problem(first.msg.trim_start_matches("Syntax error: ")) }
}

/// Says in plain words what the generated parser says in terms of its grammar.
fn problem(message: &str) -> String {
    let quoted = message.split_once(" expecting ").map_or(message, |(before, _)| before);
    let quoted = quoted.split_once('\'').and_then(|(_, rest)| rest.rsplit_once('\'')).map_or("", |(inside, _)| inside);
    let shown: String = quoted.chars().take(40).map(|char| if char.is_control() { ' ' } else { char }).collect();
    if message.contains("at '<EOF>'") && message.starts_with("missing ") {
        let missing = message.trim_start_matches("missing ").trim_end_matches(" at '<EOF>'");
        return format!("{missing} is missing at the end");
    }
    if quoted == "<EOF>" {
        return "the expression ends too early".to_owned();
    }
    if message.starts_with("token recognition error") {
        return match quoted.trim_start().chars().next() {
            Some('=') => "`=` is not CEL; compare with `==`".to_owned(),
            Some('&') => "`&` is not CEL; write `&&`".to_owned(),
            Some('|') => "`|` is not CEL; write `||`".to_owned(),
            Some('\'' | '"') => {
                r"this text has no closing quote, or a bad escape; write `\\` for a backslash, or r'…'".to_owned()
            }
            _ => format!("`{shown}` is not CEL"),
        };
    }
    if message.starts_with("invalid argument to has()") {
        return "has() takes one field, as in has(principal.email)".to_owned();
    }
    if !shown.is_empty() && ["mismatched", "extraneous", "no viable"].iter().any(|start| message.starts_with(start)) {
        return format!("`{shown}` does not belong here");
    }
    message.lines().next().unwrap_or_default().chars().take(120).collect()
}
