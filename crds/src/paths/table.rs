//! The route table: first route in document order whose template and conditions match.

use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::{CanonicalPath, PathTemplate, template};

/// Routes with their templates, indexed so that a lookup touches only templates that can match. Three pieces of memory, whatever it holds:
/// with ten thousand policies each piece that a request touches is one that no cache of the processor holds.
#[derive(Debug)]
pub struct RouteTable<R> {
    routes: Box<[R]>,
    /// The texts of all templates, in document order.
    text: Box<str>,
    /// Templates without a variable, by their path; then others by their first segment; then those that begin with a variable. Within
    /// equals by route.
    index: Box<[At]>,
    /// How many of the index match one path only.
    literal: usize,
    /// Where in the index those begin that begin with a variable.
    open: usize,
}

/// A template: the route that it leads to, and where its text stands.
#[derive(Debug, Clone, Copy)]
struct At {
    route: u32,
    start: u32,
    /// Where the first segment ends.
    first: u32,
    end: u32,
}

// === impl At ===

impl At {
    fn text<'t>(&self, all: &'t str) -> &'t str {
        all.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    fn first<'t>(&self, all: &'t str) -> &'t str {
        all.get(self.start as usize + 1..self.first as usize).unwrap_or_default()
    }
}

/// A document is far below 4 GiB; of one that were not, what does not fit would match nothing.
fn place(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

// === impl RouteTable ===

impl<R> RouteTable<R> {
    /// Indexes routes in document order.
    pub fn new(routes: Vec<(Vec<PathTemplate>, R)>) -> Self {
        let (mut text, mut values) = (String::new(), Vec::with_capacity(routes.len()));
        let (mut literal, mut by_first, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for (route, (templates, value)) in routes.into_iter().enumerate() {
            for one in &templates {
                let (one, start) = (one.as_str(), text.len());
                let first = template::first_literal(one);
                let class = match first {
                    _ if template::is_literal(one) => &mut literal,
                    Some(_) => &mut by_first,
                    None => &mut open,
                };
                let (first, end) = (start + 1 + first.unwrap_or_default().len(), start + one.len());
                class.push(At { route: place(route), start: place(start), first: place(first), end: place(end) });
                text.push_str(one);
            }
            values.push(value);
        }
        // Stable: routes of one text stay in document order.
        literal.sort_by_key(|at: &At| at.text(&text));
        by_first.sort_by_key(|at: &At| at.first(&text));
        let (first_group, begin_open) = (literal.len(), literal.len() + by_first.len());
        let index = [literal, by_first, open].concat().into();
        Self { routes: values.into(), text: text.into(), index, literal: first_group, open: begin_open }
    }

    /// The first route whose path matches and which `accepts`.
    pub fn find(&self, path: &CanonicalPath<'_>, accepts: impl Fn(&R) -> bool) -> Option<&R> {
        let accepted = |at: &At| self.routes.get(at.route as usize).is_some_and(&accepts);
        let part = |begin, end| self.index.get(begin..end).unwrap_or_default();
        let literal = self.group(part(0, self.literal), At::text, path.as_str());
        let literal = literal.iter().find(|at| accepted(at)).map(|at| at.route);
        let first = path.segments().next().unwrap_or_default();
        let grouped = self.group(part(self.literal, self.open), At::first, first);
        let among = |templates: &[At]| {
            let before = literal.unwrap_or(u32::MAX);
            let candidates = templates.iter().take_while(|at| at.route < before);
            let matches = |at: &At| template::matches(at.text(&self.text), path);
            candidates.filter(|at| matches(at) && accepted(at)).map(|at| at.route).next()
        };
        let open = part(self.open, self.index.len());
        let first = [literal, among(grouped), among(open)].into_iter().flatten().min()?;
        self.routes.get(first as usize)
    }

    /// Routes in document order.
    pub fn iter(&self) -> impl Iterator<Item = &R> {
        self.routes.iter()
    }

    /// The part of an index that has this text.
    fn group<'i>(&self, index: &'i [At], text: for<'t> fn(&At, &'t str) -> &'t str, wanted: &str) -> &'i [At] {
        let begin = index.partition_point(|at| text(at, &self.text) < wanted);
        let rest = index.get(begin..).unwrap_or_default();
        rest.get(..rest.partition_point(|at| text(at, &self.text) == wanted)).unwrap_or_default()
    }

    /// The templates of a route, in document order.
    fn paths(&self, route: usize) -> Vec<&str> {
        let mut own: Vec<&At> = self.index.iter().filter(|at| at.route == place(route)).collect();
        own.sort_by_key(|at| at.start);
        own.into_iter().map(|at| at.text(&self.text)).collect()
    }
}

impl<R: Serialize> Serialize for RouteTable<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry<'a, R> {
            paths: Vec<&'a str>,
            #[serde(flatten)]
            route: &'a R,
        }
        let mut entries = serializer.serialize_seq(Some(self.routes.len()))?;
        for (index, route) in self.routes.iter().enumerate() {
            entries.serialize_element(&Entry { paths: self.paths(index), route })?;
        }
        entries.end()
    }
}
