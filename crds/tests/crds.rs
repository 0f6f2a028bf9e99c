//! The committed CustomResourceDefinitions are what the types say, and what an API server takes.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use crds::v1alpha1::{crds, crds_yaml, rules};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

fn visit(schema: &JSONSchemaProps, path: &str, with: &mut impl FnMut(&str, &JSONSchemaProps)) {
    with(path, schema);
    for (name, property) in schema.properties.iter().flatten() {
        visit(property, &format!("{path}.{name}"), with);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        visit(items, &format!("{path}[]"), with);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        visit(values, &format!("{path}[]"), with);
    }
}

fn visit_all(with: &mut impl FnMut(&str, &JSONSchemaProps)) {
    for definition in crds() {
        for schema in
            definition.spec.versions.iter().filter_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref())
        {
            visit(schema, &definition.spec.names.kind, with);
        }
    }
}

#[test]
fn committed_files_are_current() {
    let bless = env::var_os("GATEWRIGHT_BLESS").is_some();
    for definition in crds() {
        let names = &definition.spec.names;
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("yaml/gatewright.dev_{}.yaml", names.plural));
        let text = serde_yaml::to_string(&definition).unwrap();
        if bless {
            fs::write(&file, &text).unwrap();
        }
        let committed = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == text,
            "{} is stale: run `GATEWRIGHT_BLESS=1 cargo test -p crds --test crds` and read the difference",
            names.plural
        );
        assert!(crds_yaml().unwrap().contains(&text), "`gatewright crds` prints the {} as committed", names.plural);
    }
}

#[test]
fn definitions_read_back_as_they_were() {
    let stream = crds_yaml().unwrap();
    let read: Vec<CustomResourceDefinition> = serde_yaml::Deserializer::from_str(&stream)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect();
    assert_eq!(read, crds());
}

#[test]
fn schemas_are_structural_and_bounded() {
    let mut seen = 0;
    visit_all(&mut |path, schema| {
        seen += 1;
        let in_conditions = path.contains(".status.conditions[]");
        let kind = schema.type_.as_deref().unwrap_or_default();
        assert!(!kind.is_empty(), "{path} has a type");
        assert!(
            schema.any_of.is_none() && schema.one_of.is_none() && schema.all_of.is_none() && schema.not.is_none(),
            "{path} is no union"
        );
        assert!(
            schema.nullable.is_none() && schema.default.is_none() && schema.ref_path.is_none(),
            "{path} has no noise"
        );
        assert!(
            !matches!(schema.additional_properties, Some(JSONSchemaPropsOrBool::Bool(_))),
            "{path} has named members"
        );
        assert!(
            schema.enum_.is_none()
                || path.ends_with("[]")
                || schema.description.as_ref().is_some_and(|text| text.contains("Default:") || text.contains(": ")),
            "{path} names its words"
        );
        assert!(kind != "array" || schema.max_items.is_some(), "{path} is a bounded list");
        assert!(schema.additional_properties.is_none() || schema.max_properties.is_some(), "{path} is a bounded map");
        assert!(kind != "array" || schema.x_kubernetes_list_type.is_some(), "{path} says how it is merged");
        assert!(
            kind != "string" || in_conditions || schema.enum_.is_some() || schema.max_length.is_some(),
            "{path} is a bounded text"
        );
        let explained = schema.description.as_ref().is_some_and(|text| text.len() > 10 && text.ends_with('.'))
            || path.ends_with("[]");
        assert!(explained || in_conditions, "{path} is explained: {:?}", schema.description);
        if let Some(pattern) = &schema.pattern {
            assert!(
                regex::Regex::new(pattern).is_ok() && pattern.starts_with('^') && pattern.ends_with('$'),
                "{path} has a good pattern"
            );
        }
    });
    assert!(seen > 100, "only {seen} nodes: the walk has lost the schema");
}

#[test]
fn rules_in_the_definitions_are_the_rules_of_the_table() {
    let mut found = BTreeSet::new();
    visit_all(&mut |path, schema| {
        for rule in schema.x_kubernetes_validations.iter().flatten() {
            let message = rule.message.clone().unwrap_or_default();
            assert!(message.len() > 10, "{path}: `{}` says what would be right", rule.rule);
            found.insert((rule.rule.clone(), message));
        }
    });
    let table: BTreeSet<_> = rules::ALL.iter().map(|rule| (rule.rule.to_owned(), rule.message.to_owned())).collect();
    assert_eq!(found, table);
    assert_eq!(table.len(), rules::ALL.len(), "no two rules are the same");
}

#[test]
fn what_kubectl_shows() {
    for (definition, kind, short, columns) in crds()
        .into_iter()
        .zip([
            ("AuthPolicy", "authpol", ["Hosts", "Issuers", "Accepted", "Programmed", "Age"].as_slice()),
            ("DataSource", "dsrc", ["Name", "Server", "Accepted", "Age"].as_slice()),
        ])
        .map(|(definition, (kind, short, columns))| (definition, kind, short, columns))
    {
        let names = &definition.spec.names;
        assert_eq!(
            (names.kind.as_str(), definition.spec.scope.as_str(), definition.spec.group.as_str()),
            (kind, "Namespaced", "gatewright.dev")
        );
        assert_eq!(names.short_names.as_deref(), Some([short.to_owned()].as_slice()));
        assert_eq!(names.categories.as_deref(), Some(["gatewright".to_owned()].as_slice()));
        let version = &definition.spec.versions[0];
        assert!(version.name == "v1alpha1" && version.served && version.storage);
        assert!(
            version.subresources.as_ref().is_some_and(|sub| sub.status.is_some()),
            "{kind} has a status of its own"
        );
        let shown: Vec<_> =
            version.additional_printer_columns.iter().flatten().map(|column| column.name.as_str()).collect();
        assert_eq!(shown, columns);
    }
}
