//! The authorities that the image trusts: those of Mozilla's list, whatever the machine that builds it trusts.

use pem::{EncodeConfig, LineEnding, Pem, encode_config};

use super::File;

const HEAD: &str = "# The authorities for servers of Mozilla's list, as the locked webpki-root-certs has them. Generated: make generate\n";

/// The list, as one file of certificates.
pub fn files() -> Vec<File> {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let mut text = HEAD.to_owned();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str(&encode_config(&Pem::new("CERTIFICATE", certificate.to_vec()), config));
    }
    vec![File { path: "image/authorities.pem".to_owned(), text }]
}
