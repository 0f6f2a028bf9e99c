//! The kinds that ask somebody: `introspection`, `userInfo` and `webhook`. Nobody is asked here: what is not known yet is a need.

use std::sync::Arc;

use aws_lc_rs::digest::Context;
use crds::{
    secret::Secret,
    snapshot::{Accepts, Authenticator, Introspection, UserInfo, WebhookAuthenticator},
};

use super::{
    Awaited, Deps, Need,
    authenticate::{Failed, Good, Presented, named},
    outcome::Outcome,
};
use crate::{
    jwt::MAX_TOKEN_BYTES,
    remote::{Ask, AskId, Kept, Reply, What, webhook},
    request::RequestView,
};

/// One authenticator with what it sees of the request beside the credential.
pub(super) enum Ready<'a> {
    Introspection(&'a Introspection),
    UserInfo(&'a UserInfo),
    /// Names and values of the headers that the service sees, in order of their names.
    Webhook(&'a WebhookAuthenticator, Vec<(&'a str, String)>),
}

/// The answer to a question: one that was waited for, or one that is kept and still holds. Else the need to ask.
pub(super) fn answer(deps: &Deps<'_>, awaited: &Awaited, ask: Ask) -> Result<Arc<Kept>, Need> {
    if let Some(kept) = awaited.reply(&ask.id) {
        return Ok(kept.clone());
    }
    let kept = if ask.fresh { None } else { deps.remote.kept(&ask.id) };
    kept.filter(|kept| kept.until_ms > deps.now_ms).ok_or_else(|| Need::Remote(Arc::new(ask)))
}

// === impl Ready ===

impl<'a> Ready<'a> {
    pub(super) fn webhook(webhook: &'a WebhookAuthenticator, request: &RequestView<'_>) -> Self {
        let value = |name: &'a str| request.headers.text(name).map(|value| (name, value.into_owned()));
        Self::Webhook(webhook, webhook.headers.iter().filter_map(|name| value(name)).collect())
    }

    /// What a verdict depends on beside the credential and the authenticator as compiled.
    pub(super) fn context(&self, context: &mut Context) {
        let Self::Webhook(_, headers) = self else { return };
        // The number first: a credential of odd bytes could be read as a header otherwise.
        context.update(&(headers.len() as u64).to_be_bytes());
        for part in headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
    }

    /// Texts of no kind that can be judged here, if the policy wants them asked about.
    pub(super) fn takes(&self, presented: &Presented<'_>) -> bool {
        let text = presented.text;
        if presented.is_claimed || text.len() > MAX_TOKEN_BYTES || !self.accepts().takes(text) {
            return false;
        }
        match self {
            Self::Introspection(rules) => {
                let issuer = presented.token().and_then(|token| token.issuer());
                is_token(text) && rules.issuer.as_deref().is_none_or(|own| issuer.is_none_or(|issuer| *own == *issuer))
            }
            Self::UserInfo(_) => is_token(text),
            // Bytes that are not UTF-8 have become this: the service would judge another text than the client sent.
            Self::Webhook(..) => !text.contains(char::REPLACEMENT_CHARACTER),
        }
    }

    pub(super) fn verify(
        &self,
        deps: &Deps<'_>,
        policy: &str,
        authenticator: &Arc<Authenticator>,
        presented: &Presented<'_>,
        awaited: &Awaited,
    ) -> Result<Good, Failed> {
        let kept = answer(deps, awaited, self.ask(policy, authenticator, presented.text)).map_err(|need| Failed {
            outcome: Outcome::Unavailable("nobody has answered yet whether the credential is good"),
            claim: None,
            need: Some(need),
        })?;
        let good = match &kept.reply {
            Reply::Good(good) => good,
            Reply::Refused(why) => return Err(Outcome::Invalid(why).into()),
            Reply::Expired => return Err(Outcome::Expired.into()),
            Reply::Failed(why) => return Err(Outcome::Unavailable(why).into()),
            // Answers to other questions: nothing is known about the credential.
            Reply::Standing(_) | Reply::Owner(_) | Reply::Issued(_) => {
                return Err(Outcome::Unavailable("the answer is to no question").into());
            }
        };
        if good.starts_ms.is_some_and(|start| start > deps.now_ms) {
            return Err(Outcome::Invalid("it is not valid yet").into());
        }
        if good.ends_ms.is_some_and(|end| end <= deps.now_ms) {
            return Err(Outcome::Expired.into());
        }
        let principal = named(&good.claims, authenticator, self.issuer())?;
        Ok(Good { principal, ends_ms: good.ends_ms, keep_until_ms: Some(kept.until_ms), key: None })
    }

    fn ask(&self, policy: &str, authenticator: &Arc<Authenticator>, text: &str) -> Ask {
        let authenticator = authenticator.clone();
        // Policy, authenticator and everything that is compiled are in the fingerprint.
        let fingerprint = authenticator.fingerprint;
        match self {
            Self::Introspection(_) | Self::UserInfo(_) => Ask {
                id: AskId::of(&[&fingerprint, text.as_bytes()]),
                what: What::Token(authenticator, Secret::new(text.as_bytes())),
                fresh: false,
            },
            Self::Webhook(_, headers) => {
                let body = webhook::credential_question(policy, &authenticator.name, text, headers);
                let id = AskId::of(&[&fingerprint, body.expose()]);
                Ask { id, what: What::Credential(authenticator, body), fresh: false }
            }
        }
    }

    fn accepts(&self) -> &Accepts {
        match self {
            Self::Introspection(rules) => &rules.accepts,
            Self::UserInfo(rules) => &rules.accepts,
            Self::Webhook(rules, _) => &rules.accepts,
        }
    }

    fn issuer(&self) -> Option<&str> {
        match self {
            Self::Introspection(rules) => rules.issuer.as_deref(),
            Self::UserInfo(_) | Self::Webhook(..) => None,
        }
    }
}

/// The characters of a bearer token (RFC 6750 section 2.1): no other text can be one.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=:".contains(&byte))
}
