//! A certificate authority of a test.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::Path;

use cmdb_sim as sim;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// A certificate authority of a test.
pub struct Authority {
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(parameters, key) }
    }

    /// A certificate for loopback, and its key.
    pub fn sign(&self, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        self.sign_with(purpose, |_| ())
    }

    /// The same with something changed.
    pub fn sign_with(
        &self,
        purpose: ExtendedKeyUsagePurpose,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        parameters.extended_key_usages = vec![purpose];
        change(&mut parameters);
        (parameters.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Has a simulator show this certificate, and ask for one that this authority has signed; its files are in the folder.
    pub fn serve(&self, folder: &Path, (certificate, key): &(String, String)) -> sim::Tls {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        sim::Tls {
            certificate: write("tls.crt", certificate),
            key: write("tls.key", key),
            client_ca: Some(write("ca.crt", &self.certificate)),
        }
    }
}
