//! The kind `serviceAccount`: a token that the cluster signed, for an account of it. Where the policy wants it, the API server is asked about a
//! token that is good: what nobody signed is not worth a question.

use std::sync::Arc;

use aws_lc_rs::digest::Context;
use crds::{
    secret::Secret,
    snapshot::{Authenticator, ServiceAccounts},
};
use serde_json::Value;

use super::{
    Awaited, Deps,
    authenticate::{Failed, Good, Presented},
    by_jwt, by_service,
    outcome::Outcome,
};
use crate::{
    jwt::Token,
    remote::{Ask, AskId, Reply, What},
};

/// How the subject of every such token begins.
const PREFIX: &str = "system:serviceaccount:";

/// One authenticator with the keys of the cluster as they are now.
pub(super) struct Ready<'a> {
    token: by_jwt::Ready<'a>,
    review: bool,
}

// === impl Ready ===

impl<'a> Ready<'a> {
    pub(super) fn new(deps: &Deps<'_>, rules: &'a ServiceAccounts) -> Self {
        Self { token: by_jwt::Ready::new(deps, &rules.token, None), review: rules.review }
    }

    /// What changes with the keys.
    pub(super) fn version(&self) -> u64 {
        self.token.version()
    }

    /// The issuer is learnt, and not in the fingerprint.
    pub(super) fn context(&self, context: &mut Context) {
        let issuer = self.token.issuer().unwrap_or_default();
        context.update(&(issuer.len() as u64).to_be_bytes());
        context.update(issuer.as_bytes());
    }

    /// Tokens of the cluster's issuer; until that is known, those that say they are of an account.
    pub(super) fn takes(&self, presented: &Presented<'_>) -> bool {
        presented.token().is_some_and(|token| {
            let ours = self.token.issuer().is_none_or(|own| token.issuer() == Some(own));
            ours && account(token).is_some()
        })
    }

    pub(super) fn verify(
        &self,
        deps: &Deps<'_>,
        authenticator: &Arc<Authenticator>,
        presented: &Presented<'_>,
        awaited: &Awaited,
    ) -> Result<Good, Failed> {
        let mut good = self.token.verify(authenticator, presented, awaited, deps.now_ms)?;
        let token = presented.token().ok_or(Outcome::Invalid("not a JSON Web Token in compact form"))?;
        let account = account(token).ok_or(Outcome::Invalid("`sub` is no ServiceAccount"))?;
        if self.review {
            good.keep_until_ms = Some(reviewed(deps, authenticator, presented.text, account, good.ends_ms, awaited)?);
        }
        Ok(good)
    }
}

/// Until when the API server's yes holds.
fn reviewed(
    deps: &Deps<'_>,
    authenticator: &Arc<Authenticator>,
    text: &str,
    account: &str,
    ends_ms: Option<i64>,
    awaited: &Awaited,
) -> Result<i64, Failed> {
    let ask = Ask {
        // Policy, authenticator and everything that is compiled are in the fingerprint.
        id: AskId::of(&[&authenticator.fingerprint, text.as_bytes()]),
        what: What::Review { authenticator: authenticator.clone(), token: Secret::new(text.as_bytes()), ends_ms },
        fresh: false,
    };
    let kept = by_service::answer(deps, awaited, ask).map_err(|need| Failed {
        outcome: Outcome::Unavailable("the API server has not answered yet whether the token is good"),
        claim: None,
        need: Some(need),
    })?;
    match &kept.reply {
        Reply::Good(good) if good.claims.get("sub").and_then(Value::as_str) == Some(account) => Ok(kept.until_ms),
        // Another way in took the token for somebody else's.
        Reply::Good(_) => Err(Outcome::Invalid("the API server says that the token is somebody else's").into()),
        Reply::Refused(why) => Err(Outcome::Invalid(why).into()),
        Reply::Failed(why) => Err(Outcome::Unavailable(why).into()),
        Reply::Expired | Reply::Standing(_) | Reply::Owner(_) | Reply::Issued(_) => {
            Err(Outcome::Unavailable("the answer is to no question").into())
        }
    }
}

/// `system:serviceaccount:NAMESPACE:NAME`, as Kubernetes names accounts.
fn account<'t>(token: &'t Token<'_>) -> Option<&'t str> {
    let subject = token.claims().get("sub")?.as_str()?;
    let (namespace, name) = subject.strip_prefix(PREFIX)?.split_once(':')?;
    let label = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    (label(namespace) && name.split('.').all(label)).then_some(subject)
}
