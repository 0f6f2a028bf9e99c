//! The route table: first route in document order whose template and conditions match.

use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::{CanonicalPath, PathTemplate};

/// Routes with their templates, indexed so that a lookup touches only templates that can match.
#[derive(Debug)]
pub struct RouteTable<R> {
    routes: Box<[(Box<[PathTemplate]>, R)]>,
    /// Templates without a variable, by their path, then by route.
    literal: Box<[At]>,
    /// Other templates by their first segment, then by route.
    by_first: Box<[At]>,
    /// Templates that begin with a variable, by route.
    open: Box<[At]>,
}

/// Where a template stands: the text of an index is that of the routes, not a copy.
#[derive(Debug, Clone, Copy)]
struct At {
    route: usize,
    template: usize,
}

// === impl RouteTable ===

impl<R> RouteTable<R> {
    /// Indexes routes in document order.
    pub fn new(routes: Vec<(Vec<PathTemplate>, R)>) -> Self {
        let routes: Box<[_]> =
            routes.into_iter().map(|(templates, route)| (templates.into_boxed_slice(), route)).collect();
        let (mut literal, mut by_first, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for (route, (templates, _)) in routes.iter().enumerate() {
            for (template, text) in templates.iter().enumerate() {
                let at = At { route, template };
                if let Some(path) = text.as_literal() {
                    literal.push((path, at));
                } else if let Some(first) = text.first_literal() {
                    by_first.push((first, at));
                } else {
                    open.push(at);
                }
            }
        }
        let (literal, by_first) = (sorted(literal), sorted(by_first));
        Self { literal, by_first, open: open.into(), routes }
    }

    /// The first route whose path matches and which `accepts`.
    pub fn find(&self, path: &CanonicalPath<'_>, accepts: impl Fn(&R) -> bool) -> Option<&R> {
        let accepted = |at: &At| self.routes.get(at.route).is_some_and(|(_, route)| accepts(route));
        let literal = self.group(&self.literal, PathTemplate::as_literal, path.as_str());
        let literal = literal.iter().find(|at| accepted(at)).map(|at| at.route);
        let grouped =
            path.segments().next().map(|first| self.group(&self.by_first, PathTemplate::first_literal, first));
        let among = |templates: &[At]| {
            let before = literal.unwrap_or(usize::MAX);
            let candidates = templates.iter().take_while(|at| at.route < before);
            let matches = |at: &At| self.template(*at).is_some_and(|template| template.matches(path));
            candidates.filter(|at| matches(at) && accepted(at)).map(|at| at.route).next()
        };
        let first = [literal, among(grouped.unwrap_or_default()), among(&self.open)].into_iter().flatten().min()?;
        self.routes.get(first).map(|(_, route)| route)
    }

    /// Routes in document order.
    pub fn iter(&self) -> impl Iterator<Item = &R> {
        self.routes.iter().map(|(_, route)| route)
    }

    fn template(&self, at: At) -> Option<&PathTemplate> {
        self.routes.get(at.route).and_then(|(templates, _)| templates.get(at.template))
    }

    /// The part of an index that has this text.
    fn group<'i>(&self, index: &'i [At], text: fn(&PathTemplate) -> Option<&str>, wanted: &str) -> &'i [At] {
        let text = |at: &At| self.template(*at).and_then(text);
        let begin = index.partition_point(|at| text(at) < Some(wanted));
        let rest = index.get(begin..).unwrap_or_default();
        rest.get(..rest.partition_point(|at| text(at) == Some(wanted))).unwrap_or_default()
    }
}

/// Stable: routes of one text stay in document order.
fn sorted(mut index: Vec<(&str, At)>) -> Box<[At]> {
    index.sort_by_key(|(text, _)| *text);
    index.into_iter().map(|(_, at)| at).collect()
}

impl<R: Serialize> Serialize for RouteTable<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry<'a, R> {
            paths: &'a [PathTemplate],
            #[serde(flatten)]
            route: &'a R,
        }
        let mut entries = serializer.serialize_seq(Some(self.routes.len()))?;
        for (paths, route) in &self.routes {
            entries.serialize_element(&Entry { paths, route })?;
        }
        entries.end()
    }
}
