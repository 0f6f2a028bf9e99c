//! The CEL rules of the CustomResourceDefinitions, and the same rules in Rust.
//!
//! Owns each rule once: its CEL text, which the API server evaluates at `kubectl apply`, and its message, which both sides use. The restated
//! rules run on the raw document, so they also speak where the types cannot be read, and they must never be laxer than the CEL text: what a
//! cluster refuses, `gatewright check` refuses too. Where an object holds a field that is not built yet, rules that count its fields are
//! silent: that field is the one problem to report.

mod node;
mod restated;

use serde::Serialize;

pub use self::restated::check;

/// One entry of `x-kubernetes-validations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The CEL text; `self` is the value the rule is attached to.
    pub rule: &'static str,
    /// What would be right.
    pub message: &'static str,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $rule:literal => $message:literal;)+) => {
        $($(#[$doc])* pub(super) const $name: Rule = Rule { rule: $rule, message: $message };)+

        /// Every rule of both kinds.
        pub const ALL: &[Rule] = &[$($name),+];
    };
}

rules! {
    /// On `spec`.
    KNOWN_AUTHENTICATORS = "!has(self.routes) || self.routes.all(r, !has(r.authenticators) || r.authenticators.all(n, has(self.authenticators) && self.authenticators.exists(a, a.name == n)))"
        => "a route names an authenticator that the policy does not have; use names from spec.authenticators";
    /// On `spec.authenticators`.
    UNIQUE_AUTHENTICATORS = "self.all(x, self.exists_one(y, y.name == x.name))"
        => "two authenticators have the same name; give each its own";
    /// On `spec.routes`.
    UNIQUE_ROUTES = "self.all(x, self.exists_one(y, x.name == y.name))"
        => "two routes have the same name; give each its own";
    /// On `headers` of `forward`.
    UNIQUE_HEADERS = "self.all(x, self.exists_one(y, y.name.lowerAscii() == x.name.lowerAscii()))"
        => "two entries set the same header (case does not count); keep one";
    /// On a header of `forward`.
    ONE_VALUE = "[has(self.claim), has(self.cel), has(self.hmacSHA256)].filter(x, x).size() == 1"
        => "set exactly one of claim, cel and hmacSHA256";
    /// On `forward`.
    ONE_CREDENTIAL = "!(has(self.credential) && has(self.replaceCredential))"
        => "set at most one of credential and replaceCredential: the credential is kept, removed or replaced";
    /// On `replaceCredential`.
    ONE_REPLACEMENT = "[has(self.signedJWT), has(self.clientCredentials), has(self.tokenExchange), has(self.static)].filter(x, x).size() == 1"
        => "set exactly one of signedJWT, clientCredentials, tokenExchange and static";
    /// On `signedJWT`.
    SHARED_KEY = "has(self.secretKeyRef) || !(self.algorithm in ['HS256', 'HS384', 'HS512'])"
        => "HS256, HS384 and HS512 need secretKeyRef: a shared secret of our own could be known to no upstream";
    /// On `refreshBefore`.
    REFRESH_BEFORE = "duration(self) <= duration('1h')"
        => "refreshBefore is at most 1h";
    /// On `signedJWT`.
    ONE_AUDIENCE = "!has(self.audience) || !has(self.claims) || !('aud' in self.claims)"
        => "audience is the claim aud; set one of the two";
    /// On `claims` of `signedJWT`.
    TIMES_ARE_OURS = "!('iat' in self) && !('exp' in self) && !('nbf' in self)"
        => "iat and exp are added by lifetime, and nbf would only start a token late; remove the claim";
    /// On `lifetime`.
    TOKEN_LIFETIME = "duration(self) >= duration('1s') && duration(self) <= duration('1h')"
        => "lifetime is 1s to 1h";
    /// On `errors.responses`.
    KNOWN_CODES = "self.all(c, c in ['malformed_request', 'missing_credential', 'invalid_token', 'expired_token', 'claim_missing', 'forbidden', 'insufficient_scope', 'claim_unusable', 'not_found', 'rate_limited', 'too_many_failures', 'unavailable'])"
        => "each key is the code of a refusal by this policy, such as missing_credential, forbidden or not_found";
    /// On an entry of `errors.responses`.
    ERROR_STATUS = "has(self.location) ? has(self.status) && self.status in [302, 303, 307, 308] : !has(self.status) || self.status >= 400"
        => "status is 400 to 599, or with location 302, 303, 307 or 308";
    /// On a route.
    NO_UPSTREAM = "!(has(self.respond) && has(self.forward))"
        => "a route that responds forwards nothing; remove forward or respond";
    /// On `respond`.
    NO_BODY = "!has(self.body) || !(self.status in [204, 205, 304])"
        => "an answer of status 204, 205 or 304 has no body; remove it";
    /// On `cors`.
    CORS_WILDCARDS = "!has(self.allowCredentials) || !self.allowCredentials || (!('*' in self.allowOrigins) && (!has(self.allowHeaders) || !('*' in self.allowHeaders)) && (!has(self.exposeHeaders) || !('*' in self.exposeHeaders)))"
        => "with allowCredentials nothing may be *: list the origins and headers";
    /// On a credential source.
    ONE_SOURCE = "[has(self.header), has(self.cookie), has(self.query), has(self.webSocketProtocol), has(self.clientCertificate)].filter(x, x).size() == 1"
        => "set exactly one of header, cookie, query, webSocketProtocol and clientCertificate";
    /// On a credential source.
    SCHEME_OF_HEADER = "!has(self.scheme) || has(self.header)"
        => "scheme goes with header only; remove it, or set header";
    /// On a credential source.
    ORIGINS_OF_COOKIE = "!has(self.allowedOrigins) || has(self.cookie)"
        => "allowedOrigins goes with cookie only; remove it, or set cookie";
    /// On a credential source.
    ONLY_ON_OF_QUERY = "!has(self.onlyOn) || has(self.query)"
        => "onlyOn goes with query only; remove it, or set query";
    /// On an authenticator.
    ONE_KIND = "[has(self.jwt), has(self.apiKey), has(self.introspection), has(self.userInfo), has(self.webhook), has(self.clientCertificate), has(self.serviceAccount)].filter(x, x).size() == 1"
        => "an authenticator needs exactly one kind; set jwt, apiKey, introspection, userInfo, webhook, clientCertificate or serviceAccount";
    /// On an authenticator.
    CODE_OF_TOKEN = "!has(self.totp) || has(self.jwt)"
        => "totp goes with jwt only, whose token it adds a code to; remove it, or set jwt";
    /// On the `period` of codes. No text is put together: the API server counts that as unbounded, and refuses the whole definition.
    CODE_PERIOD = "duration(self) >= duration('15s') && duration(self) <= duration('2m') && duration(self).getMilliseconds() % 1000 == 0"
        => "period is 15s to 2m, in whole seconds";
    /// On `accepts`.
    ONE_ACCEPTS = "has(self.prefix) != has(self.pattern)"
        => "set exactly one of prefix and pattern";
    /// On `client` of an authorization server.
    CLIENT_SECRET = "(has(self.method) && self.method == 'PrivateKeyJWT') != has(self.clientSecretRef)"
        => "ClientSecretBasic and ClientSecretPost need clientSecretRef, and PrivateKeyJWT has none";
    /// On `client` of an authorization server.
    CLIENT_KEY = "(has(self.method) && self.method == 'PrivateKeyJWT') ? has(self.privateKeyRef) : !has(self.privateKeyRef) && !has(self.keyID) && !has(self.assertionAudience)"
        => "PrivateKeyJWT needs privateKeyRef; keyID and assertionAudience go with it only";
    /// On `timeout` of a service that is asked.
    CALL_TIMEOUT = "duration(self) >= duration('10ms') && duration(self) <= duration('10s')"
        => "timeout is 10ms to 10s";
    /// On `cacheDuration` of a service that is asked.
    ANSWER_AGE = "duration(self) <= duration('1h')"
        => "cacheDuration is at most 1h";
    /// On `apiKey`.
    ONE_KEY_KIND = "has(self.sha256) != has(self.cqaV1)"
        => "set exactly one of sha256 and cqaV1";
    /// On references to the Secrets of API keys.
    ONE_SELECTION = "has(self.secretRef) != has(self.secretSelector)"
        => "set exactly one of secretRef and secretSelector";
    /// On `jwt`.
    JWT_KEYS = "has(self.issuer) || has(self.jwks) || has(self.keys)"
        => "set issuer, so that keys can be found, or jwks or keys with the keys themselves";
    /// On `jwt`.
    JWT_ONE_KEY_SOURCE = "[has(self.jwks), has(self.jwksURI), has(self.keys)].filter(x, x).size() <= 1"
        => "set at most one of jwks, jwksURI and keys";
    /// On `jwt`.
    JWT_STATIC_KEYS = "!has(self.keys) || !has(self.algorithms)"
        => "algorithms does not go with keys, where each key names its algorithm; remove it";
    /// On `jwt`.
    JWT_FETCHED_KEYS = "!(has(self.jwks) || has(self.keys)) || (!has(self.jwksCacheDuration) && !has(self.caBundleRef))"
        => "jwksCacheDuration and caBundleRef are about keys that are fetched, which those of jwks and keys are not; remove them";
    /// On `jwt`.
    JWT_AUDIENCES = "has(self.audiences) || (has(self.audienceCheck) ? self.audienceCheck == 'Disabled' : has(self.jwks) || has(self.keys))"
        => "set audiences to the names this service has at the issuer, or audienceCheck: Disabled to accept tokens for anybody";
    /// On `clockSkew`.
    CLOCK_SKEW = "duration(self) <= duration('5m')"
        => "clockSkew is at most 5m";
    /// On the `window` of a limit.
    LIMIT_WINDOW = "duration(self) >= duration('1s') && duration(self) <= duration('24h')"
        => "a window is 1s to 24h long";
    /// On maps from roles.
    ROLE_NAMES = "self.all(role, size(role) >= 1 && size(role) <= 256)"
        => "the name of a role has 1 to 256 characters";
    /// On `jwks` and `deniedTokenIDs`.
    ONE_REFERENCE = "has(self.configMapKeyRef) != has(self.secretKeyRef)"
        => "set exactly one of configMapKeyRef and secretKeyRef";
    /// On a path.
    PATH_ABSOLUTE = "self.startsWith('/')"
        => "a path begins with /";
    /// On a path.
    PATH_TAIL = "!self.contains('{**}/')"
        => "{**} stands for the rest of the path: write it as the last segment, and {*} for one segment in the middle";
    /// On a path.
    PATH_BYTES = "size(bytes(self)) <= 1024"
        => "a path has at most 1024 bytes in UTF-8";
    /// On `spec` of a DataSource.
    SERVER_STAYS = "!has(oldSelf.mcpServer) || has(self.mcpServer)"
        => "mcpServer cannot be removed, stored tokens belong to it; create another DataSource";
    /// On `spec` of a DataSource.
    AUTHORIZATION_SERVER_STAYS = "!has(oldSelf.perUserAuth) || !has(oldSelf.perUserAuth.authorizationServer) || (has(self.perUserAuth) && has(self.perUserAuth.authorizationServer))"
        => "authorizationServer cannot be removed, stored tokens belong to it; create another DataSource";
    /// On `spec.tools` of a DataSource.
    UNIQUE_TOOLS = "self.all(x, self.exists_one(y, y.name == x.name))"
        => "two tools have the same name; give each its own";
    /// On `mcpServer.url`.
    SERVER_URL = "self == oldSelf"
        => "the URL of mcpServer cannot be changed, stored tokens belong to it; create another DataSource";
    /// On `authorizationServer.issuer`.
    AUTHORIZATION_ISSUER = "self == oldSelf"
        => "the issuer of authorizationServer cannot be changed, stored tokens belong to it; create another DataSource";
    /// On `client`.
    ONE_CLIENT = "has(self.dynamicRegistration) != has(self.registered)"
        => "set exactly one of dynamicRegistration and registered";
}
