//! Authorities and certificates that the tests make, in files as docker wants them.

use std::path::{Path, PathBuf};

use orlop::config::host::{Endpoint, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

/// One authority with a directory for what it signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::Builder::new().prefix("orlop-tls-").tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    /// A directory as `DOCKER_CERT_PATH` names one: `ca.pem`, and a certificate for these names with its key.
    pub fn issue(&self, dir: &str, names: &[String], change: impl FnOnce(&mut CertificateParams)) -> PathBuf {
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let dir = self.without_client(dir);
        std::fs::write(dir.join("cert.pem"), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
        dir
    }

    /// A directory with the authority alone.
    pub fn without_client(&self, dir: &str) -> PathBuf {
        let dir = self.dir.path().join(dir);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("ca.pem"), self.issuer.pem()).unwrap();
        dir
    }
}

/// For dates long past.
pub fn expired(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
}

/// Dockerd's flags to listen there and let in who has a certificate of the same authority.
pub fn listen(addresses: &[String], files: &Path) -> Vec<String> {
    let at = |name: &str| files.join(name).display().to_string();
    let mut flags: Vec<String> = addresses.iter().map(|address| format!("--host=tcp://{address}:2376")).collect();
    flags.extend([
        "--tlsverify".to_owned(),
        format!("--tlscacert={}", at("ca.pem")),
        format!("--tlscert={}", at("cert.pem")),
        format!("--tlskey={}", at("key.pem")),
    ]);
    flags
}

/// Where a client with these files finds it.
pub fn endpoint(address: &str, files: &Path) -> Endpoint {
    Endpoint::Tcp { host: address.to_owned(), port: 2376, tls: Some(TlsFiles::in_dir(files)) }
}
