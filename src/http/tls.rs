//! TLS as a client: whom to trust, who we are. Settings are read once into a [`Tls`], which every dial of the same host shares.
//! Verification is never off unless [`Verify::Nothing`] was asked for by name.

use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::{CertificateProblem, HttpError};

/// How far the server's certificate is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Chain, name and dates.
    #[default]
    Fully,
    /// Anything goes: for a host that somebody named as insecure.
    Nothing,
}

/// What one may set.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// PEM texts with authorities to trust beside the host's, each with the name of where it came from.
    pub authorities: Vec<(String, Vec<u8>)>,
    /// Whether the host's own list of authorities counts.
    pub host_authorities: HostAuthorities,
    /// PEM texts of our certificate chain and its key.
    pub client: Option<ClientCertificate>,
    pub verify: Verify,
}

/// Whether this machine's trusted authorities are trusted too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostAuthorities {
    #[default]
    Trusted,
    /// As docker does with `--tlscacert`: the given authorities alone.
    Ignored,
}

/// Our own certificate, as PEM.
#[derive(Clone)]
pub struct ClientCertificate {
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
    /// Where it came from, for errors.
    pub origin: String,
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientCertificate({})", self.origin)
    }
}

impl ClientCertificate {
    /// Whether a peer must refuse it for its dates alone. `None` when they are right, or cannot be read.
    pub fn outdated(&self) -> Option<CertificateProblem> {
        let chain = certificates(&self.chain).ok()?;
        match super::x509::check_dates(chain.first()?, UnixTime::now()) {
            Err(Error::InvalidCertificate(problem)) => Some(CertificateProblem::from(&problem)),
            _ => None,
        }
    }
}

/// Ready TLS settings; cheap to clone.
#[derive(Clone)]
pub struct Tls {
    pub(super) config: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the options. The host's authorities are read from disk once in a process, which blocks for some milliseconds.
    ///
    /// # Errors
    /// [`HttpError::Setting`] for a PEM text without what it should hold, or a key that does not fit its certificate.
    pub fn new(options: &TlsOptions) -> Result<Self, HttpError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpError::Setting(format!("cannot set up TLS: {error}")))?;
        let verifier: Arc<dyn ServerCertVerifier> = match options.verify {
            Verify::Fully => verifier(options, &provider)?,
            Verify::Nothing => Arc::new(Unverified(provider)),
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let config = match &options.client {
            Some(client) => with_client(builder, client)?,
            None => builder.with_no_client_auth(),
        };
        Ok(Self { config: Arc::new(config) })
    }
}

type Builder = tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::client::WantsClientCert>;

fn with_client(builder: Builder, client: &ClientCertificate) -> Result<ClientConfig, HttpError> {
    let wrong = |why: String| HttpError::Setting(format!("client certificate {}: {why}", client.origin));
    let chain = certificates(&client.chain).map_err(|why| wrong(why.to_owned()))?;
    let key =
        PrivateKeyDer::from_pem_slice(&client.key).map_err(|_| wrong("its key holds no private key".to_owned()))?;
    let mut config = builder.with_client_auth_cert(chain, key).map_err(|error| wrong(error.to_string()))?;
    // OpenSSL's servers that ask for certificates and set no session id context (socat is one) answer a resumed session with an alert
    // (SSL_CTX_set_session_id_context(3)); docker's own client keeps no sessions either.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("it holds no certificate"),
        Err(_) => Err("it is not PEM"),
    }
}

/// The host's authorities, read once.
fn host_roots() -> &'static [CertificateDer<'static>] {
    static ROOTS: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!("authorities of this host: {error}");
        }
        found.certs
    })
}

fn verifier(options: &TlsOptions, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, HttpError> {
    let mut roots = RootCertStore::empty();
    if options.host_authorities == HostAuthorities::Trusted {
        roots.add_parsable_certificates(host_roots().iter().cloned());
    }
    let mut given = Vec::new();
    for (origin, pem) in &options.authorities {
        let found = certificates(pem).map_err(|why| HttpError::Setting(format!("authority {origin}: {why}")))?;
        for certificate in found {
            given.push(certificate.clone());
            roots.add(certificate).map_err(|error| HttpError::Setting(format!("authority {origin}: {error}")))?;
        }
    }
    if roots.is_empty() {
        // A verifier cannot be built from nothing; what it would say is that every authority is unknown.
        return Ok(Arc::new(Trustless(provider.clone())));
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| HttpError::Setting(format!("cannot set up TLS: {error}")))?;
    Ok(Arc::new(Verified { inner, given }))
}

/// The usual rules, and one more: a given authority may be the server's own certificate. Docker's guide for a private registry
/// makes exactly such one (`openssl req -x509`), Go takes it, webpki says "CA used as end entity".
#[derive(Debug)]
struct Verified {
    inner: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::Other(OtherError(_)) | CertificateError::UnknownIssuer,
            )) if self.given.iter().any(|given| given == end_entity) => {
                super::x509::check_dates(end_entity, now)?;
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Takes any certificate. The handshake's signatures are checked all the same, so that the peer at least has the key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

/// Takes none: neither the host nor the settings name an authority.
#[derive(Debug)]
struct Trustless(Arc<CryptoProvider>);

macro_rules! verifier_by_provider {
    ($name:ident, $verdict:expr) => {
        impl ServerCertVerifier for $name {
            fn verify_server_cert(
                &self,
                _: &CertificateDer<'_>,
                _: &[CertificateDer<'_>],
                _: &ServerName<'_>,
                _: &[u8],
                _: UnixTime,
            ) -> Result<ServerCertVerified, Error> {
                $verdict
            }

            fn verify_tls12_signature(
                &self,
                message: &[u8],
                certificate: &CertificateDer<'_>,
                signed: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
            }

            fn verify_tls13_signature(
                &self,
                message: &[u8],
                certificate: &CertificateDer<'_>,
                signed: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
            }

            fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
                self.0.signature_verification_algorithms.supported_schemes()
            }
        }
    };
}

verifier_by_provider!(Unverified, Ok(ServerCertVerified::assertion()));
verifier_by_provider!(Trustless, Err(CertificateError::UnknownIssuer.into()));
