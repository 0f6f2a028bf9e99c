//! Claims as CEL values. Owns the conversion; must never copy a text or convert a claim that nobody reads.

use std::{collections::HashMap, fmt};

use cel::{
    ExecutionError,
    common::{
        traits::{Container, Indexer},
        types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, MAP_TYPE, Type},
        value::{CowVal, Val},
    },
};
use serde_json::{Map, Number, Value};

use super::variables::Items;
use crate::request::Headers;

static LOOKUP_TYPE: Type = MAP_TYPE;

/// A map of which single members are read. It stands only where an expression looks a member up; comparing, counting and looping get
/// a map of CEL's own, for that one does not compare equal to any other type of map.
#[derive(Clone, Copy)]
pub(super) struct Lookup<'v, 'h> {
    pub(super) members: Members<'v, 'h>,
    pub(super) items: &'v Items,
}

/// Where members come from.
#[derive(Clone, Copy)]
pub(super) enum Members<'v, 'h> {
    /// Without a principal there are none.
    Claims(Option<&'v Map<String, Value>>),
    Headers(&'v Headers<'h>),
}

/// The entries exceed what the expression may read.
pub(super) struct TooMany;

/// `value` as CEL sees it. The recursion is bounded by the JSON parser's own limit.
pub(super) fn convert<'v>(value: &'v Value, items: &Items) -> Result<Box<dyn Val + 'v>, TooMany> {
    Ok(match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(bool) => Box::new(CelBool::from(*bool)),
        Value::Number(number) => convert_number(number),
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(values) => {
            items.allow(values.len())?;
            let values = values.iter().map(|value| convert(value, items)).collect::<Result<Vec<_>, _>>()?;
            Box::new(CelList::from(values))
        }
        Value::Object(members) => Box::new(convert_map(members, items)?),
    })
}

/// `members` as one CEL map.
pub(super) fn convert_map<'v>(members: &'v Map<String, Value>, items: &Items) -> Result<CelMap<'v>, TooMany> {
    items.allow(members.len())?;
    let members = members
        .iter()
        .map(|(name, value)| Ok((CelMapKey::from(name.as_str()), convert(value, items)?)))
        .collect::<Result<HashMap<_, _>, TooMany>>()?;
    Ok(CelMap::from(members))
}

/// Exact as far as CEL's integers reach: two account numbers must not become one by rounding.
fn convert_number<'v>(number: &Number) -> Box<dyn Val + 'v> {
    if let Some(int) = number.as_i64() {
        Box::new(CelInt::from(int))
    } else if let Some(uint) = number.as_u64() {
        Box::new(CelUInt::from(uint))
    } else {
        Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN)))
    }
}

// === impl Lookup ===

impl<'v, 'h: 'v> Lookup<'v, 'h> {
    fn find(&self, name: &str) -> Result<Option<Box<dyn Val + 'v>>, ExecutionError> {
        match self.members {
            Members::Claims(claims) => claims
                .and_then(|claims| claims.get(name))
                .map(|value| convert(value, self.items))
                .transpose()
                .map_err(|TooMany| ExecutionError::function_error("read", "too many entries")),
            Members::Headers(headers) => {
                Ok(headers.text(name).map(|text| -> Box<dyn Val + 'v> { Box::new(CelString::from(text)) }))
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        match self.members {
            Members::Claims(claims) => claims.is_some_and(|claims| claims.contains_key(name)),
            Members::Headers(headers) => headers.names().any(|own| own == name),
        }
    }
}

/// Names the kind of map only.
impl fmt::Debug for Lookup<'_, '_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.members {
            Members::Claims(_) => "claims",
            Members::Headers(_) => "headers",
        })
    }
}

impl<'v, 'h: 'v> Val for Lookup<'v, 'h> {
    fn get_type(&self) -> &Type {
        &LOOKUP_TYPE
    }

    fn cel_type() -> &'static Type {
        &LOOKUP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'w>(&'b self) -> Option<&'b (dyn Indexer + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
    where
        Self: 'w,
    {
        Box::new(*self)
    }
}

impl<'v, 'h: 'v> Container for Lookup<'v, 'h> {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        // A key of another type is no name of a member.
        Ok(key.downcast_ref::<CelString>().is_some_and(|name| self.has(name.inner())))
    }
}

impl<'v, 'h: 'v> Indexer for Lookup<'v, 'h> {
    fn get<'b, 'w>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'w>, ExecutionError>
    where
        Self: 'w,
    {
        let name = key.downcast_ref::<CelString>().ok_or_else(|| ExecutionError::UnexpectedType {
            got: key.get_type().name().to_owned(),
            want: "string".to_owned(),
        })?;
        match self.find(name.inner())? {
            Some(value) => Ok(CowVal::Owned(value)),
            None => Err(ExecutionError::no_such_key(name.inner())),
        }
    }

    fn steal<'w>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.get(key).map(CowVal::into_owned)
    }
}
