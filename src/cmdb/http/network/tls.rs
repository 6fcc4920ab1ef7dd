//! The TLS settings of a connection, as rustls wants them.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ALL_VERSIONS, ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::ExposeSecret as _;

use crate::cmdb::Tls;

/// Trusts the bundle of the settings alone, or else the authorities of the system.
///
/// # Errors
/// Why the settings are not usable.
pub fn config(tls: &Tls) -> Result<ClientConfig, String> {
    // Has no effect when the program has installed one already.
    let _ = ring::default_provider().install_default();
    let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()));

    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(ALL_VERSIONS)
        .map_err(|_| "no version of TLS can be used".to_owned())?;
    let builder = match &tls.ca_bundle {
        Some(bundle) => builder.with_root_certificates(roots(bundle.as_bytes())?),
        None => builder
            .with_platform_verifier()
            .map_err(|_| "the certificate authorities of the system cannot be read".to_owned())?,
    };

    let mut config = match &tls.identity {
        Some(identity) => {
            let (certificates, key) = identity_of(identity.expose_secret().as_bytes())
                .ok_or_else(|| "the client certificate and key are not in PEM".to_owned())?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(|_| "the client certificate and key cannot be used together".to_owned())?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(bundle: &[u8]) -> Result<RootCertStore, String> {
    let unusable = || "tls.caBundle is no list of certificates in PEM".to_owned();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        roots.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
    }
    // A text without any certificate is read as an empty list, which would trust no server.
    if roots.is_empty() { Err(unusable()) } else { Ok(roots) }
}

// Certificates and key, in any order.
fn identity_of(pem: &[u8]) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let (mut certificates, mut key) = (Vec::new(), None);
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, data) = section.ok()?;
        match kind {
            SectionKind::Certificate => certificates.push(data.into()),
            SectionKind::PrivateKey => key = Some(PrivateKeyDer::Pkcs8(data.into())),
            SectionKind::RsaPrivateKey => key = Some(PrivateKeyDer::Pkcs1(data.into())),
            SectionKind::EcPrivateKey => key = Some(PrivateKeyDer::Sec1(data.into())),
            _ => return None,
        }
    }
    key.filter(|_| !certificates.is_empty()).map(|key| (certificates, key))
}
