//! Keys and records in files: what is changed, and what is refused.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{revoke::revoke, *};

fn code(failure: &Failure) -> u8 {
    match failure {
        Failure::Untold(code, _) | Failure::Told(code) => *code,
    }
}

#[test]
fn lifetimes() {
    for (text, seconds) in
        [("1s", Some(1)), ("90d", Some(90 * 86_400)), ("365d", Some(365 * 86_400)), ("8760h", Some(365 * 86_400))]
    {
        assert_eq!(ttl(text).ok().map(|ttl| ttl.as_secs()), seconds, "{text}");
    }
    for text in ["", "d", "0d", "366d", "1w", "-1d", "1.5h", "90", "9999999999999999999d", "1é"] {
        assert!(ttl(text).is_err(), "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_told_once() {
    let missing = ListArgs { paths: vec!["/nowhere/keys.yaml".into()], user: None, output: Output::Text };
    let mut out = Vec::new();
    // Told where it was noticed: here only the exit code is left.
    assert!(matches!(list(&missing, &mut out), Err(Failure::Told(USAGE))));
    assert_eq!(command(&Action::List(missing), &mut out), USAGE);
    assert!(out.is_empty());
}

#[test]
fn revoking_changes_one_value_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.yaml");
    let (one, two) = ("1".repeat(32), "2".repeat(32));
    let record =
        |user: &str| json!({"hash": "0".repeat(64), "user": user, "expires_at": null, "revoked_at": null}).to_string();
    for (field, value) in [
        ("stringData", format!("'{}'", record("o''neil"))),
        ("stringData", serde_json::Value::from(record("alice")).to_string()),
        ("stringData", format!("|-\n    {}", record("alice"))),
        ("data", BASE64.encode(record("alice"))),
    ] {
        let other = if field == "data" { BASE64.encode(record("bob")) } else { format!("'{}'", record("bob")) };
        let text = format!(
            "# A comment.\nkind: Secret # another\napiVersion: v1\nmetadata: {{name: s, namespace: n}}\n{field}:\n  \"{one}\": {value}\n  \"{two}\": {other}\n---\n# The end.\n"
        );
        fs::write(&file, &text).unwrap();
        let args = |id: &str| RevokeArgs { ids: vec![id.to_owned()], files: vec![file.clone()] };
        let mut out = Vec::new();
        assert_eq!(revoke(&args(&one), &mut out), Ok(()), "{text}");
        let after = fs::read_to_string(&file).unwrap();
        let differing = text.lines().zip(after.lines()).filter(|(old, new)| old != new).count();
        assert_eq!((differing, text.lines().count()), (1, after.lines().count()), "{after}");
        let objects = objects(std::slice::from_ref(&file)).unwrap();
        let revoked: Vec<_> =
            records(&objects).filter(|(_, _, one)| one.revoked_at.is_some()).map(|(_, id, _)| id.to_owned()).collect();
        assert_eq!(revoked, std::slice::from_ref(&one));
        assert_eq!(revoke(&args(&one), &mut out), Ok(()), "twice is fine");
        assert_eq!(fs::read_to_string(&file).unwrap(), after);
        assert_eq!(revoke(&args("3"), &mut out).map_err(|failure| code(&failure)), Err(1));
    }
}

#[test]
fn the_twenty_first_key_of_a_user_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, pepper) = (folder.path().join("keys.yaml"), folder.path().join("pepper"));
    fs::write(&pepper, [b'p'; 32]).unwrap();
    let entry = |n: usize, user: &str, revoked: &str| {
        let record =
            format!(r#"{{"hash":"{}","user":"{user}","expires_at":null,"revoked_at":{revoked}}}"#, "0".repeat(64));
        format!("  \"{n:032x}\": '{record}'\n")
    };
    let text = |active: usize| {
        let rows: Vec<_> = (0..active).map(|n| entry(n, "alice", "null")).collect();
        let head = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n";
        format!("{head}{}{}{}", rows.concat(), entry(90, "alice", "\"2025-01-01T00:00:00Z\""), entry(91, "bob", "null"))
    };
    for (active, expected) in [(19, Ok(())), (20, Err(1))] {
        fs::write(&file, text(active)).unwrap();
        let args = MintArgs {
            user: "alice".to_owned(),
            ttl: SignedDuration::from_hours(1),
            format: Format::CqaV1,
            pepper_file: Some(pepper.clone()),
            records: vec![file.clone()],
            output: Output::Text,
        };
        assert_eq!(mint(&args, &mut Vec::new()).map_err(|failure| code(&failure)), expected, "{active}");
    }
}
