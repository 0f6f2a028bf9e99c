//! The decision: one request against one snapshot at one moment.
//!
//! Pure and synchronous. The same function answers Envoy, `explain` and every test. It owns the order of the steps (contract,
//! section 2) and must never fetch, wait, read a clock or log: what has to be waited for is returned as a [`Need`], and the caller
//! asks again with it in [`Awaited`].

mod audit;
mod authenticate;
mod authorize;
mod by_api_key;
mod by_certificate;
mod by_jwt;
mod by_service;
mod by_service_account;
mod changes;
mod credential;
mod encode;
mod forward;
mod granted;
mod kind;
mod lifetime;
mod limits;
mod outcome;
mod query;
mod replace;
mod require;
mod second_factor;
mod select;
mod standing;
#[cfg(test)]
mod tests;
mod told;
mod websocket;

use std::{borrow::Cow, sync::Arc};

use crds::{
    code::Code,
    snapshot::{KeySetId, Policy, Respond, Rules, SharedStore, Snapshot},
    v1alpha1::SigningAlgorithm,
};
use smallvec::SmallVec;

pub use authenticate::Proven;
pub use authorize::Grants;
pub use changes::{HeaderChanges, HeaderText, SetHeader};
pub use encode::IdentityHeaders;
pub use limits::RateLimited;
pub use outcome::{Factor, Outcome};
pub use require::Checked;
pub use select::Choice;
pub use told::Told;

use self::select::Place;
use crate::{
    cache::TokenCache,
    errors::cors,
    expr::Failure,
    factors::{Attempt, Redeemed},
    keystore::KeyStore,
    limits::{Lease, LeaseAsk, Leased, LimitStore, Standing, Tallied, Tally},
    principal::{CallerKind, Traffic},
    remote::{Ask, AskId, Kept, RemoteStore},
    request::RequestView,
    signers::SignerStore,
};

/// What a decision reads beside the request.
pub struct Deps<'a> {
    /// The policies, loaded once for this request.
    pub snapshot: &'a Snapshot,
    /// Remote keys.
    pub keys: &'a dyn KeyStore,
    /// Answers of other services.
    pub remote: &'a dyn RemoteStore,
    /// Verified tokens.
    pub tokens: &'a TokenCache,
    /// Keys of our own.
    pub signers: &'a dyn SignerStore,
    /// Counters of limits.
    pub limits: &'a dyn LimitStore,
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// A decision, or the one thing it waits for.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every step is a decision: a box would cost each of them an allocation"
)]
pub enum Step {
    /// Decided.
    Done(Decision),
    /// Ask again when this was tried.
    Wait(Need),
}

/// Something only IO can bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A fetch of this key set.
    Keys(KeySetId),
    /// The answer of another service.
    Remote(Arc<Ask>),
    /// The first key of our own of this algorithm.
    Signer(SigningAlgorithm),
    /// A code used up, or a failure counted: exactly once for a request. In the store that all share, where there is one.
    Code(Attempt, Option<Arc<SharedStore>>),
    /// Counts in a store that all share: exactly once for a request.
    Count(Arc<Tally>),
    /// A lease for the connection that a handshake opens: exactly one for a request.
    Lease(Arc<LeaseAsk>),
}

/// What was waited for already, successfully or not. Each need is waited for once.
#[derive(Debug, Default)]
pub struct Awaited {
    keys: SmallVec<[KeySetId; 2]>,
    /// Answers themselves: a full cache may have forgotten one before it is asked.
    replies: SmallVec<[(AskId, Arc<Kept>); 1]>,
    redeemed: SmallVec<[(Attempt, Redeemed); 1]>,
    tallied: SmallVec<[(Arc<Tally>, Tallied); 1]>,
    leased: Option<(Arc<LeaseAsk>, Leased)>,
    signers: SmallVec<[SigningAlgorithm; 1]>,
}

/// The answer and how it came about.
#[derive(Debug)]
pub struct Decision {
    /// Every fact that was established, for metadata, logs and `explain`.
    pub facts: Facts,
    /// The answer.
    pub verdict: Verdict,
}

/// Allow, answer or deny; nothing in between.
#[derive(Debug)]
pub enum Verdict {
    /// The request may pass with these header changes.
    Allow(HeaderChanges),
    /// It may pass, and the policy answers it in the upstream's place.
    Answer(Answer),
    /// It may not.
    Deny(Deny),
}

/// An answer of the policy's own that is no refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names lower case, each once.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// Body.
    pub body: String,
}

/// A refusal before it has a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deny {
    /// Why.
    pub code: Code,
    /// Fixed words for `explain` and logs; nothing of the request.
    pub detail: &'static str,
    /// The scopes that are needed, for the challenge (RFC 6750 section 3).
    pub scopes: Vec<Box<str>>,
    /// Those of them that the caller lacks, in order.
    pub missing: Vec<Box<str>>,
    /// The claim that was missing, as the policy names it: some clients are told which.
    pub claim: Option<Box<str>>,
    /// What was wrong with the second factor, if that is why: some clients are told.
    pub factor: Option<Factor>,
    /// The limit that was reached, if that is why.
    pub limited: Option<RateLimited>,
    /// Why the policy's expression has no outcome, if that is why; for its author, never for the client.
    pub failure: Option<Box<Failure>>,
}

/// Facts in the order the steps establish them.
#[derive(Debug, Default)]
pub struct Facts {
    /// `namespace/name` and why it was chosen.
    pub policy: Option<(Arc<str>, Choice)>,
    /// That policy, where it is on trial: the very one that was chosen, for another of its name may be in force beside it.
    pub trial: Option<Arc<Policy>>,
    /// Internal or external.
    pub traffic: Option<Traffic>,
    /// The rules in force: those of the route, if there is one.
    pub rules: Option<Arc<Rules>>,
    /// Position of the credential's source in the rules.
    pub credential: Option<usize>,
    /// Whether the credential was remembered as good; `None`: none was looked up.
    pub remembered: Option<bool>,
    /// Each authenticator that took the credential, and what came of it.
    pub outcomes: SmallVec<[(Arc<str>, Outcome); 2]>,
    /// Who is calling.
    pub caller: Option<CallerKind>,
    /// The verified caller.
    pub proven: Option<Arc<Proven>>,
    /// Requirements that were looked at, in order, and whether each held: the last one may not.
    pub requirements: SmallVec<[(Checked, bool); 4]>,
    /// How the limit of requests stands that is nearest to its end, where there is one.
    pub limit: Option<Standing>,
    /// The lease of the connection that this handshake opens, where they are limited.
    pub lease: Option<Lease>,
    /// An answer that was used and is near its end: asking for it again now saves a later request the wait.
    pub renew: Option<Arc<Ask>>,
    /// A secret was not answered, as the proxy did not prove itself.
    pub withheld: bool,
    /// What a policy on trial would have refused.
    pub audited: Option<Box<Deny>>,
}

// === impl Facts ===

impl Facts {
    /// The requirements that were looked at, in words, and whether each held.
    pub fn requirements_in_words(&self) -> Vec<(String, bool)> {
        require::in_words(self)
    }
}

// === impl Awaited ===

impl Awaited {
    /// Notes that a key set was tried.
    pub fn note_keys(&mut self, id: KeySetId) {
        self.keys.push(id);
    }

    /// Notes the answer to a question.
    pub fn note_reply(&mut self, id: AskId, reply: Arc<Kept>) {
        self.replies.push((id, reply));
    }

    /// Notes what came of an attempt.
    pub fn note_code(&mut self, attempt: Attempt, redeemed: Redeemed) {
        self.redeemed.push((attempt, redeemed));
    }

    /// Notes what a store said.
    pub fn note_count(&mut self, tally: Arc<Tally>, tallied: Tallied) {
        self.tallied.push((tally, tallied));
    }

    /// Notes whether there was room for a connection.
    pub fn note_lease(&mut self, ask: Arc<LeaseAsk>, leased: Leased) {
        self.leased = Some((ask, leased));
    }

    /// Notes that a key of our own was made, if one could be.
    pub fn note_signer(&mut self, algorithm: SigningAlgorithm) {
        self.signers.push(algorithm);
    }

    fn redeemed(&self, attempt: &Attempt) -> Option<Redeemed> {
        self.redeemed.iter().find(|(own, _)| own == attempt).map(|(_, redeemed)| *redeemed)
    }

    fn leased(&self, ask: &LeaseAsk) -> Option<Leased> {
        self.leased.as_ref().filter(|(own, _)| **own == *ask).map(|(_, leased)| *leased)
    }

    fn tallied(&self, tally: &Tally) -> Option<&Tallied> {
        self.tallied.iter().find(|(own, _)| **own == *tally).map(|(_, tallied)| tallied)
    }

    fn reply(&self, id: &AskId) -> Option<&Arc<Kept>> {
        self.replies.iter().find(|(own, _)| own == id).map(|(_, reply)| reply)
    }

    fn holds(&self, id: &KeySetId) -> bool {
        self.keys.contains(id)
    }
}

// === impl Deny ===

impl Deny {
    /// A refusal with its reason.
    pub const fn new(code: Code, detail: &'static str) -> Self {
        Self {
            code,
            detail,
            scopes: Vec::new(),
            missing: Vec::new(),
            claim: None,
            factor: None,
            limited: None,
            failure: None,
        }
    }

    /// A refusal because an expression of the policy has no outcome.
    fn failed(code: Code, detail: &'static str, failure: Failure) -> Self {
        Self { failure: Some(Box::new(failure)), ..Self::new(code, detail) }
    }

    /// The reason in full, for `explain` and logs: never a value of the request or the principal.
    pub fn why(&self) -> Cow<'static, str> {
        match &self.failure {
            Some(failure) => Cow::Owned(format!("{}: {failure}", self.detail)),
            None => Cow::Borrowed(self.detail),
        }
    }
}

// === impl Decision ===

impl Decision {
    /// A refusal that no policy was asked about.
    pub fn refusal(deny: Deny) -> Self {
        Self { facts: Facts::default(), verdict: Verdict::Deny(deny) }
    }
}

/// Why the steps ended early.
enum Stop {
    Deny(Deny),
    Answer(Answer),
    Wait(Need),
}

impl From<Deny> for Stop {
    fn from(deny: Deny) -> Self {
        Self::Deny(deny)
    }
}

/// Decides. Steps as in the contract, section 2; the first that answers ends it.
pub fn decide(deps: &Deps<'_>, request: &RequestView<'_>, awaited: &Awaited) -> Step {
    let mut facts = Facts::default();
    let verdict = match steps(deps, request, awaited, &mut facts) {
        Ok(verdict) => verdict,
        Err(Stop::Answer(answer)) => Verdict::Answer(answer),
        Err(Stop::Deny(deny)) => Verdict::Deny(deny),
        Err(Stop::Wait(need)) => return Step::Wait(need),
    };
    let verdict = audit::apply(request, verdict, &mut facts);
    Step::Done(Decision { facts, verdict })
}

fn steps(deps: &Deps<'_>, request: &RequestView<'_>, awaited: &Awaited, facts: &mut Facts) -> Result<Verdict, Stop> {
    let place = select::select(deps.snapshot, request, facts)?;
    let caller = authenticate::caller(deps, request, awaited, &place, facts)
        .map_err(|stop| limits::failed(deps, request, awaited, &place, stop))?;
    facts.caller = Some(caller);
    let admitted = require::check(deps, request, awaited, &place, caller, facts)
        .and_then(|()| admitted(deps, request, awaited, &place, caller, facts));
    if matches!(admitted, Err(Stop::Deny(_))) {
        limits::look(deps, request, awaited, &place, caller, facts)?;
    }
    let verdict = admitted?;
    // Before anything is counted, for it waits. If the handshake is refused after all, the refusal names its lease, and the proxy tells that
    // it has ended like any other.
    if matches!(verdict, Verdict::Allow(_)) {
        limits::connect(request, awaited, &place, caller, facts)?;
    }
    // After the answer, which no client sees if this refuses: nothing may wait or fail once a request is counted. Where a shared store
    // counts, the answer is made again after that, of the same snapshot and what it has waited for: the count is one of these.
    limits::count(deps, request, awaited, &place, caller, facts)?;
    Ok(verdict)
}

/// Step 8: who gets here may come in, to the upstream or to the route's own answer.
fn admitted(
    deps: &Deps<'_>,
    request: &RequestView<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    caller: CallerKind,
    facts: &mut Facts,
) -> Result<Verdict, Stop> {
    if let Some(own) = &place.rules.respond {
        return Ok(Verdict::Answer(respond(own, request, place)));
    }
    let mut changes = forward::changes(request, place, caller, facts)?;
    lifetime::bound(&mut changes, request, place, facts.proven.as_deref(), deps.now_ms);
    replace::apply(&mut changes, deps, request, awaited, place, caller, facts)?;
    Ok(Verdict::Allow(changes))
}

fn respond(own: &Respond, request: &RequestView<'_>, place: &Place<'_>) -> Answer {
    let mut headers =
        own.headers.iter().map(|(name, value)| (Cow::Owned(name.to_string()), value.to_string())).collect();
    if let Some(cors) = &place.rules.cors {
        cors::readable(&mut headers, cors, request.headers.text("origin").as_deref());
    }
    Answer { status: own.status, headers, body: own.body.to_string() }
}
