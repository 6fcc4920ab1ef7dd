//! What to do when the way to CMDB is barred.

use std::fmt::Write as _;
use std::sync::Arc;

use super::failed_step::stage;
use super::step::{Name, Trouble};
use crate::cmdb;
use crate::cmdb::{ConnectFailure, Responder, Transport};
use crate::{controller, engine};

/// What is known of the way to CMDB.
#[derive(Clone, Debug)]
pub struct Way {
    /// How CMDB is reached.
    pub transport: Transport,
    /// Whether the URL is https.
    pub is_secure: bool,
    /// Whether the connection says whom to trust.
    pub has_ca_bundle: bool,
    /// Whether it has a certificate of ours.
    pub has_certificate: bool,
    /// Host and port of the environment's proxy that is used.
    pub proxy: Option<String>,
}

/// What a call that failed says of it, and what to do.
pub fn trouble(error: &cmdb::Error, way: &Way) -> Trouble {
    let said = controller::Error::Engine(engine::Error::Cmdb(Arc::new(error.clone())));
    let mut advice = special(error, way).unwrap_or_else(|| said.advice().to_owned());
    if let (Some(Name::Network | Name::Tls | Name::Cmdb), Some(proxy)) = (stage(error), &way.proxy) {
        let _ = write!(
            advice,
            " The proxy {proxy} of the environment is in between: NO_PROXY names the hosts that are reached without it."
        );
    }
    Trouble { fact: said.to_string(), advice }
}

fn special(error: &cmdb::Error, way: &Way) -> Option<String> {
    let reply = error.reply();
    if let Some(obstacle) = reply.and_then(|reply| reply.obstacle) {
        return Some(past(obstacle, way).to_owned());
    }
    match (stage(error)?, reply.map(cmdb::Reply::speaker)) {
        (Name::Network, _) => Some(past(ConnectFailure::Refused, way).to_owned()),
        (Name::Cmdb, Some(speaker)) => Some(of_cmdb(error, speaker, way)),
        (Name::Credentials, Some(speaker @ (Responder::Esb | Responder::Gateway)))
            if way.transport == Transport::Direct =>
        {
            Some(of_cmdb(error, speaker, way))
        }
        // Nobody has vouched for the user: there is no gateway in between.
        (Name::Credentials, Some(Responder::Cmdb)) if way.transport == Transport::Gateway => Some(format!(
            "Check the credentials; and if CMDB's own API server answers here: {}.",
            wants(Transport::Gateway)
        )),
        (Name::Credentials, _) if matches!(error, cmdb::Error::Throttled { .. }) => {
            Some("Try it again later.".to_owned())
        }
        (Name::Credentials, _) if matches!(error, cmdb::Error::Configuration { .. }) => {
            Some("Correct the user in the Secret, or spec.supplierAccount.".to_owned())
        }
        _ => None,
    }
}

fn past(obstacle: ConnectFailure, way: &Way) -> &'static str {
    match obstacle {
        ConnectFailure::Unresolved => "Check the host in spec.url; here it has no address in DNS.",
        ConnectFailure::Forbidden | ConnectFailure::Refused => {
            "Check host and port in spec.url, and whether a firewall lets this machine there."
        }
        ConnectFailure::NotTrusted if way.has_ca_bundle => {
            "Put the certificate of the authority that signed it, in PEM, into spec.tls.caBundle: those there have not."
        }
        ConnectFailure::NotTrusted => {
            "Put the certificate of the authority that signed it, in PEM, into spec.tls.caBundle."
        }
        ConnectFailure::WrongName => {
            "Use a name that stands in the certificate in spec.url, or have one made for this name."
        }
        ConnectFailure::OutOfDate => "Have the server's certificate renewed; and check this machine's clock.",
        ConnectFailure::CertificateWanted => {
            "Put a certificate and its key into a Secret, as tls.crt and tls.key, and name it in \
             spec.tls.clientCertificateSecretRef."
        }
        ConnectFailure::CertificateRefused => {
            "Put one that the server trusts into the Secret of spec.tls.clientCertificateSecretRef."
        }
        ConnectFailure::NotTls => "Check scheme and port of spec.url: this may be the port of plain http.",
        ConnectFailure::Tls => {
            "Check what answers on the port of spec.url: it may have no version or cipher of TLS in common with this, or \
             want a client certificate."
        }
    }
}

const GATEWAY: &str = "spec.url with the gateway's name and stage, as in https://bkapi.example.com/api/bk-cmdb/prod";

fn of_cmdb(error: &cmdb::Error, speaker: Responder, way: &Way) -> String {
    let status = error.reply().and_then(|reply| reply.http_status);
    match (speaker, way.transport, status) {
        (Responder::Nobody, ..) if !way.is_secure => {
            "It took the connection and gave no answer: check the port of spec.url, and whether it is an https URL."
                .to_owned()
        }
        (Responder::Nobody, ..) if !way.has_certificate => {
            "It took the connection and gave no answer: it may want a client certificate \
             (spec.tls.clientCertificateSecretRef)."
                .to_owned()
        }
        (Responder::Nobody, ..) => "It took the connection and gave no answer: check the port of spec.url.".to_owned(),
        (Responder::Stranger, _, Some(300..=399)) => {
            "Redirects are not followed: put the URL that this one leads to into spec.url (curl -sI shows it)."
                .to_owned()
        }
        // nginx says so in a page.
        (Responder::Stranger, _, Some(400 | 495 | 496)) if way.is_secure && !way.has_certificate => {
            "Check spec.url; or a proxy before CMDB wants a client certificate (spec.tls.clientCertificateSecretRef)."
                .to_owned()
        }
        (Responder::Stranger, _, Some(401 | 403 | 407)) => {
            "A proxy or a login page answers before CMDB: check spec.url, and the way there.".to_owned()
        }
        (Responder::Stranger, _, Some(500..=599)) => {
            "A server before CMDB answers, and does not reach it: see whether CMDB runs.".to_owned()
        }
        (Responder::Gateway, Transport::Esb | Transport::Direct, _) => {
            format!("An API gateway answers: spec.transport is Gateway, and {GATEWAY}.")
        }
        (Responder::Esb, Transport::Gateway | Transport::Direct, _) => {
            "An ESB answers: spec.transport is Esb, and spec.url has no path.".to_owned()
        }
        (Responder::Gateway, Transport::Gateway, _) if matches!(error, cmdb::Error::Protocol { .. }) => {
            format!("The gateway has no such API: {GATEWAY}.")
        }
        (Responder::Esb | Responder::Gateway, ..) if matches!(error, cmdb::Error::OutcomeUnknown { .. }) => {
            "It answers, and has not reached CMDB: see whether CMDB runs.".to_owned()
        }
        (Responder::Cmdb, ..) => "CMDB answers, and fails: its logs say why.".to_owned(),
        (Responder::Esb, ..) => "Have whoever runs the ESB enable CMDB's process template calls there.".to_owned(),
        (_, transport, _) => format!("Check spec.url and spec.transport: {}.", wants(transport)),
    }
}

fn wants(transport: Transport) -> String {
    match transport {
        Transport::Esb => "Esb wants the URL of an ESB, without a path".to_owned(),
        Transport::Gateway => format!("Gateway wants {GATEWAY}"),
        Transport::Direct => "Direct wants the URL of CMDB's own API server, without a path".to_owned(),
    }
}
