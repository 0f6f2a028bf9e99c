//! Every permission taken away, one after the other: what is in force stays, the process stays, and all is well once it is back.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{
    PeerError,
    apiserver::ApiServer,
    helm,
    operator::{APPS, DataPlane, HOME, Operator, PERMISSIONS, permit},
    wait::{self, LONG},
};

use crate::{Outcome, World, apply, crash, marker, open, path};

/// What an operator does not need that starts on nothing, brings everything into force and certifies a data plane.
const LATER: [(&str, &str, &str); 4] = [
    // When a CA or the certificate of proxies is due, an Event is told again, or a pod of somebody else connects.
    ("", "configmaps", "patch"),
    ("", "pods", "get"),
    ("", "secrets", "patch"),
    ("events.k8s.io", "events", "patch"),
];

#[tokio::test]
async fn a_permission_that_is_gone_is_waited_for() -> Outcome {
    let mut world = World::start().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.plane.until_answer("shop.test", 200).await?;
    for (group, resource, verbs) in PERMISSIONS {
        for verb in verbs {
            permit(&world.api, |g, r, v| (g, r, v) != (group, resource, verb)).await?;
            // Watches that are open live on: end them, so that the permission is missed.
            let closed = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "code": 500}});
            world.operator.proxy.inject("watch=true", &closed);
            let host = format!("{verb}-{resource}.shop.test").replace('/', "-");
            apply(&world.api, "shop", json!({"externalHostnames": ["shop.test", host], "requireAuth": false})).await?;
            let missed = format!("gatewright_api_calls_denied_total{{verb=\"{verb}\",resource=\"{resource}\"}} ");
            let missed = |page: &str| page.lines().any(|line| line.starts_with(&missed) && !line.ends_with(" 0"));
            wait::until("the lack to be told, or not to matter", LONG, || async {
                let told = missed(&world.operator.admin("/metrics").await.1);
                (told || world.plane.answer(&host).await == 200).then_some(())
            })
            .await?;
            assert_eq!(world.plane.answer("shop.test").await, 200, "without {verb} {resource}");
            world.operator.must_run()?;
            permit(&world.api, |_, _, _| true).await?;
            marker(&world, "again").await?;
            assert_eq!(world.plane.answer("shop.test").await, 200, "after {verb} {resource}");
            world.api.delete(&path("again")).await?;
            world.plane.until_answer("again.marker.test", 403).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_operator_that_starts_without_a_permission_goes_on_once_it_is_given() -> Outcome {
    for (resource, verb) in
        [("authpolicies", "list"), ("secrets", "get"), ("secrets", "create"), ("leases", "get"), ("leases", "create")]
    {
        let api = tests::apiserver::ApiServer::start().await?;
        tests::operator::install(&api).await?;
        permit(&api, |_, r, v| (r, v) != (resource, verb)).await?;
        apply(&api, "shop", open("shop.test")).await?;
        let mut operator = tests::operator::Operator::start(&api, "operator-0").await?;
        tests::wait::until(&format!("{verb} {resource} to be refused"), tests::wait::LONG, || async {
            let word = resource.to_owned();
            operator.proxy.seen().iter().any(|seen| seen.status == 403 && seen.path.contains(&word)).then_some(())
        })
        .await?;
        operator.must_run()?;
        assert_ne!(operator.admin("/readyz").await.0, 200, "without {verb} {resource}");
        permit(&api, |_, _, _| true).await?;
        operator.until_ready().await?;
    }
    Ok(())
}

/// A role or binding of the chart for the operator, and where it belongs.
pub(crate) struct Grant {
    path: String,
    object: Value,
}

/// Everything that the chart grants to the operator under these values.
pub(crate) fn grants(values: &[&str]) -> Result<Vec<Grant>, PeerError> {
    let chart = helm::chart("gatewright").display().to_string();
    let mut arguments = vec!["template", helm::RELEASE, &chart, "--namespace", HOME];
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    let printed = helm::helm(&arguments)?;
    assert!(printed.good, "{}", printed.err);
    let mut grants = Vec::new();
    for text in printed.out.split("\n---\n") {
        let object: Value =
            serde_yaml::from_str(text).map_err(|error| PeerError::unreadable("a document of the chart", &error))?;
        let of = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let plural = match of("/kind") {
            "ClusterRole" => "clusterroles",
            "ClusterRoleBinding" => "clusterrolebindings",
            "Role" => "roles",
            "RoleBinding" => "rolebindings",
            _ => continue,
        };
        if !of("/metadata/name").starts_with("gatewright-operator") {
            continue;
        }
        let place = match of("/metadata/namespace") {
            "" => String::new(),
            namespace => format!("/namespaces/{namespace}"),
        };
        let path = format!("/apis/rbac.authorization.k8s.io/v1{place}/{plural}/{}", of("/metadata/name"));
        grants.push(Grant { path, object });
    }
    Ok(grants)
}

/// The token of a ServiceAccount that those grants are for.
pub(crate) async fn account(api: &ApiServer) -> Result<String, PeerError> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "gatewright-operator"}});
    api.create(&format!("/api/v1/namespaces/{HOME}/serviceaccounts"), &account).await?;
    api.account_token(HOME, "gatewright-operator", &[], &Value::Null).await
}

/// Group, resource and verb of every rule.
fn rights(grants: &[Grant]) -> BTreeSet<(String, String, String)> {
    let texts = |rule: &Value, name: &str| -> Vec<String> {
        rule[name].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in grants.iter().flat_map(|grant| grant.object["rules"].as_array().into_iter().flatten()) {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

/// Applies the chart's grants without one right.
pub(crate) async fn grant(api: &ApiServer, grants: &[Grant], without: Option<&(String, String, String)>) -> Outcome {
    for Grant { path, object } in grants {
        let mut object = object.clone();
        if let (Some((group, resource, verb)), Some(rules)) = (without, object["rules"].as_array()) {
            object["rules"] = rules.iter().flat_map(|rule| cut(rule, group, resource, verb)).collect();
        }
        api.apply_text(&format!("{path}?fieldManager=tests&force=true"), &object.to_string()).await?;
    }
    Ok(())
}

/// A rule without one verb on one resource: two rules, if it is about more resources.
fn cut(rule: &Value, group: &str, resource: &str, verb: &str) -> Vec<Value> {
    let holds = |name: &str, text: &str| rule[name].as_array().is_some_and(|all| all.iter().any(|one| one == text));
    if !(holds("apiGroups", group) && holds("resources", resource) && holds("verbs", verb)) {
        return vec![rule.clone()];
    }
    let without = |name: &str, text: &str| -> Vec<Value> {
        rule[name].as_array().into_iter().flatten().filter(|one| *one != text).cloned().collect()
    };
    let (mut others, mut this) = (rule.clone(), rule.clone());
    others["resources"] = without("resources", resource).into();
    this["resources"] = json!([resource]);
    this["verbs"] = without("verbs", verb).into();
    let whole = |rule: &Value| ["resources", "verbs"].iter().all(|name| rule[name] != json!([]));
    [others, this].into_iter().filter(whole).collect()
}

/// A day's work: everything comes into force, and a data plane that is new is certified and served. What takes time is waited for only
/// where this resource needs it.
async fn a_day(api: &ApiServer, operator: &Operator, pod: &str, resource: &str) -> Outcome {
    apply(api, "shop", open("shop.test")).await?;
    crash::until_settled(api).await?;
    let plane = DataPlane::start(api, operator, pod).await?;
    plane.until_answer("shop.test", 200).await?;
    let written = |path: &'static str| {
        wait::until(path, LONG, move || async move {
            let replaced = |seen: &tests::fault_proxy::Seen| seen.method == "PUT" && seen.status == 200;
            operator.proxy.writes().iter().any(|seen| replaced(seen) && seen.path.contains(path)).then_some(())
        })
    };
    match resource {
        // Renewed every few seconds.
        "leases" => written("/leases/gatewright-operator").await,
        // The sealed copy of an edit.
        "secrets" => {
            let edited = json!({"externalHostnames": ["shop.test"], "requireAuth": false, "unmatched": "Forbid"});
            apply(api, "shop", edited).await?;
            written("/secrets/gatewright-last-good").await
        }
        "datasources/status" => {
            let object = json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "DataSource", "metadata": {"name": "files"},
                "spec": {"displayName": "Files"}});
            let at = format!("/apis/gatewright.dev/v1alpha1/namespaces/{APPS}/datasources/files");
            api.delete(&at).await?;
            api.apply_text(&format!("{at}?fieldManager=person&force=true"), &object.to_string()).await?;
            wait::until("the status of a DataSource", LONG, || async {
                (!api.get(&at).await.ok()?.body["status"]["conditions"].is_null()).then_some(())
            })
            .await
        }
        _ => Ok(()),
    }
}

/// The chart's own roles, by a ServiceAccount: each verb taken away in turn is told by name, ends nothing, and is made up for once it is
/// given.
#[tokio::test]
async fn every_verb_that_the_chart_grants_is_missed_by_name() -> Outcome {
    let api = ApiServer::start().await?;
    tests::operator::install(&api).await?;
    let token = account(&api).await?;
    let (grants, mut unmissed) = (grants(&["rbac.secrets=Cluster"])?, BTreeSet::new());
    let rights = rights(&grants);
    assert!(rights.len() > 20, "{rights:?}");
    for (number, right) in rights.iter().enumerate() {
        crash::reset(&api).await?;
        grant(&api, &grants, Some(right)).await?;
        let mut operator =
            Operator::prepare_as(&api, &format!("operator-{number}"), &token, "gatewright-operator").await?;
        operator.launch()?;
        let (_, resource, verb) = right;
        let line = format!("gatewright_api_calls_denied_total{{verb=\"{verb}\",resource=\"{resource}\"}} ");
        let told = wait::until(&line, LONG * 4, || async {
            let page = operator.admin("/metrics").await.1;
            page.lines().find_map(|one| one.strip_prefix(&line)).filter(|count| *count != "0").map(drop)
        });
        let pod = format!("authz-{number}");
        let missed = tokio::select! {
            told = told => { told?; true }
            done = a_day(&api, &operator, &pod, resource) => { done?; false }
        };
        operator.must_run()?;
        if !missed {
            unmissed.insert(right.clone());
        }
        grant(&api, &grants, None).await?;
        a_day(&api, &operator, &format!("{pod}-again"), resource).await?;
        operator.until_ready().await?;
        // Whoever held it is dead; the next need not wait for the end of its time.
        drop(operator);
        api.delete(&format!("/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases")).await?;
    }
    let later = LATER.map(|(group, resource, verb)| (group.to_owned(), resource.to_owned(), verb.to_owned()));
    assert_eq!(unmissed, later.into(), "what is not needed on such a day is known");
    Ok(())
}
