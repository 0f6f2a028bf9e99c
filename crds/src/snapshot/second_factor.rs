//! The code that an authenticator wants beside a token.

use std::{collections::HashMap, sync::Arc};

use serde::Serialize;

use super::SharedStore;
use crate::{secret::Secret, totp::CodeForm};

/// Codes and whose they are.
#[derive(Debug, Serialize)]
pub struct SecondFactor {
    /// What a code looks like.
    pub form: CodeForm,
    /// `namespace/name` of the Secret: a code is used up for everybody who reads it there.
    pub secret: Arc<str>,
    /// Shared secrets by the name of their entry; `None` in place of one that is not fit. Absent as a whole: there is no such Secret.
    #[serde(skip)]
    pub enrolled: Option<HashMap<Box<str>, Option<Secret>>>,
    /// Where codes are used up; `None`: in each process.
    pub store: Option<Arc<SharedStore>>,
}
