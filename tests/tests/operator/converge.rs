//! What is written to the API server is enforced, and status says what is.

use serde_json::json;
use tests::{
    operator::{APPS, HOME},
    wait::{self, LONG},
};

use crate::{
    Outcome, World, apply, apply_secret, broken, condition, marker, open, path, secret, signed, token, until_condition,
};

const STRONG: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn an_edit_is_enforced_and_status_says_so() -> Outcome {
    let world = World::start().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.plane.until_answer("shop.test", 200).await?;
    let object = until_condition(&world.api, "shop", "Programmed", "True", "Programmed").await?;
    for kind in ["Accepted", "ResolvedRefs"] {
        assert_eq!(condition(&object, kind).map(|(status, ..)| status).as_deref(), Some("True"), "{object:#}");
    }
    assert_eq!(object["status"]["hostnames"], json!(["shop.test"]));
    assert_eq!(object["status"]["programmedGeneration"], object["metadata"]["generation"]);

    let edited = json!({"externalHostnames": ["shop.test", "new.test"], "requireAuth": false, "unmatched": "NotFound"});
    apply(&world.api, "shop", edited).await?;
    world.plane.until_answer("new.test", 404).await?;
    let again = until_condition(&world.api, "shop", "Programmed", "True", "Programmed").await?;
    assert_eq!((&again["metadata"]["generation"], &again["status"]["programmedGeneration"]), (&json!(2), &json!(2)));
    let since =
        |object: &serde_json::Value, at: usize| object["status"]["conditions"][at]["lastTransitionTime"].clone();
    assert_eq!(since(&again, 0), since(&object, 0), "Accepted held all along, so its time is kept");

    world.api.delete(&path("shop")).await?;
    world.plane.until_answer("shop.test", 403).await
}

#[tokio::test]
async fn a_bad_object_holds_up_nobody() -> Outcome {
    let world = World::start().await?;
    apply(&world.api, "bad", broken("bad.test")).await?;
    apply(&world.api, "good", open("good.test")).await?;
    world.plane.until_answer("good.test", 200).await?;
    world.plane.until_answer("bad.test", 503).await?;
    let object = until_condition(&world.api, "bad", "Accepted", "False", "Invalid").await?;
    let (_, _, message, _) = condition(&object, "Accepted").expect("it is there");
    assert!(message.contains("spec.require.cel"), "{message}");
    until_condition(&world.api, "good", "Programmed", "True", "Programmed").await.map(|_| ())
}

#[tokio::test]
async fn a_rejected_edit_keeps_the_last_good_one_also_across_a_restart() -> Outcome {
    let mut world = World::start().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.plane.until_answer("shop.test", 200).await?;
    // Kept before anything else is: a marker's own copy is written after it.
    marker(&world, "before").await?;
    until_kept(&world).await?;
    apply(&world.api, "shop", broken("shop.test")).await?;
    until_condition(&world.api, "shop", "Programmed", "False", "LastGoodInForce").await?;
    assert_eq!(world.plane.answer("shop.test").await, 200);

    world.operator.kill();
    world.operator.launch()?;
    world.operator.until_ready().await?;
    marker(&world, "after").await?;
    assert_eq!(world.plane.answer("shop.test").await, 200, "a new operator knows what was in force");
    until_condition(&world.api, "shop", "Programmed", "False", "LastGoodInForce").await?;

    apply(
        &world.api,
        "shop",
        json!({"externalHostnames": ["shop.test"], "requireAuth": false, "unmatched": "NotFound"}),
    )
    .await?;
    world.plane.until_answer("shop.test", 404).await
}

/// Waits until two policies have a sealed copy; their names are of different parts.
async fn until_kept(world: &World) -> Outcome {
    let path = format!("/api/v1/namespaces/{HOME}/secrets");
    wait::until("two sealed copies", LONG, || async {
        let list = world.api.get(&path).await.ok()?.body;
        let names = list["items"].as_array()?.iter().filter_map(|item| item["metadata"]["name"].as_str());
        (names.filter(|name| name.starts_with("gatewright-last-good")).count() >= 2).then_some(())
    })
    .await
}

#[tokio::test]
async fn secrets_are_followed() -> Outcome {
    let world = World::start().await?;
    apply(&world.api, "app", signed("app.test", "key")).await?;
    until_condition(&world.api, "app", "ResolvedRefs", "False", "SecretMissing").await?;
    world.plane.until_answer("app.test", 401).await?;
    apply_secret(&world.api, "key", "jwt", "short").await?;
    until_condition(&world.api, "app", "ResolvedRefs", "False", "WeakSecret").await?;
    apply_secret(&world.api, "key", "jwt", STRONG).await?;
    until_condition(&world.api, "app", "ResolvedRefs", "True", "ResolvedRefs").await?;
    world.api.delete(&secret("key")).await?;
    until_condition(&world.api, "app", "ResolvedRefs", "False", "SecretMissing").await?;
    apply_secret(&world.api, "key", "jwt", STRONG).await?;
    until_condition(&world.api, "app", "ResolvedRefs", "True", "ResolvedRefs").await?;
    // A Secret that nobody names is nobody's business: its content was never asked for.
    apply_secret(&world.api, "foreign", "jwt", STRONG).await?;
    marker(&world, "later").await?;
    let asked = world.operator.proxy.seen().into_iter().filter(|seen| seen.path.contains("/secrets/foreign"));
    assert_eq!(asked.count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_secret_that_makes_no_sense_harms_its_own_policy_only() -> Outcome {
    let mut world = World::start().await?;
    apply_secret(&world.api, "key", "jwt", STRONG).await?;
    let jwks = json!({"algorithm": "RS256", "secretKeyRef": {"name": "rsa", "key": "pem"}});
    let app = json!({"externalHostnames": ["rsa.test"], "authenticators": [{"name": "app", "jwt": {"keys": [jwks]}}]});
    apply(&world.api, "rsa", app).await?;
    apply(&world.api, "app", signed("app.test", "key")).await?;
    until_condition(&world.api, "app", "ResolvedRefs", "True", "ResolvedRefs").await?;
    let good = token(STRONG);
    let good = [("authorization", good.as_str())];
    // Bytes that are no text, and as many as the API takes.
    for content in [vec![0xff; 600_000], vec![0, 0xfe, 10], Vec::new()] {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let data = json!({"pem": STANDARD.encode(&content)});
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "rsa"}, "data": data});
        let path = format!("{}?fieldManager=person&force=true", secret("rsa"));
        world.api.apply_text(&path, &object.to_string()).await?;
        until_condition(&world.api, "rsa", "ResolvedRefs", "False", "BadContent").await?;
        world.operator.must_run()?;
        assert_eq!(world.plane.answer_with("app.test", &good).await, 200);
        assert_eq!(world.plane.answer("rsa.test").await, 401);
    }
    // An entry under another name is an entry that is missing.
    let renamed = json!({"data": {"jwt": null, "renamed": "YQ=="}});
    world.api.merge(&secret("key"), &renamed).await?;
    until_condition(&world.api, "app", "ResolvedRefs", "False", "SecretMissing").await?;
    wait::until("the token to be refused", LONG, || async {
        (world.plane.answer_with("app.test", &good).await != 200).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_last_good_version_keeps_its_secrets_also_across_a_restart() -> Outcome {
    let mut world = World::start().await?;
    apply_secret(&world.api, "key", "jwt", STRONG).await?;
    apply(&world.api, "app", signed("app.test", "key")).await?;
    until_condition(&world.api, "app", "Programmed", "True", "Programmed").await?;
    marker(&world, "before").await?;
    until_kept(&world).await?;
    let token = token(STRONG);
    let good = [("authorization", token.as_str())];
    assert_eq!(world.plane.answer_with("app.test", &good).await, 200, "{}", world.plane.output());
    let mut edited = signed("app.test", "key");
    edited["require"] = json!({"cel": "principal."});
    apply(&world.api, "app", edited).await?;
    until_condition(&world.api, "app", "Programmed", "False", "LastGoodInForce").await?;
    marker(&world, "between").await?;
    assert_eq!(world.plane.answer_with("app.test", &good).await, 200, "{}", world.plane.output());
    world.operator.kill();
    world.operator.launch()?;
    world.operator.until_ready().await?;
    marker(&world, "after").await?;
    assert_eq!(world.plane.answer_with("app.test", &good).await, 200, "{}", world.plane.output());
    Ok(())
}

#[tokio::test]
async fn an_object_of_the_same_name_starts_anew() -> Outcome {
    let world = World::start().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    world.plane.until_answer("shop.test", 200).await?;
    world.api.delete(&path("shop")).await?;
    apply(&world.api, "shop", broken("shop.test")).await?;
    // What was in force belonged to another object.
    world.plane.until_answer("shop.test", 503).await
}

#[tokio::test]
async fn status_is_written_when_something_changed_and_not_by_itself() -> Outcome {
    let world = World::start().await?;
    apply(&world.api, "shop", open("shop.test")).await?;
    until_condition(&world.api, "shop", "Programmed", "True", "Programmed").await?;
    marker(&world, "settled").await?;
    world.operator.proxy.forget();
    // A label is no part of what is compiled, and our own write is none either.
    let label = json!({"metadata": {"labels": {"team": "a"}}});
    world.api.merge(&path("shop"), &label).await?;
    for name in ["one", "two", "three"] {
        marker(&world, name).await?;
    }
    let statuses = |of: &str| {
        let path = format!("/namespaces/{APPS}/authpolicies/{of}/status");
        world.operator.proxy.writes().into_iter().filter(|seen| seen.path.contains(&path)).count()
    };
    assert_eq!((statuses("shop"), statuses("settled")), (0, 0));
    let of_one = statuses("one");
    assert!((1..=3).contains(&of_one), "one object, {of_one} writes");
    // A person who edits status is put right, once.
    let vandal = json!({"status": {"conditions": [], "hostnames": ["evil.test"]}});
    world.api.merge(&format!("{}/status", path("shop")), &vandal).await?;
    let object = until_condition(&world.api, "shop", "Programmed", "True", "Programmed").await?;
    assert_eq!(object["status"]["hostnames"], json!(["shop.test"]));
    marker(&world, "four").await?;
    let of_shop = statuses("shop");
    assert!((1..=2).contains(&of_shop), "{of_shop} writes");
    Ok(())
}

#[tokio::test]
async fn without_a_data_plane_nothing_is_programmed() -> Outcome {
    let api = tests::apiserver::ApiServer::start().await?;
    tests::operator::install(&api).await?;
    let mut operator = tests::operator::Operator::start(&api, "operator-0").await?;
    operator.until_ready().await?;
    apply(&api, "shop", open("shop.test")).await?;
    until_condition(&api, "shop", "Programmed", "False", "NoDataPlane").await.map(|_| ())
}
