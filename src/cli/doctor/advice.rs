//! What to do about a call to CMDB that failed. Pure.

use std::fmt::Write as _;
use std::sync::Arc;

use super::failed_step::failed_step;
use super::step::{Problem, StepName};
use crate::cmdb;
use crate::cmdb::ErrorClass;
use crate::cmdb::{ConnectFailure, Responder, Transport, is_out_of_reach};
use crate::{controller, engine};

/// How CMDB is reached, as far as advice depends on it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The transport of the connection.
    pub transport: Transport,
    /// Whether the URL is https.
    pub is_secure: bool,
    /// Whether the connection has a CA bundle.
    pub has_ca_bundle: bool,
    /// Whether the connection has a client certificate.
    pub has_certificate: bool,
    /// Host and port of the proxy, if the environment names one for this URL.
    pub proxy: Option<String>,
}

/// The problem that a failed call shows: the error as the controller reports it, and what to do about it.
pub fn problem_of(error: &cmdb::Error, endpoint: &Endpoint) -> Problem {
    let reported = controller::Error::Engine(engine::Error::Cmdb(Arc::new(error.clone())));
    let mut advice = specific_advice(error, endpoint).unwrap_or_else(|| reported.advice().to_owned());
    if let (Some(StepName::Network | StepName::Tls | StepName::Cmdb), Some(proxy)) =
        (failed_step(error), &endpoint.proxy)
    {
        let _ = write!(
            advice,
            " The proxy {proxy} of the environment is in between: NO_PROXY names the hosts that are reached without it."
        );
    }
    Problem { fact: reported.to_string(), advice }
}

// Advice that is better than the controller's, because the step and the endpoint are known.
fn specific_advice(error: &cmdb::Error, endpoint: &Endpoint) -> Option<String> {
    let reply = error.reply();
    if let Some(failure) = reply.and_then(|reply| reply.obstacle) {
        return Some(connect_advice(failure, endpoint).to_owned());
    }
    match (failed_step(error)?, reply.map(cmdb::Reply::speaker)) {
        (StepName::Network, _) => Some(connect_advice(ConnectFailure::Refused, endpoint).to_owned()),
        (StepName::Cmdb, Some(responder)) => Some(response_advice(error, responder, endpoint)),
        (StepName::Credentials, Some(responder @ (Responder::Esb | Responder::Gateway)))
            if endpoint.transport == Transport::Direct =>
        {
            Some(response_advice(error, responder, endpoint))
        }
        // CMDB itself refused the user: no gateway is in between that would have checked it.
        (StepName::Credentials, Some(Responder::Cmdb)) if endpoint.transport == Transport::Gateway => Some(format!(
            "Check the credentials; and if CMDB's own API server answers here: {}.",
            expected_url(Transport::Gateway)
        )),
        // Nothing tells whose credentials they were.
        (StepName::Credentials, _) if error.advice() == ErrorClass::Authentication.advice() => {
            Some("Check application and user in the connection's Secret, and spec.transport.".to_owned())
        }
        (StepName::Credentials, _) if matches!(error, cmdb::Error::Throttled { .. }) => {
            Some("Try it again later.".to_owned())
        }
        (StepName::Credentials, _) if matches!(error, cmdb::Error::Configuration { .. }) => {
            Some("Correct the user in the Secret, or spec.supplierAccount.".to_owned())
        }
        _ => None,
    }
}

// Advice when no connection was made.
fn connect_advice(failure: ConnectFailure, endpoint: &Endpoint) -> &'static str {
    match failure {
        ConnectFailure::Unresolved => "Check the host in spec.url; here it has no address in DNS.",
        ConnectFailure::Forbidden | ConnectFailure::Refused => {
            "Check host and port in spec.url, and whether a firewall lets this machine there."
        }
        ConnectFailure::NotTrusted if endpoint.has_ca_bundle => {
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

// Advice when something answered, but not as a CMDB that works.
fn response_advice(error: &cmdb::Error, responder: Responder, endpoint: &Endpoint) -> String {
    let status = error.reply().and_then(|reply| reply.http_status);
    match (responder, endpoint.transport, status) {
        (Responder::Nobody, ..) if !endpoint.is_secure => {
            "It took the connection and gave no answer: check the port of spec.url, and whether it is an https URL."
                .to_owned()
        }
        (Responder::Nobody, ..) if !endpoint.has_certificate => {
            "It took the connection and gave no answer: it may want a client certificate \
             (spec.tls.clientCertificateSecretRef)."
                .to_owned()
        }
        (Responder::Nobody, ..) => "It took the connection and gave no answer: check the port of spec.url.".to_owned(),
        (Responder::Stranger, _, Some(300..=399)) => {
            "Redirects are not followed: put the URL that this one leads to into spec.url.".to_owned()
        }
        // nginx answers so, with an HTML page, when it wants a client certificate.
        (Responder::Stranger, _, Some(400 | 495 | 496)) if endpoint.is_secure && !endpoint.has_certificate => {
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
        (Responder::Esb | Responder::Gateway, ..) if error.reply().is_some_and(is_out_of_reach) => {
            "It answers, and has not reached CMDB: see whether CMDB runs.".to_owned()
        }
        (Responder::Esb, ..) if matches!(error, cmdb::Error::OutcomeUnknown { .. }) => {
            "The ESB answers, and fails: its logs say why.".to_owned()
        }
        (Responder::Gateway, ..) if matches!(error, cmdb::Error::OutcomeUnknown { .. }) => {
            "The gateway answers, and fails: its logs say why.".to_owned()
        }
        (Responder::Cmdb, ..) => "CMDB answers, and fails: its logs say why.".to_owned(),
        (Responder::Esb, ..) => "Have whoever runs the ESB enable CMDB's process template calls there.".to_owned(),
        (_, transport, _) => format!("Check spec.url and spec.transport: {}.", expected_url(transport)),
    }
}

// The URL that a transport needs.
fn expected_url(transport: Transport) -> String {
    match transport {
        Transport::Esb => "Esb wants the URL of an ESB, without a path".to_owned(),
        Transport::Gateway => format!("Gateway wants {GATEWAY}"),
        Transport::Direct => "Direct wants the URL of CMDB's own API server, without a path".to_owned(),
    }
}
