//! What the variables of an expression stand for in one request. Owns the memory of which were read; must never decide what that
//! means.

use std::{
    collections::HashMap,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use cel::{
    common::{
        types::{CelBool, CelList, CelMap, CelMapKey, CelString},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use crds::expr::{Expr, Field, Variable};

use super::{
    Inputs,
    claims::{Lookup, Members, TooMany, convert_map},
};
use crate::principal::{CallerKind, Principal};

/// The variables of one evaluation.
pub(super) struct Variables<'v, 'h> {
    expr: &'v Expr,
    inputs: &'v Inputs<'v, 'h>,
    principal: Option<&'v Principal>,
    read_unset: AtomicBool,
    items: Items,
    // Made at the first read: a loop may read them many times.
    roles: OnceLock<Option<CelList<'v>>>,
    scopes: OnceLock<Option<CelList<'v>>>,
    claims: OnceLock<Option<CelMap<'v>>>,
    headers: OnceLock<Option<CelMap<'v>>>,
}

/// How many entries a list or map may have, and whether one had more.
pub(super) struct Items {
    limit: usize,
    refused: AtomicBool,
}

// === impl Items ===

impl Items {
    /// Refuses `count` entries if they are more than the expression may read, and remembers it.
    pub(super) fn allow(&self, count: usize) -> Result<(), TooMany> {
        if count > self.limit {
            self.refused.store(true, Ordering::Relaxed);
            return Err(TooMany);
        }
        Ok(())
    }
}

// === impl Variables ===

impl<'v, 'h> Variables<'v, 'h> {
    pub(super) fn new(expr: &'v Expr, inputs: &'v Inputs<'v, 'h>) -> Self {
        Self {
            expr,
            inputs,
            principal: inputs.principal.filter(|_| matches!(inputs.caller, CallerKind::Proven(_))),
            read_unset: AtomicBool::new(false),
            items: Items { limit: expr.max_items(), refused: AtomicBool::new(false) },
            roles: OnceLock::new(),
            scopes: OnceLock::new(),
            claims: OnceLock::new(),
            headers: OnceLock::new(),
        }
    }

    /// Whether a field of the principal was read that is unset.
    pub(super) fn read_unset(&self) -> bool {
        self.read_unset.load(Ordering::Relaxed)
    }

    /// Whether a list or map was too long to be read.
    pub(super) fn refused_items(&self) -> bool {
        self.items.refused.load(Ordering::Relaxed)
    }

    /// A field that is a text; empty where it is unset.
    fn text_field(&self, field: Field) -> &'v str {
        let Some(principal) = self.principal else {
            return if field == Field::Type { self.inputs.caller.as_str() } else { "" };
        };
        match field {
            Field::Type => self.inputs.caller.as_str(),
            Field::Issuer => principal.issuer.as_deref().unwrap_or_default(),
            Field::Subject => &principal.subject,
            Field::User => &principal.user,
            Field::Email => principal.email.as_deref().unwrap_or_default(),
            Field::Name => principal.name.as_deref().unwrap_or_default(),
            Field::Roles | Field::Scopes | Field::Claims => "",
        }
    }

    /// Empty and unset are one: the contract gives unset fields the empty value.
    fn is_set(&self, field: Field) -> bool {
        match field {
            Field::Roles => self.principal.is_some_and(|principal| !principal.roles.is_empty()),
            Field::Scopes => self.principal.is_some_and(|principal| !principal.scopes.is_empty()),
            Field::Claims => self.principal.is_some_and(|principal| !principal.claims.is_empty()),
            text => !self.text_field(text).is_empty(),
        }
    }

    fn note_read(&self, field: Field) {
        if !self.is_set(field) {
            self.read_unset.store(true, Ordering::Relaxed);
        }
    }

    fn principal_field(&self, field: Field) -> Option<CowVal<'_, '_>> {
        self.note_read(field);
        match field {
            Field::Roles => {
                let texts = || self.principal.map_or(&[][..], |principal| &principal.roles);
                kept(self.roles.get_or_init(|| self.list(texts())).as_ref())
            }
            Field::Scopes => {
                let texts = || self.principal.map_or(&[][..], |principal| &principal.scopes);
                kept(self.scopes.get_or_init(|| self.list(texts())).as_ref())
            }
            Field::Claims => kept(self.claims.get_or_init(|| self.all_claims()).as_ref()),
            text => Some(CowVal::owned(CelString::from(self.text_field(text)))),
        }
    }

    fn list(&self, texts: &'v [Box<str>]) -> Option<CelList<'v>> {
        self.items.allow(texts.len()).ok()?;
        let texts = texts.iter().map(|text| -> Box<dyn Val + 'v> { Box::new(CelString::from(&**text)) });
        Some(CelList::from(texts.collect::<Vec<_>>()))
    }

    fn all_claims(&self) -> Option<CelMap<'v>> {
        self.principal
            .map_or_else(|| Some(CelMap::default()), |principal| convert_map(&principal.claims, &self.items).ok())
    }

    fn all_headers(&self) -> Option<CelMap<'v>> {
        let headers = &self.inputs.request.headers;
        self.items.allow(headers.names().count()).ok()?;
        let mut all: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> = HashMap::new();
        for name in headers.names() {
            if let Some(text) = headers.text(name) {
                all.insert(CelMapKey::from(name), Box::new(CelString::from(text)));
            }
        }
        Some(CelMap::from(all))
    }

    fn lookup<'b>(&'b self, members: Members<'b, 'h>) -> CowVal<'b, 'b> {
        CowVal::owned(Lookup { members, items: &self.items })
    }
}

impl VariableResolver for Variables<'_, '_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let text = |text: &'b str| Some(CowVal::owned(CelString::from(text)));
        match Variable::named(name)? {
            Variable::Principal(field) => self.principal_field(field),
            Variable::HasPrincipal(field) => Some(CowVal::owned(CelBool::from(self.is_set(field)))),
            Variable::ClaimsLookup => {
                self.note_read(Field::Claims);
                Some(self.lookup(Members::Claims(self.principal.map(|principal| &principal.claims))))
            }
            Variable::Method => text(self.inputs.request.method),
            Variable::Host => text(self.inputs.host),
            Variable::Path => text(self.inputs.path),
            Variable::Headers => kept(self.headers.get_or_init(|| self.all_headers()).as_ref()),
            Variable::HeadersLookup => Some(self.lookup(Members::Headers(&self.inputs.request.headers))),
            Variable::Traffic => text(self.inputs.traffic.as_str()),
            Variable::Route => text(self.inputs.route),
            Variable::Pattern(number) => self.expr.pattern(number).map(|pattern| CowVal::Borrowed(pattern as &dyn Val)),
        }
    }
}

/// A value that is lent out; `None` where it was refused, which [`Items`] remembers.
fn kept<'b, T: Val + 'b>(value: Option<&'b T>) -> Option<CowVal<'b, 'b>> {
    value.map(|value| CowVal::Borrowed(value as &(dyn Val + 'b)))
}
