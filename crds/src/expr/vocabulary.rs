//! The words an expression may use. Owns the tables of variables, fields and functions; never looks at an expression.

/// A variable of an expression that was accepted: what [`Expr::evaluate`](super::Expr::evaluate) asks its resolver for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// The value of a principal's field; empty where it is unset.
    Principal(Field),
    /// `has(principal.FIELD)`: whether it is set. It does not count as reading the field.
    HasPrincipal(Field),
    /// The claims, of which members are looked up one by one: no need to convert the others.
    ClaimsLookup,
    /// `request.method`.
    Method,
    /// `request.host`.
    Host,
    /// `request.path`.
    Path,
    /// All request headers as one map.
    Headers,
    /// The headers, of which values are looked up one by one.
    HeadersLookup,
    /// `traffic`.
    Traffic,
    /// `route`.
    Route,
    /// The compiled pattern of this number, see [`Expr::pattern`](super::Expr::pattern).
    Pattern(usize),
}

/// A field of `principal` (contract, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub enum Field {
    Type,
    Issuer,
    Subject,
    User,
    Email,
    Name,
    Roles,
    Scopes,
    Claims,
}

/// What an expression can yield, as far as its text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A bool.
    Bool,
    /// A text or a number.
    Scalar,
    /// A list, a map, or a type.
    Collection,
    /// Anything but a bool.
    NotBool,
    /// It depends on the request.
    Any,
}

/// A function or method that an expression may call.
#[derive(Debug)]
pub(super) struct Function {
    /// As written.
    pub(super) name: &'static str,
    /// Called on a value (`x.f()`), or alone (`f(x)`).
    pub(super) method: bool,
    /// The number of arguments besides the value it is called on.
    pub(super) arguments: std::ops::RangeInclusive<usize>,
    pub(super) result: Shape,
    /// The name in the environment, where ours stands in for the library's.
    pub(super) bounded: Option<&'static str>,
}

/// The names that need no comprehension to be bound.
pub(super) const ROOTS: [&str; 4] = ["principal", "request", "traffic", "route"];
/// The fields of `principal`.
pub(super) const PRINCIPAL: [(&str, Field); 9] = [
    ("type", Field::Type),
    ("issuer", Field::Issuer),
    ("subject", Field::Subject),
    ("user", Field::User),
    ("email", Field::Email),
    ("name", Field::Name),
    ("roles", Field::Roles),
    ("scopes", Field::Scopes),
    ("claims", Field::Claims),
];
/// The fields of `request`.
pub(super) const REQUEST: [(&str, Variable); 4] =
    [("method", Variable::Method), ("host", Variable::Host), ("path", Variable::Path), ("headers", Variable::Headers)];

/// Names of types, which can be compared with `type(x)`.
pub(super) const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// Everything callable. `format` and `strings.quote` are missing on purpose: they multiply the size of their input each time, and
/// no bound on the work survives them.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[Function] = &[
    function("size", Shape::Scalar), function("string", Shape::Scalar), function("int", Shape::Scalar), function("uint", Shape::Scalar),
    function("double", Shape::Scalar), function("bytes", Shape::Collection), function("bool", Shape::Bool), function("dyn", Shape::Any),
    function("type", Shape::Collection), function("optional.of", Shape::NotBool), function("optional.ofNonZeroValue", Shape::NotBool),
    Function { name: "optional.none", method: false, arguments: 0..=0, result: Shape::NotBool, bounded: None },
    // The second argument is the pattern.
    Function { name: "matches", method: false, arguments: 2..=2, result: Shape::Bool, bounded: Some(super::library::MATCHES) },
    Function { name: "matches", method: true, arguments: 1..=1, result: Shape::Bool, bounded: Some(super::library::MATCHES) },
    method("size", 0..=0, Shape::Scalar), method("contains", 1..=1, Shape::Bool), method("startsWith", 1..=1, Shape::Bool),
    method("endsWith", 1..=1, Shape::Bool), method("charAt", 1..=1, Shape::Scalar), method("indexOf", 1..=2, Shape::Scalar),
    method("lastIndexOf", 1..=2, Shape::Scalar), method("lowerAscii", 0..=0, Shape::Scalar), method("upperAscii", 0..=0, Shape::Scalar),
    method("trim", 0..=0, Shape::Scalar), method("substring", 1..=2, Shape::Scalar), method("reverse", 0..=0, Shape::Scalar),
    Function { name: "join", method: true, arguments: 0..=1, result: Shape::Scalar, bounded: Some(super::library::JOIN) },
    Function { name: "replace", method: true, arguments: 2..=2, result: Shape::Scalar, bounded: Some(super::library::REPLACE) },
    Function { name: "split", method: true, arguments: 1..=1, result: Shape::Collection, bounded: Some(super::library::SPLIT) },
    method("hasValue", 0..=0, Shape::Bool), method("value", 0..=0, Shape::Any), method("or", 1..=1, Shape::NotBool),
    method("orValue", 1..=1, Shape::Any),
];

/// The macros, which the parser replaces where they have the right number of arguments; one that is still there has not.
pub(super) const MACROS: [(&str, &str); 9] = [
    ("has", "one field, as in has(principal.email)"),
    ("all", "a name and a condition, as in all(x, x != '')"),
    ("exists", "a name and a condition, as in exists(x, x == 'a')"),
    ("exists_one", "a name and a condition, as in exists_one(x, x == 'a')"),
    ("existsOne", "a name and a condition, as in existsOne(x, x == 'a')"),
    ("map", "a name and a value, as in map(x, x + '!')"),
    ("filter", "a name and a condition, as in filter(x, x != '')"),
    ("optMap", "a name and a value, as in optMap(x, x + '!')"),
    ("optFlatMap", "a name and an optional, as in optFlatMap(x, optional.of(x))"),
];

const fn function(name: &'static str, result: Shape) -> Function {
    Function { name, method: false, arguments: 1..=1, result, bounded: None }
}

const fn method(name: &'static str, arguments: std::ops::RangeInclusive<usize>, result: Shape) -> Function {
    Function { name, method: true, arguments, result, bounded: None }
}

// === impl Variable ===

/// What stands for a variable in a checked expression. Only `principal.…` and `request.…` can be written by anybody; a name with `@`
/// is no identifier of the language.
const HAS: &str = "@has.";
const PATTERN: &str = "@pattern.";
const CLAIMS_LOOKUP: &str = "@in.claims";
const HEADERS_LOOKUP: &str = "@in.headers";

impl Variable {
    /// The variable that a checked expression calls `name`.
    pub fn named(name: &str) -> Option<Self> {
        if let Some(field) = name.strip_prefix("principal.") {
            return Field::named(field).map(Self::Principal);
        }
        if let Some(field) = name.strip_prefix("request.") {
            return REQUEST.iter().find(|(own, _)| *own == field).map(|(_, variable)| *variable);
        }
        if let Some(field) = name.strip_prefix(HAS) {
            return Field::named(field).map(Self::HasPrincipal);
        }
        if let Some(number) = name.strip_prefix(PATTERN) {
            return number.parse().ok().map(Self::Pattern);
        }
        match name {
            "traffic" => Some(Self::Traffic),
            "route" => Some(Self::Route),
            CLAIMS_LOOKUP => Some(Self::ClaimsLookup),
            HEADERS_LOOKUP => Some(Self::HeadersLookup),
            _ => None,
        }
    }

    /// The name in a checked expression.
    pub(super) fn name(self) -> String {
        match self {
            Self::Principal(field) => format!("principal.{}", field.as_str()),
            Self::HasPrincipal(field) => format!("{HAS}{}", field.as_str()),
            Self::ClaimsLookup => CLAIMS_LOOKUP.to_owned(),
            Self::Method => "request.method".to_owned(),
            Self::Host => "request.host".to_owned(),
            Self::Path => "request.path".to_owned(),
            Self::Headers => "request.headers".to_owned(),
            Self::HeadersLookup => HEADERS_LOOKUP.to_owned(),
            Self::Traffic => "traffic".to_owned(),
            Self::Route => "route".to_owned(),
            Self::Pattern(number) => format!("{PATTERN}{number}"),
        }
    }

    /// The variable that answers for members of this one without converting the others.
    pub(super) fn lookup(self) -> Self {
        match self {
            Self::Principal(Field::Claims) => Self::ClaimsLookup,
            Self::Headers => Self::HeadersLookup,
            other => other,
        }
    }

    pub(super) fn shape(self) -> Shape {
        match self {
            Self::HasPrincipal(_) => Shape::Bool,
            Self::Principal(Field::Roles | Field::Scopes | Field::Claims)
            | Self::ClaimsLookup
            | Self::Headers
            | Self::HeadersLookup
            | Self::Pattern(_) => Shape::Collection,
            Self::Principal(_) | Self::Method | Self::Host | Self::Path | Self::Traffic | Self::Route => Shape::Scalar,
        }
    }

    /// Whether it is a list of texts.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Principal(Field::Roles | Field::Scopes))
    }

    /// Whether it has members to select with a dot.
    pub(super) fn is_map(self) -> bool {
        matches!(self, Self::Principal(Field::Claims) | Self::ClaimsLookup | Self::Headers | Self::HeadersLookup)
    }
}

// === impl Field ===

impl Field {
    /// The field called `name`.
    pub fn named(name: &str) -> Option<Self> {
        PRINCIPAL.iter().find(|(own, _)| *own == name).map(|(_, field)| *field)
    }

    /// The name as written after `principal.`.
    pub fn as_str(self) -> &'static str {
        PRINCIPAL.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| name)
    }
}

/// The word of `known` nearest to `word`, if it is near enough to be meant.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let tolerance = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
