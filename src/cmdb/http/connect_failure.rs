//! Why no answer came from CMDB: known by the types of errors, not by their texts.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::iter::successors;

use rustls::{AlertDescription, CertificateError};

/// Why a call was not answered. Its text contains neither names nor addresses, because it is shown in statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// DNS does not know the host.
    #[error("the name of the host is not known")]
    Unresolved,
    /// The URL policy does not permit the address.
    #[error("the URL leads to an address that no connection may lead to")]
    Forbidden,
    /// No process listens on the port.
    #[error("the connection was refused")]
    Refused,
    /// No trusted certificate authority has signed the server's certificate.
    #[error("the server's certificate is signed by nobody whom tls.caBundle, or else the system, trusts")]
    NotTrusted,
    /// The server's certificate is for another host.
    #[error("the server's certificate is for another name than the URL's")]
    WrongName,
    /// The server's certificate is not valid now.
    #[error("the server's certificate has expired, or is not valid yet")]
    OutOfDate,
    /// The server requires a client certificate, and there is none.
    #[error("the server wants a client certificate: tls.clientCertificateSecretRef")]
    CertificateWanted,
    /// The server rejects the client certificate.
    #[error("the server does not take the client certificate")]
    CertificateRefused,
    /// The server does not speak TLS.
    #[error("what answers does not speak TLS")]
    NotTls,
    /// TLS failed in another way.
    #[error("no agreement on TLS")]
    Tls,
}

impl ConnectFailure {
    /// The failure that an error of a connection is about. `has_certificate`: whether there is a client certificate.
    pub(in crate::cmdb) fn of(first: &(dyn StdError + 'static), has_certificate: bool) -> Option<Self> {
        let chain = || successors(Some(first), |error| next(*error));
        let known = |error: &(dyn StdError + 'static)| {
            error.downcast_ref().copied().or_else(|| Some(of_tls(error.downcast_ref()?, has_certificate)))
        };
        let is_refused = |error: &(dyn StdError + 'static)| {
            error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        };
        chain().find_map(known).or_else(|| chain().any(is_refused).then_some(Self::Refused))
    }

    /// Whether the server wants another client certificate, or one at all.
    pub(in crate::cmdb) fn is_of_client_certificate(self) -> bool {
        match self {
            Self::CertificateWanted | Self::CertificateRefused => true,
            Self::Unresolved
            | Self::Forbidden
            | Self::Refused
            | Self::NotTrusted
            | Self::WrongName
            | Self::OutOfDate
            | Self::NotTls
            | Self::Tls => false,
        }
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

// `source` of an I/O error skips the error that it contains.
fn next<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
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
            // Servers in Go answer "bad certificate" to a missing one.
            if has_certificate { ConnectFailure::CertificateRefused } else { ConnectFailure::CertificateWanted }
        }
        rustls::Error::InvalidMessage(_) => ConnectFailure::NotTls,
        _ => ConnectFailure::Tls,
    }
}
