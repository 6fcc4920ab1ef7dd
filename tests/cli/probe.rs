//! `ptset probe`: what it says of one who is ready, of one who is not, and of nobody.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use test_support::closed::Closed;
use test_support::command::{Said, ptset};
use tokio::net::TcpListener;

async fn probe(url: &str) -> Said {
    // Nothing listens there: a probe goes through no proxy.
    Said::by(ptset(&["probe", "--url", url]).env("HTTP_PROXY", "http://127.0.0.1:9"), &[]).await
}

#[tokio::test]
async fn the_exit_status_says_whether_an_operator_is_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/readyz", get(|| std::future::ready("ok\n")))
        .route("/later", get(|| std::future::ready((StatusCode::SERVICE_UNAVAILABLE, "not yet\n"))));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let said = probe(&format!("{url}/readyz")).await;
    assert!(said.status == 0 && said.text == "200 OK: ok\n", "{said:#?}");
    let said = probe(&format!("{url}/later")).await;
    assert!(said.status == 1 && said.text == "503 Service Unavailable: not yet\n", "{said:#?}");
    let said = probe(&Closed::new().url()).await;
    assert!(said.status == 1 && said.errors.contains("nothing answers at http://127.0.0.1"), "{said:#?}");
}
