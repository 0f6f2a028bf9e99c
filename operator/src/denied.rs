//! Calls that the API server did not permit, counted wherever they come from: a permission that is missing is told by name.
//!
//! Owns the metric and how a call is named. Must never change a call or its answer.

use authz::server::Registry;
use http::{Method, Request, StatusCode};
use kube::{Client, client::Body};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

/// A call, as roles name it. Bounded: we call what is written in this crate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    verb: &'static str,
    resource: String,
}

/// This client, whose refused calls are counted.
pub fn counted(client: Client, registry: &mut Registry) -> Client {
    let denied = Family::<Called, Counter>::default();
    denied.get_or_create(&Called { verb: "list", resource: "authpolicies".to_owned() }).inc_by(0);
    let help = "Calls that the API server did not permit, by verb and resource";
    registry.register("gatewright_api_calls_denied", help, denied.clone());
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, denied) = (client.clone(), denied.clone());
        async move {
            let called = Called::of(request.method(), request.uri().path(), request.uri().query());
            let answer = client.send(request).await?;
            if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer.status()) {
                denied.get_or_create(&called).inc();
            }
            Ok::<_, kube::Error>(answer)
        }
    });
    Client::new(service, namespace)
}

// === impl Called ===

impl Called {
    fn of(method: &Method, path: &str, query: Option<&str>) -> Self {
        let mut parts = path.trim_matches('/').split('/');
        // `api/VERSION` or `apis/GROUP/VERSION`.
        let prefix = match parts.next() {
            Some("api") => 1,
            Some("apis") => 2,
            // Of those that are no resource we ask for descriptions alone.
            _ => return Self { verb: "get", resource: "/openapi/v3".to_owned() },
        };
        let mut parts = parts.skip(prefix).peekable();
        let (mut resource, mut name) = (parts.next().unwrap_or_default(), parts.next());
        // What is inside a namespace; else the namespace itself is meant.
        if resource == "namespaces" && parts.peek().is_some() {
            (resource, name) = (parts.next().unwrap_or_default(), parts.next());
        }
        let resource = parts.next().map_or_else(|| resource.to_owned(), |part| format!("{resource}/{part}"));
        let watches = query.is_some_and(|query| query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1"));
        let verb = match (method, name) {
            (&Method::GET, _) if watches => "watch",
            (&Method::GET, None) => "list",
            (&Method::GET, Some(_)) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, _) => "delete",
            _ => "other",
        };
        Self { verb, resource }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;

    use super::*;

    #[test]
    fn calls_are_named_as_roles_name_them() {
        let policies = "/apis/gatewright.dev/v1alpha1/authpolicies";
        let one = "/apis/gatewright.dev/v1alpha1/namespaces/apps/authpolicies/shop";
        for (method, path, verb, resource) in [
            (Method::GET, policies, "list", "authpolicies"),
            (Method::GET, "/apis/gatewright.dev/v1alpha1/authpolicies?limit=500&watch=true", "watch", "authpolicies"),
            (Method::GET, "/apis/gatewright.dev/v1alpha1/namespaces/apps/authpolicies?a=b", "list", "authpolicies"),
            (Method::PATCH, &format!("{one}/status?force=true"), "patch", "authpolicies/status"),
            (Method::GET, one, "get", "authpolicies"),
            (Method::GET, "/api/v1/namespaces?watch=1", "watch", "namespaces"),
            (Method::GET, "/api/v1/namespaces/apps", "get", "namespaces"),
            (Method::POST, "/api/v1/namespaces/apps/secrets", "create", "secrets"),
            (Method::PUT, "/api/v1/namespaces/apps/secrets/watch=true", "update", "secrets"),
            (Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews", "create", "tokenreviews"),
            (Method::GET, "/apis/rbac.authorization.k8s.io/v1/clusterroles/operator", "get", "clusterroles"),
            (Method::GET, "/openapi/v3", "get", "/openapi/v3"),
            (Method::GET, "/openapi/v3/apis/gatewright.dev/v1alpha1?hash=1", "get", "/openapi/v3"),
        ] {
            let uri: http::Uri = path.parse().unwrap();
            let called = Called::of(&method, uri.path(), uri.query());
            assert_eq!((called.verb, &*called.resource), (verb, resource), "{method} {path}");
        }
    }

    #[tokio::test]
    async fn what_is_refused_is_counted_and_handed_through() {
        let answers = tower::service_fn(|request: Request<Body>| {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() =
                if request.uri().path().contains("secrets") { StatusCode::FORBIDDEN } else { StatusCode::OK };
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        let mut registry = Registry::default();
        let client = counted(Client::new(answers, "apps"), &mut registry);
        assert_eq!(client.default_namespace(), "apps");
        for (path, status) in [("/api/v1/secrets", 403), ("/api/v1/secrets", 403), ("/api/v1/configmaps", 200)] {
            let answer = client.send(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
        }
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        assert!(page.contains("gatewright_api_calls_denied_total{verb=\"list\",resource=\"secrets\"} 2\n"), "{page}");
        assert!(!page.contains("configmaps"), "{page}");
    }
}
