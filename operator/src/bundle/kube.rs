//! Namespaces, ConfigMaps and Secrets of the API server, behind a trait of ours.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, ObjectReference, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
    runtime::events::{Event, EventType, Recorder},
};
use serde_json::{Value, json};
use tracing::debug;

use super::{Content, Found, Piece, RENEW_AT};
use crate::{
    api::{self, Failure, MANAGED_BY, MANAGER, answer},
    owner::Owner,
};

/// Namespaces a page.
const PAGE: u32 = 500;

/// Why the API server was no help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the API server says: {0}")]
pub struct PlaceError(pub String);

/// Where the objects are.
#[tonic::async_trait]
pub trait Places: Send + Sync {
    /// Namespaces in which this label is `true`.
    async fn namespaces(&self, label: &str) -> Result<Vec<String>, PlaceError>;
    /// Reads one object.
    async fn read(&self, piece: Piece, namespace: &str) -> Result<Option<Found>, PlaceError>;
    /// Makes it (`uid: None`), or replaces what is ours of the one with this uid.
    async fn write(
        &self,
        piece: Piece,
        namespace: &str,
        content: Content,
        uid: Option<String>,
    ) -> Result<(), PlaceError>;
    /// An Event at an object that is in the way.
    async fn complain(&self, piece: Piece, namespace: &str, uid: &str, text: &str);
}

/// The API server's.
pub struct KubePlaces {
    client: Client,
    recorder: Recorder,
    owner: Owner,
}

// === impl KubePlaces ===

impl KubePlaces {
    /// Through this client. `pod`: who reports in Events; `owner`: what everything that is written belongs to.
    pub fn new(client: Client, pod: &str, owner: Owner) -> Self {
        Self { recorder: api::recorder(client.clone(), pod), client, owner }
    }

    fn config_maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

#[tonic::async_trait]
impl Places for KubePlaces {
    async fn namespaces(&self, label: &str) -> Result<Vec<String>, PlaceError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let (mut names, mut token) = (Vec::new(), None);
        loop {
            let mut page = ListParams::default().labels(&format!("{label}=true")).limit(PAGE);
            page.continue_token = token;
            let list = answer(api.list_metadata(&page)).await?;
            // One that is on its way out takes nothing any more.
            let stays = list.items.into_iter().filter(|one| one.metadata.deletion_timestamp.is_none());
            names.extend(stays.filter_map(|one| one.metadata.name));
            token = list.metadata.continue_.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(names);
            }
        }
    }

    async fn read(&self, piece: Piece, namespace: &str) -> Result<Option<Found>, PlaceError> {
        Ok(match piece {
            Piece::Authorities => answer(self.config_maps(namespace).get_opt(piece.name())).await?.map(|found| {
                let authorities = found.data.as_ref().and_then(|data| data.get("ca.crt")).cloned();
                Found::of(&found.metadata, authorities)
            }),
            Piece::Client => answer(self.secrets(namespace).get_opt(piece.name())).await?.map(|found| {
                let authorities = found.data.as_ref().and_then(|data| data.get("ca.crt"));
                Found::of(&found.metadata, authorities.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok()))
            }),
        })
    }

    async fn write(
        &self,
        piece: Piece,
        namespace: &str,
        content: Content,
        uid: Option<String>,
    ) -> Result<(), PlaceError> {
        let mut object = object(piece, content);
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
            && let Some(owner) = self.owner.references().await
        {
            metadata.insert("ownerReferences".to_owned(), json!(owner));
        }
        let params = PatchParams::apply(MANAGER).force();
        let post = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let Some(uid) = uid else {
            // Made, not applied: if somebody was quicker, theirs stays.
            let unreadable = |error: serde_json::Error| PlaceError(error.to_string());
            match piece {
                Piece::Authorities => {
                    let made: ConfigMap = serde_json::from_value(object).map_err(unreadable)?;
                    answer(self.config_maps(namespace).create(&post, &made)).await?;
                }
                Piece::Client => {
                    let made: Secret = serde_json::from_value(object).map_err(unreadable)?;
                    answer(self.secrets(namespace).create(&post, &made)).await?;
                }
            }
            return Ok(());
        };
        // Another object of this name is not the one that was looked at.
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("uid".to_owned(), uid.into());
        }
        match piece {
            Piece::Authorities => {
                answer(self.config_maps(namespace).patch(piece.name(), &params, &Patch::Apply(&object))).await?;
            }
            Piece::Client => {
                answer(self.secrets(namespace).patch(piece.name(), &params, &Patch::Apply(&object))).await?;
            }
        }
        Ok(())
    }

    async fn complain(&self, piece: Piece, namespace: &str, uid: &str, text: &str) {
        let event = Event {
            type_: EventType::Warning,
            reason: "NotOurs".to_owned(),
            note: Some(api::note(text)),
            action: "Publish".to_owned(),
            secondary: None,
        };
        let reference = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(piece.kind().to_owned()),
            name: Some(piece.name().to_owned()),
            namespace: Some(namespace.to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        // The log has it already.
        if let Err(error) = answer(self.recorder.publish(&event, &reference)).await {
            debug!(error = error.text(), "no Event");
        }
    }
}

/// As the API server takes it.
fn object(piece: Piece, content: Content) -> Value {
    let metadata = json!({
        "name": piece.name(),
        "labels": {MANAGED_BY: MANAGER},
        "annotations": content.annotations,
    });
    let (kind, data) = (piece.kind(), content.data);
    match piece {
        Piece::Authorities => json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}),
        Piece::Client => {
            let coded = data.into_iter().map(|(key, value)| (key, k8s_openapi::ByteString(value.into_bytes())));
            let coded: BTreeMap<_, _> = coded.collect();
            json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "type": "kubernetes.io/tls", "data": coded})
        }
    }
}

// === impl Found ===

impl Found {
    fn of(metadata: &ObjectMeta, authorities: Option<String>) -> Self {
        let annotations = metadata.annotations.as_ref();
        Self {
            ours: is_ours(metadata),
            uid: metadata.uid.clone().unwrap_or_default(),
            authorities,
            renew_at: annotations.and_then(|annotations| annotations.get(RENEW_AT)).cloned(),
        }
    }
}

/// Whether we made it. The label alone is anybody's to put on anything; who wrote an object is noted by the API server.
fn is_ours(metadata: &ObjectMeta) -> bool {
    let labelled = metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == MANAGER);
    let mut writers = metadata.managed_fields.iter().flatten();
    labelled && writers.any(|entry| entry.manager.as_deref() == Some(MANAGER))
}

impl From<Failure> for PlaceError {
    fn from(failure: Failure) -> Self {
        Self(failure.text())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

    use super::*;

    #[test]
    fn a_label_alone_makes_nothing_ours() {
        let labels = |by: &str| Some(BTreeMap::from([(MANAGED_BY.to_owned(), by.to_owned())]));
        let writer =
            |name: &str| ManagedFieldsEntry { manager: Some(name.to_owned()), ..ManagedFieldsEntry::default() };
        for (label, writers, ours) in [
            (Some(MANAGER), vec!["kubectl", MANAGER], true),
            (Some(MANAGER), vec!["kubectl-client-side-apply"], false),
            (Some(MANAGER), vec![], false),
            (Some("Helm"), vec![MANAGER], false),
            (None, vec![MANAGER], false),
        ] {
            let metadata = ObjectMeta {
                labels: label.and_then(labels),
                managed_fields: Some(writers.iter().copied().map(writer).collect()),
                ..ObjectMeta::default()
            };
            assert_eq!(is_ours(&metadata), ours, "{label:?} {writers:?}");
        }
    }
}
