//! The route table: first route in document order whose template and conditions match.

use std::collections::HashMap;

use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::{CanonicalPath, PathTemplate};

/// Routes with their templates, indexed so that a lookup touches only templates that can match.
#[derive(Debug)]
pub struct RouteTable<R> {
    routes: Vec<(Vec<PathTemplate>, R)>,
    /// Templates without a variable: path to routes, ascending.
    literal: HashMap<Box<str>, Vec<usize>>,
    /// Other templates by their first literal segment, ascending by route.
    by_first: HashMap<Box<str>, Vec<(usize, PathTemplate)>>,
    /// Templates that begin with a variable, ascending by route.
    open: Vec<(usize, PathTemplate)>,
}

// === impl RouteTable ===

impl<R> RouteTable<R> {
    /// Indexes routes in document order.
    pub fn new(routes: Vec<(Vec<PathTemplate>, R)>) -> Self {
        let (mut literal, mut by_first, mut open) =
            (HashMap::<Box<str>, Vec<usize>>::new(), HashMap::<Box<str>, Vec<_>>::new(), Vec::new());
        for (index, (templates, _)) in routes.iter().enumerate() {
            for template in templates {
                if let Some(path) = template.as_literal() {
                    literal.entry(path.into()).or_default().push(index);
                } else if let Some(first) = template.first_literal() {
                    by_first.entry(first.into()).or_default().push((index, template.clone()));
                } else {
                    open.push((index, template.clone()));
                }
            }
        }
        Self { routes, literal, by_first, open }
    }

    /// The first route whose path matches and which `accepts`.
    pub fn find(&self, path: &CanonicalPath<'_>, accepts: impl Fn(&R) -> bool) -> Option<&R> {
        let accepted = |index: usize| self.routes.get(index).is_some_and(|(_, route)| accepts(route));
        let literal =
            self.literal.get(path.as_str()).and_then(|routes| routes.iter().copied().find(|index| accepted(*index)));
        let grouped = path.segments().next().and_then(|first| self.by_first.get(first)).map_or(&[][..], Vec::as_slice);
        let among = |templates: &[(usize, PathTemplate)]| {
            let before = literal.unwrap_or(usize::MAX);
            let candidates = templates.iter().take_while(|(index, _)| *index < before);
            candidates
                .filter(|(index, template)| template.matches(path) && accepted(*index))
                .map(|(index, _)| *index)
                .next()
        };
        let first = [literal, among(grouped), among(&self.open)].into_iter().flatten().min()?;
        self.routes.get(first).map(|(_, route)| route)
    }

    /// Routes in document order.
    pub fn iter(&self) -> impl Iterator<Item = &R> {
        self.routes.iter().map(|(_, route)| route)
    }
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
