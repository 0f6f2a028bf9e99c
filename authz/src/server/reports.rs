//! What proxies tell of connections: `envoy.service.accesslog.v3.AccessLogService`, the access log of the proxy that asked.
//!
//! Owns the reading of a report; where leases are is the policy's. Believes those only that could also open connections for anybody: peers
//! on this machine, and proxies with a certificate of the operator. A report is about a lease that we named; everything else in a log is
//! skipped and kept nowhere.

use std::{sync::Arc, time::Duration};

use crds::snapshot::{Entry, Policy};
use envoy_types::pb::{
    envoy::{
        data::accesslog::v3::{AccessLogType, HttpAccessLogEntry},
        service::accesslog::v3::{
            StreamAccessLogsMessage, StreamAccessLogsResponse,
            access_log_service_server::{AccessLogService, AccessLogServiceServer},
            stream_access_logs_message::LogEntries,
        },
    },
    google::protobuf::{Struct, value::Kind},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{check::now_ms, connections::Connections, http2::Caller, response::METADATA, state::SnapshotCell};
use crate::limits::{Lease, Sign};

/// Where Envoy files what ext_authz says.
const FILTER: &str = "envoy.filters.http.ext_authz";
/// A report is of some hundred bytes; Envoy sends 16 KiB of them at once.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// For a store to take note. Nobody waits, but the reports behind.
const PATIENCE: Duration = Duration::from_secs(1);

/// The service.
pub(super) struct Reports {
    snapshots: Arc<SnapshotCell>,
    connections: Arc<Connections>,
    /// A stream of reports has no end of its own.
    drain: CancellationToken,
}

// === impl Reports ===

impl Reports {
    pub(super) fn service(
        snapshots: Arc<SnapshotCell>,
        connections: Arc<Connections>,
        drain: CancellationToken,
    ) -> AccessLogServiceServer<Self> {
        let reports = Self { snapshots, connections, drain };
        AccessLogServiceServer::new(reports).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    async fn hear_all(&self, message: StreamAccessLogsMessage) {
        let Some(LogEntries::HttpLogs(logs)) = message.log_entries else { return };
        for entry in &logs.log_entry {
            self.hear(entry).await;
        }
    }

    async fn hear(&self, entry: &HttpAccessLogEntry) {
        let Some((policy, lease, sign)) = read(entry) else {
            self.connections.skipped();
            return;
        };
        let snapshot = self.snapshots.load_full();
        let store = match snapshot.by_name(policy) {
            Some(Entry::InForce(one)) => store(&one.policy),
            // Nobody is counted by a policy that is not there, and its leases end by themselves.
            Some(Entry::Held(_)) | None => {
                self.connections.skipped();
                return;
            }
        };
        self.connections.hear(store, lease, sign, now_ms(), Instant::now() + PATIENCE).await;
    }
}

#[tonic::async_trait]
impl AccessLogService for Reports {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let refused = || Status::permission_denied("reports are taken from proxies with a certificate of the operator");
        let caller = request.extensions().get::<Caller>().cloned().filter(Caller::is_proven).ok_or_else(refused)?;
        let mut stream = request.into_inner();
        loop {
            tokio::select! {
                message = stream.message() => match message? {
                    // Each time: the stream has no end of its own, and a certificate does.
                    Some(message) if caller.is_proven() => self.hear_all(message).await,
                    Some(_) => return Err(refused()),
                    None => break,
                },
                () = self.drain.cancelled() => break,
            }
        }
        Ok(Response::new(StreamAccessLogsResponse {}))
    }
}

fn store(policy: &Policy) -> Option<&Arc<crds::snapshot::SharedStore>> {
    policy.rules.limits.store.as_ref()
}

/// Policy, lease and what is told of it; `None` for whatever else stands in a log.
fn read(entry: &HttpAccessLogEntry) -> Option<(&str, Lease, Sign)> {
    let common = entry.common_properties.as_ref()?;
    let sign = match common.access_log_type() {
        AccessLogType::DownstreamEnd => Sign::Ended,
        AccessLogType::DownstreamPeriodic | AccessLogType::DownstreamTunnelSuccessfullyEstablished => Sign::Alive,
        _ => return None,
    };
    let ours = common.metadata.as_ref()?.filter_metadata.get(FILTER)?.fields.get(METADATA)?;
    let Some(Kind::StructValue(own)) = &ours.kind else { return None };
    Some((text(own, "policy")?, text(own, "lease")?.parse().ok()?, sign))
}

fn text<'a>(own: &'a Struct, name: &str) -> Option<&'a str> {
    match &own.fields.get(name)?.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}
