//! `gatewright.v1alpha1.Certificates/Sign`: a certificate for whoever a token proves. The names in it are ours, never the caller's.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use authz::channel::sign::{SERVICE, SIGN, SignRequest, SignResponse};
use parking_lot::Mutex;
use rcgen::{CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use tokio::{sync::Semaphore, time::Instant};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::http,
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use tracing::{info, warn};

use super::{Identity, ProofError, Workload};

/// Tokens that are reviewed at once; one more is told to come back.
const REVIEWS: usize = 16;
/// Certificates that one pod gets in a minute: a restart loop needs fewer, a thief no more.
const PER_MINUTE: u32 = 10;
/// Pods that are counted at once.
const COUNTED: usize = 10_000;
/// Largest request; a P-256 request has some 200 bytes.
const MAX_BYTES: usize = 16 * 1024;
/// An uncompressed point of P-256.
const P256_POINT: usize = 65;

/// What keeps the method from being asked too often.
#[derive(Debug)]
pub(super) struct Limits {
    reviews: Semaphore,
    pods: Mutex<HashMap<(String, String), (Instant, u32)>>,
}

/// The service.
#[derive(Clone)]
pub struct Certificates {
    identity: Identity,
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self { reviews: Semaphore::new(REVIEWS), pods: Mutex::default() }
    }
}

impl Limits {
    fn admit(&self, workload: &Workload, now: Instant) -> bool {
        let mut pods = self.pods.lock();
        let minute = Duration::from_mins(1);
        if pods.len() >= COUNTED {
            pods.retain(|_, (since, _)| now.duration_since(*since) < minute);
        }
        let key = (workload.namespace.clone(), workload.pod.clone());
        let (since, count) = pods.entry(key).or_insert((now, 0));
        if now.duration_since(*since) >= minute {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= PER_MINUTE
    }
}

// === impl Certificates ===

impl Certificates {
    pub(super) const fn new(identity: Identity) -> Self {
        Self { identity }
    }

    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let token = token(&request)?;
        let limits = self.identity.limits();
        let workload = {
            let _slot = limits
                .reviews
                .try_acquire()
                .map_err(|_| Status::resource_exhausted("too many at once; try again in a moment"))?;
            self.identity.proofs().prove(token).await.map_err(|error| match error {
                ProofError::Refused(_) => Status::unauthenticated(error.to_string()),
                ProofError::Unavailable(_) => Status::unavailable(error.to_string()),
            })?
        };
        if !limits.admit(&workload, Instant::now()) {
            return Err(Status::resource_exhausted("this pod had enough certificates; try again in a minute"));
        }
        let key = public_key(&request.get_ref().request)?;
        let (certificate, authorities) = self.identity.for_workload(&workload, &key).map_err(|error| {
            warn!(%error, "a certificate could not be signed");
            Status::unavailable("the CA cannot sign at the moment")
        })?;
        let Workload { namespace, account, pod } = &workload;
        info!(namespace, account, pod, "signed a certificate");
        Ok(Response::new(SignResponse { certificate, authorities: authorities.to_string() }))
    }
}

fn token(request: &Request<SignRequest>) -> Result<&str, Status> {
    let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
    header
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| Status::unauthenticated("send the pod's token: `authorization: Bearer …`"))
}

/// The key of a request whose signature proves that the caller has it. P-256 alone: other keys are slow, weak or unknown to proxies.
fn public_key(der: &[u8]) -> Result<impl PublicKeyData + use<>, Status> {
    let read = CertificateSigningRequestParams::from_der(&der.to_vec().into())
        .map_err(|error| Status::invalid_argument(format!("no certificate request: {error}")))?;
    let key = read.public_key;
    let fits = key.algorithm() == &PKCS_ECDSA_P256_SHA256 && key.der_bytes().len() == P256_POINT;
    if fits { Ok(key) } else { Err(Status::invalid_argument("send a key of P-256, signed with SHA-256")) }
}

impl NamedService for Certificates {
    const NAME: &'static str = SERVICE;
}

impl UnaryService<SignRequest> for Certificates {
    type Response = SignResponse;
    type Future = Answer<Result<Response<SignResponse>, Status>>;

    fn call(&mut self, request: Request<SignRequest>) -> Self::Future {
        let own = self.clone();
        Box::pin(async move { own.sign(request).await })
    }
}

impl tower::Service<http::Request<Body>> for Certificates {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let own = self.clone();
        Box::pin(async move {
            if request.uri().path() != SIGN {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let codec: ProstCodec<SignResponse, SignRequest> = ProstCodec::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_BYTES);
            Ok(grpc.unary(own, request).await)
        })
    }
}
