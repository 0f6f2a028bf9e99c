//! Request paths: one canonical reading, templates, and the route table.
//!
//! Owns what a path means. Must never normalise silently: a path that a server behind us could read in another way is refused.

mod canonical;
mod table;
mod template;
#[cfg(test)]
mod tests;

pub use canonical::{CanonicalPath, MalformedPath};
pub use table::RouteTable;
pub use template::{BadTemplate, PathTemplate};
