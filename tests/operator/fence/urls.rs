//! Where connections may not lead.

use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Crossings;
use test_support::tenants::Tenants;

/// The operator's own way of saying that a connection leads where none may.
async fn leads_nowhere(world: &Tenants, crossings: &mut Crossings, urls: &[&str], is_shared: bool) {
    for url in urls {
        let name = "astray";
        if is_shared {
            world.put_shared(name, url).await;
            world.until_shared(name, "ConnectionInvalid").await;
            world.shared_connections().delete(name, &DeleteParams::default()).await.unwrap();
        } else {
            let spec = json!({ "url": url, "credentialsSecretRef": { "name": "cmdb" } });
            world.shop.put_connection(name, &spec).await;
            world.shop.until_connection(name, "ConnectionInvalid").await;
            world.shop.connections().delete(name, &DeleteParams::default()).await.unwrap();
        }
        crossings.refused(url, true);
    }
}

pub async fn of_no_connection(world: &Tenants, crossings: &mut Crossings) {
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = trap.local_addr().unwrap().port();
    let api_server = world.plane.server_url();
    let (here, link_local) = (format!("https://127.0.0.1:{port}"), "https://169.254.169.254");
    let in_other_words = [format!("https://[::ffff:127.0.0.1]:{port}"), format!("https://2130706433:{port}")];
    let [mapped, number] = in_other_words.each_ref().map(String::as_str);
    let plain = format!("http://127.0.0.1:{port}");
    let tenants =
        [&here, link_local, api_server, "https://10.0.0.1", mapped, number, &plain, "http://cmdb.example.com"];
    leads_nowhere(world, crossings, &tenants, false).await;
    leads_nowhere(world, crossings, &[&here, &plain, link_local, api_server, "http://10.0.0.1"], true).await;

    // A name is allowed by its looks; nothing is sent to where it leads.
    let name = format!("https://localhost:{port}");
    let spec = json!({ "url": name, "credentialsSecretRef": { "name": "cmdb" } });
    world.shop.put_connection("astray", &spec).await;
    world.shop.until_connection("astray", "Unreachable").await;
    world.put_shared("astray", &name.replace("https", "http")).await;
    world.until_shared("astray", "Unreachable").await;
    let came = tokio::time::timeout(std::time::Duration::ZERO, trap.accept()).await;
    crossings.refused("a name that leads to this machine", came.is_err());
    let by_name = api_server.replace("127.0.0.1", "localhost");
    let before = world.plane.audit_events("").len();
    world.shop.put_connection("astray", &json!({ "url": by_name, "credentialsSecretRef": { "name": "cmdb" } })).await;
    world.shop.until_connection("astray", "Unreachable").await;
    let sent = |event: &Value| event["requestURI"].as_str().is_some_and(|uri| uri.contains("compapi"));
    crossings.refused("the API server by a name", !world.plane.audit_events("")[before..].iter().any(sent));
    world.shop.connections().delete("astray", &DeleteParams::default()).await.unwrap();
    world.shared_connections().delete("astray", &DeleteParams::default()).await.unwrap();
}

pub async fn beside_the_list(world: &Tenants, crossings: &mut Crossings) {
    let urls = [
        "https://cmdb.example.org/api",
        "https://cmdb.example.com/apis",
        "https://cmdb.example.com/api/../other",
        "https://cmdb.example.com.evil.example/api",
        "https://cmdb.example.com:8443/api",
        "http://cmdb.example.com/api",
    ];
    leads_nowhere(world, crossings, &urls, false).await;
    // Whoever may write what belongs to the cluster is not bound to the list, but to the addresses.
    leads_nowhere(world, crossings, &["https://127.0.0.1", "http://127.0.0.1"], true).await;
}
