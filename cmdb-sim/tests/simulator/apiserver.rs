//! What the apiserver answers itself.

use cmdb_sim::Transport;
use reqwest::Method;
use serde_json::{Value, json};

use reqwest::header::HeaderMap;

use crate::client::{LIST, Server, authorization, batch, content_type, credentials, everything, headers, trusted};

#[tokio::test]
async fn the_apiserver_needs_user_and_supplier_from_headers_of_either_family() {
    let server = Server::start().await;
    for (user, supplier) in [
        ("BK_User", "HTTP_BLUEKING_SUPPLIER_ID"),
        ("BK_User", "HTTP_BK_SUPPLIER_ACCOUNT"),
        ("X-Bkcmdb-User", "X-Bkcmdb-Supplier-Account"),
    ] {
        let path = "/api/v3/createmany/proc/proc_template";
        let sent = headers([(user, "bob"), (supplier, "tencent")]);
        let reply = server.send(Method::POST, path, sent, &batch(&[supplier])).await.unwrap();
        assert_eq!(reply.json::<Value>().await.unwrap()["bk_error_code"], 0);
        let template = server.simulator.state().process_templates.pop().unwrap();
        assert_eq!(
            (template.creator.as_str(), template.modifier.as_str(), template.bk_supplier_account.as_str()),
            ("bob", "bob", "tencent")
        );
        for (sent, missing) in [
            (headers([(user, "bob")]), "owner_id"),
            (headers([(supplier, "0")]), "user"),
            (headers([(user, ""), (supplier, "0")]), "user"),
            (authorization(credentials()), "owner_id"),
        ] {
            let response = server.direct(sent, everything()).await;
            assert_eq!(response.status(), 500);
            let reply: Value = response.json().await.unwrap();
            let expected = json!({"result": false, "bk_error_code": 1_199_027, "permission": null, "data": null,
                "bk_error_msg": format!("[{missing}]授权信息查询失败")});
            assert_eq!(reply, expected);
        }
    }
    // Accounts are the business of others.
    server.account("other", "right");
    assert_eq!(server.call(Transport::Direct, LIST, everything()).await["bk_error_code"], 0);
}

#[tokio::test]
async fn the_apiserver_speaks_chinese_unless_either_header_asks_for_english() {
    let server = Server::start().await;
    let (english, chinese) =
        ("'bk_biz_id' data parameter verification does not pass", "'bk_biz_id' 数据参数校验不通过");
    let both = [("X-Bkcmdb-Language", "zh-cn"), ("HTTP_BLUEKING_LANGUAGE", "en")];
    for (language, expected) in [
        (headers([]), chinese),
        (headers([("X-Bkcmdb-Language", "en")]), english),
        (headers([("HTTP_BLUEKING_LANGUAGE", "en")]), english),
        (headers([("HTTP_BLUEKING_LANGUAGE", "fr")]), chinese),
        (headers([("Blueking-Language", "en")]), chinese),
        (headers(both), chinese),
    ] {
        let mut sent = headers([("X-Bkcmdb-User", "ann"), ("X-Bkcmdb-Supplier-Account", "0")]);
        sent.extend(language.clone());
        let reply: Value = server.direct(sent, json!({})).await.json().await.unwrap();
        assert_eq!(reply["bk_error_msg"], expected, "{language:?}");
        // Behind a gateway the old name says nothing.
        let mut sent = authorization(credentials());
        sent.extend(language.clone());
        let expected = if language == headers([("X-Bkcmdb-Language", "en")]) { english } else { chinese };
        let reply: Value = server.gateway(sent, json!({})).await.json().await.unwrap();
        assert_eq!(reply["message"], expected, "{language:?}");
    }
}

#[tokio::test]
async fn an_unknown_address_of_the_apiserver_is_answered_in_plain_text() {
    let server = Server::start().await;
    for (method, path, expected) in [
        (Method::GET, "findmany/proc/proc_template", "405: Method Not Allowed"),
        (Method::POST, "update/proc/proc_template", "405: Method Not Allowed"),
        (Method::POST, "deletemany/proc/proc_template", "405: Method Not Allowed"),
        (Method::POST, "findmany/proc/no_such_thing", "404: Page Not Found"),
        (Method::POST, "", "404: Page Not Found"),
    ] {
        let response = server.send(method, &format!("/api/v3/{path}"), trusted(), &json!({})).await.unwrap();
        assert_eq!((response.status().as_u16(), content_type(&response)), (200, "text/plain; charset=utf-8"));
        assert_eq!(response.text().await.unwrap(), expected);
    }
    let requests = server.simulator.requests();
    assert!(requests.iter().all(|request| request.call.is_empty() && request.outcome() == "http 200"));
    let response = server.send(Method::POST, "/api/v3/nothing", HeaderMap::new(), &json!({})).await.unwrap();
    assert_eq!(response.status(), 500, "the headers come first");
    let response = server.send(Method::POST, "/elsewhere", trusted(), &json!({})).await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(server.simulator.requests().len(), 6, "what is nobody's address is no request");
}

#[tokio::test]
async fn answers_of_the_apiserver_itself_keep_their_envelope_behind_a_gateway() {
    let server = Server::start().await;
    let is_own = async |effect: Value, call: &str| {
        server.fault(effect).await;
        let reply: Value = server.request(Transport::Gateway, call, everything()).await.unwrap().json().await.unwrap();
        assert!(reply["code"].is_null() != reply["bk_error_code"].is_null(), "{reply}");
        reply["code"].is_null()
    };
    assert!(is_own(json!({"code": 1_199_997}), LIST).await);
    assert!(is_own(json!({"code": 1_199_998, "http_status": 500}), LIST).await);
    assert!(!is_own(json!({"code": 1_199_998}), LIST).await);
    for code in [9_900_403, 1_199_046] {
        assert!(is_own(json!({"code": code}), "list_service_template").await);
        assert!(!is_own(json!({"code": code}), LIST).await);
    }
}
