//! The program `cmdb-sim`.

use serde_json::Value;

use crate::authority::Authority;
use crate::esb::client;
use crate::https::{client_with_certificate, files};

#[tokio::test]
async fn the_program_says_where_it_listens_and_ends_on_sigterm() {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_cmdb-sim"))
        .args(["--listen", "127.0.0.1:0", "--schema", "flat"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).await.unwrap();
    let url = line.trim_end().strip_prefix("cmdb-sim listening on ").unwrap().to_owned();
    let state: Value = client().get(format!("{url}/sim/state")).send().await.unwrap().json().await.unwrap();
    assert_eq!(state["schema"], "flat");
    let id = rustix::process::Pid::from_raw(i32::try_from(program.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(program.wait().await.unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "");
}

#[tokio::test]
async fn the_program_speaks_https_when_it_is_given_certificate_and_key() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let tls = files(&authority, directory.path());
    let program = || {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_cmdb-sim"));
        program.args(["--listen", "127.0.0.1:0", "--tls-certificate"]).arg(&tls.certificate);
        program.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).kill_on_drop(true);
        program
    };
    assert!(!program().status().await.unwrap().success(), "a certificate needs a key");
    let mut running = program();
    running.arg("--tls-key").arg(&tls.key).arg("--tls-client-ca").arg(tls.client_ca.as_ref().unwrap());
    let mut running = running.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let url = line.trim_end().strip_prefix("cmdb-sim listening on ").unwrap();
    assert!(url.starts_with("https://"), "{url}");
    let known = client_with_certificate(&authority, &authority).build().unwrap();
    assert_eq!(known.get(format!("{url}/sim/state")).send().await.unwrap().status(), 200);
    assert!(crate::https::client(&authority).build().unwrap().get(format!("{url}/sim/state")).send().await.is_err());
}
