//! What stands between us and CMDB before it can answer, told apart by the types of errors and not by their texts.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::iter::successors;

use rustls::{AlertDescription, CertificateError};

/// What kept a call from being answered, where that can be told. As a text it has no names and no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// DNS does not know the host.
    #[error("the name of the host is not known")]
    Unresolved,
    /// The fence does not let us there.
    #[error("the URL leads to an address that no connection may lead to")]
    Forbidden,
    /// Nobody listens on the port.
    #[error("the connection was refused")]
    Refused,
    /// No certificate authority that we trust has signed the server's certificate.
    #[error("the server's certificate is signed by nobody whom tls.caBundle, or else the system, trusts")]
    NotTrusted,
    /// The server's certificate is that of another host.
    #[error("the server's certificate is for another name than the URL's")]
    WrongName,
    /// The server's certificate is not valid now.
    #[error("the server's certificate has expired, or is not valid yet")]
    OutOfDate,
    /// The server wants to see a certificate, and we have none.
    #[error("the server wants a client certificate: tls.clientCertificateSecretRef")]
    CertificateWanted,
    /// The server does not take our certificate.
    #[error("the server does not take the client certificate")]
    CertificateRefused,
    /// What answers speaks no TLS.
    #[error("what answers does not speak TLS")]
    NotTls,
    /// TLS failed in another way.
    #[error("no agreement on TLS")]
    Tls,
}

impl ConnectFailure {
    /// What an error of the HTTP client is about. `has_certificate`: whether we have one to show.
    pub(in crate::cmdb) fn of(error: &reqwest::Error, has_certificate: bool) -> Option<Self> {
        let first: &(dyn StdError + 'static) = error;
        let told = || successors(Some(first), |error| next(*error));
        let known = |error: &(dyn StdError + 'static)| {
            error.downcast_ref().copied().or_else(|| Some(of_tls(error.downcast_ref()?, has_certificate)))
        };
        let is_refused = |error: &(dyn StdError + 'static)| {
            error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        };
        told()
            .find_map(known)
            .or_else(|| error.is_dns().then_some(Self::Unresolved))
            .or_else(|| told().any(is_refused).then_some(Self::Refused))
    }

    /// Whether a connection was made, and TLS on it failed.
    #[must_use]
    pub fn is_of_tls(self) -> bool {
        match self {
            Self::Unresolved | Self::Forbidden | Self::Refused => false,
            Self::NotTrusted
            | Self::WrongName
            | Self::OutOfDate
            | Self::CertificateWanted
            | Self::CertificateRefused
            | Self::NotTls
            | Self::Tls => true,
        }
    }
}

// An I/O error gives as its source not what it holds, but the source of that.
fn next<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    }
}

fn of_tls(error: &rustls::Error, has_certificate: bool) -> ConnectFailure {
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ConnectFailure::WrongName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => ConnectFailure::OutOfDate,
            _ => ConnectFailure::NotTrusted,
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => ConnectFailure::CertificateWanted,
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError,
        ) => {
            // Servers in Go say "bad certificate" of one that is not there.
            if has_certificate { ConnectFailure::CertificateRefused } else { ConnectFailure::CertificateWanted }
        }
        rustls::Error::InvalidMessage(_) => ConnectFailure::NotTls,
        _ => ConnectFailure::Tls,
    }
}
