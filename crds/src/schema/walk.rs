//! The walk itself. Depth is bounded by the schema, not by the document.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

use super::{
    Gaps, MOST, Patterns, Problem, ProblemKind,
    suggest::{describe, nearest, shorten},
};

/// What the API server checks by itself at the root of every object, or what is not the author's to write (`status`).
const ROOT: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

struct Walk<'a> {
    patterns: &'a Patterns,
    gaps: Gaps,
    problems: Vec<Problem>,
}

/// A place in the document, as people write it and as the schema names it (without indices).
#[derive(Clone)]
struct At {
    path: String,
    schema: String,
}

pub(super) fn walk(schema: &JSONSchemaProps, patterns: &Patterns, gaps: Gaps, document: &Value) -> Vec<Problem> {
    let mut walk = Walk { patterns, gaps, problems: Vec::new() };
    walk.value(schema, document, &At { path: String::new(), schema: String::new() });
    walk.problems
}

// === impl Walk ===

impl Walk<'_> {
    fn full(&self) -> bool {
        self.problems.len() >= MOST
    }

    fn report(&mut self, problem: Problem) {
        if !self.full() {
            self.problems.push(problem);
        }
    }

    fn invalid(&mut self, at: &At, message: impl Into<String>) {
        self.report(Problem::invalid(at.shown(), message));
    }

    fn value(&mut self, schema: &JSONSchemaProps, value: &Value, at: &At) {
        if self.full() {
            return;
        }
        match (schema.type_.as_deref(), value) {
            (Some("object"), Value::Object(members)) => self.object(schema, members, at),
            (Some("array"), Value::Array(items)) => self.list(schema, items, at),
            (Some("string"), Value::String(text)) => self.text(schema, text, at),
            (Some("boolean"), Value::Bool(_)) | (None, _) => self.allowed(schema, value, at),
            (Some("integer"), Value::Number(number)) if is_integer(number) => self.number(schema, number, value, at),
            (Some("number"), Value::Number(number)) => self.number(schema, number, value, at),
            (Some(expected), _) => self.invalid(at, wrong_type(expected, value)),
        }
    }

    fn object(&mut self, schema: &JSONSchemaProps, members: &Map<String, Value>, at: &At) {
        for name in schema.required.iter().flatten() {
            if members.get(name).is_none_or(Value::is_null) {
                self.invalid(&at.member(name), "required, and missing");
            }
        }
        let size = members.values().filter(|value| !value.is_null()).count();
        self.bounds(schema.min_properties, schema.max_properties, size, "members", at);
        for (name, value) in members {
            let inside = at.member(name);
            if at.path.is_empty() && ROOT.contains(&name.as_str()) {
                continue;
            }
            let property = schema.properties.as_ref().and_then(|known| known.get(name));
            if let Some(property) = property.or(values_of(schema)) {
                if !value.is_null() {
                    self.value(property, value, &inside);
                }
            } else if !is_open(schema) {
                // A null makes a name that nobody knows no better.
                self.unknown(schema, name, &inside);
            }
        }
    }

    fn unknown(&mut self, schema: &JSONSchemaProps, name: &str, at: &At) {
        if (self.gaps.field)(&at.schema) {
            return self.report(Problem::unsupported(at.shown(), name));
        }
        let known = || schema.properties.iter().flat_map(BTreeMap::keys);
        let message = match nearest(name, known()) {
            Some(meant) => format!("unknown field; did you mean `{meant}`?"),
            None if known().next().is_none() => "unknown field; nothing can be set here".to_owned(),
            None => {
                format!("unknown field; known here: {}", known().map(String::as_str).collect::<Vec<_>>().join(", "))
            }
        };
        self.report(Problem { path: at.shown(), message, kind: ProblemKind::Unknown });
    }

    fn list(&mut self, schema: &JSONSchemaProps, items: &[Value], at: &At) {
        // Once a list is too long nothing inside it matters.
        if !self.bounds(schema.min_items, schema.max_items, items.len(), "entries", at) {
            return;
        }
        let Some(JSONSchemaPropsOrArray::Schema(inner)) = &schema.items else { return };
        let is_set = schema.x_kubernetes_list_type.as_deref() == Some("set");
        for (index, item) in items.iter().enumerate() {
            let inside = at.entry(index);
            self.value(inner, item, &inside);
            if is_set && items.iter().take(index).any(|earlier| earlier == item) {
                self.invalid(&inside, "listed twice; every entry must be different from the others");
            }
        }
    }

    fn text(&mut self, schema: &JSONSchemaProps, text: &str, at: &At) {
        let length = text.chars().count();
        if !self.bounds(schema.min_length, schema.max_length, length, "characters", at) {
            return;
        }
        if let Some(pattern) = &schema.pattern
            && !self.patterns.get(pattern).and_then(Option::as_ref).is_some_and(|regex| regex.is_match(text))
        {
            self.invalid(at, format!("`{}` must match {pattern}", shorten(text)));
        }
        let Some(allowed) = &schema.enum_ else { return };
        if allowed.iter().any(|one| one.0.as_str() == Some(text)) {
            return;
        }
        let words: Vec<&str> = allowed.iter().filter_map(|one| one.0.as_str()).collect();
        self.invalid(at, format!("must be one of {}; got `{}`", words.join(", "), shorten(text)));
    }

    fn number(&mut self, schema: &JSONSchemaProps, number: &serde_json::Number, value: &Value, at: &At) {
        let size = number.as_f64();
        if let (Some(least), Some(size)) = (schema.minimum, size)
            && (size < least || (size <= least && schema.exclusive_minimum == Some(true)))
        {
            self.invalid(at, format!("`{}` is too small; the least is {least}", shorten(&number.to_string())));
        }
        if let (Some(most), Some(size)) = (schema.maximum, size)
            && (size > most || (size >= most && schema.exclusive_maximum == Some(true)))
        {
            self.invalid(at, format!("`{}` is too large; the most is {most}", shorten(&number.to_string())));
        }
        self.allowed(schema, value, at);
    }

    /// Enumerations of anything but text, which has its own words.
    fn allowed(&mut self, schema: &JSONSchemaProps, value: &Value, at: &At) {
        if let Some(allowed) = &schema.enum_
            && !allowed.iter().any(|one| one.0 == *value)
        {
            let words: Vec<String> = allowed.iter().map(|one| one.0.to_string()).collect();
            self.invalid(at, format!("must be one of {}; got {}", words.join(", "), describe(value)));
        }
    }

    /// Whether `size` is within bounds; reports it if not.
    fn bounds(&mut self, least: Option<i64>, most: Option<i64>, size: usize, unit: &str, at: &At) -> bool {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        if let Some(least) = least.filter(|least| size < *least) {
            self.invalid(at, format!("has {size} {unit}; at least {least} needed, or leave the field out"));
            return false;
        }
        if let Some(most) = most.filter(|most| size > *most) {
            self.invalid(at, format!("has {size} {unit}; at most {most} allowed"));
            return false;
        }
        true
    }
}

// === impl At ===

impl At {
    fn member(&self, name: &str) -> Self {
        // Names come from the document: they are shortened, and quoted where they could be read as a path.
        let simple = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let step = match (simple, self.path.is_empty()) {
            (true, true) => name.to_owned(),
            (true, false) => format!(".{name}"),
            (false, _) => format!("[\"{}\"]", shorten(name)),
        };
        Self { path: format!("{}{step}", self.path), schema: format!("{}{step}", self.schema) }
    }

    fn entry(&self, index: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), schema: format!("{}[]", self.schema) }
    }

    /// The document itself has no path.
    fn shown(&self) -> String {
        if self.path.is_empty() { "document".to_owned() } else { self.path.clone() }
    }
}

/// What members must be that the schema does not name.
fn values_of(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(values),
        _ => None,
    }
}

/// Whether an object takes members that its schema does not name.
fn is_open(schema: &JSONSchemaProps) -> bool {
    schema.x_kubernetes_preserve_unknown_fields == Some(true)
        || matches!(schema.additional_properties, Some(JSONSchemaPropsOrBool::Bool(true)))
}

/// JSON knows no integers; the API server takes `1.0` for one.
fn is_integer(number: &serde_json::Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|value| value.fract() == 0.0)
}

fn wrong_type(expected: &str, value: &Value) -> String {
    let got = describe(value);
    match (expected, value) {
        ("array", Value::String(text)) => format!("must be a list; got {got}: write [{}]", shorten(text)),
        ("array", _) => format!("must be a list; got {got}"),
        ("object", _) => format!("must be a map of fields; got {got}"),
        ("string", Value::Bool(_) | Value::Number(_)) => format!("must be a text; got {got}: put it in quotes"),
        ("string", _) => format!("must be a text; got {got}"),
        ("boolean", _) => format!("must be true or false; got {got}"),
        ("integer", _) => format!("must be a whole number; got {got}"),
        (other, _) => format!("must be of type {other}; got {got}"),
    }
}
