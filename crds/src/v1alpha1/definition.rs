//! The CustomResourceDefinitions: derived from the types, then made as strict and as plain as an API server wants them.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{AuthPolicy, DataSource};

/// Formats an API server knows and that our types use.
const FORMATS: [&str; 3] = ["date-time", "int64", "int32"];

/// The definitions, in the order in which they are printed and applied.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut definitions = vec![AuthPolicy::crd(), DataSource::crd()];
    let versions = definitions.iter_mut().flat_map(|definition| &mut definition.spec.versions);
    for schema in versions.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut()) {
        tidy(schema);
    }
    definitions
}

/// The definitions as one stream of YAML documents.
///
/// # Errors
///
/// Never in practice: the definitions are plain data. The error says what could not be written.
pub fn crds_yaml() -> Result<String, serde_yaml::Error> {
    let mut stream = String::new();
    for definition in crds() {
        stream.push_str("---\n");
        stream.push_str(&serde_yaml::to_string(&definition)?);
    }
    Ok(stream)
}

/// Takes out what generators add and a structural schema must not have: `nullable` (a null member is an absent one here), defaults (absence
/// means something to us), titles, `additionalProperties: false` (unknown members are refused anyway), formats of other systems.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.title = None;
    schema.default = None;
    if let Some(text) = &mut schema.description {
        *text = text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
    schema.format = schema.format.take().filter(|format| FORMATS.contains(&format.as_str()));
    if let Some(JSONSchemaPropsOrBool::Bool(false)) = schema.additional_properties {
        schema.additional_properties = None;
    }
    for property in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        tidy(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}
