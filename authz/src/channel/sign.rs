//! `gatewright.v1alpha1.Certificates/Sign`: a certificate request and a token for a certificate. Messages and path for both ends, and
//! the calling end.

use http::uri::PathAndQuery;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use tonic::{Request, Status, client::Grpc, metadata::MetadataValue, transport::Channel};
use tonic_prost::ProstCodec;

use super::credentials::Credentials;
use crate::tls::TlsError;

/// Name of the service.
pub const SERVICE: &str = "gatewright.v1alpha1.Certificates";
/// Path of its method.
pub const SIGN: &str = "/gatewright.v1alpha1.Certificates/Sign";
/// Audience of the tokens that prove the caller.
pub const AUDIENCE: &str = "gatewright-operator";

/// What is asked. The token is in the metadata `authorization`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SignRequest {
    /// A certificate request (RFC 2986) in DER. Its key and signature count, its names do not.
    #[prost(bytes = "vec", tag = "1")]
    pub request: Vec<u8>,
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SignResponse {
    /// The certificate in PEM.
    #[prost(string, tag = "1")]
    pub certificate: String,
    /// The CA certificates in PEM.
    #[prost(string, tag = "2")]
    pub authorities: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The token cannot be read.
    #[error("the ServiceAccount token {path} cannot be read: {source}; is it mounted?")]
    Token {
        /// Where.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The operator refused, or cannot be reached.
    #[error("the operator does not sign: {} ({:?})", .0.message(), .0.code())]
    Refused(#[from] Status),
    /// It cannot be reached.
    #[error("the operator cannot be reached: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// No key, or no request.
    #[error("a key cannot be made: {0}")]
    Key(#[from] rcgen::Error),
    /// By our clock it has ended, or is far from beginning.
    #[error("what the operator signed is not valid by the clock of this machine: which of the two is wrong?")]
    Clock,
    /// What came is no certificate for our key.
    #[error("what the operator signed cannot be used: {0}")]
    Unusable(#[from] TlsError),
}

/// Asks for a certificate for a new key, which stays in this process.
pub(super) async fn sign(channel: Channel, token: &str) -> Result<Credentials, SignError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    // Whoever signs decides about names.
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?.der().to_vec();
    let mut request = Request::new(SignRequest { request });
    let mut bearer: MetadataValue<_> = format!("Bearer {}", token.trim())
        .parse()
        .map_err(|_| Status::invalid_argument("the token holds bytes that no header may"))?;
    bearer.set_sensitive(true);
    request.metadata_mut().insert("authorization", bearer);
    let mut grpc = Grpc::new(channel);
    grpc.ready().await?;
    let codec: ProstCodec<SignRequest, SignResponse> = ProstCodec::default();
    let SignResponse { certificate, authorities } =
        grpc.unary(request, PathAndQuery::from_static(SIGN), codec).await?.into_inner();
    Ok(Credentials::new(certificate, key.serialize_pem(), authorities)?)
}
