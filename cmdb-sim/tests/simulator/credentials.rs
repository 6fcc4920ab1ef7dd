//! Credentials and languages of the ESB's callers.

use cmdb_sim::Account;
use serde_json::{Value, json};

use crate::esb::{DELETE, LIST, Server, UPDATE, change, deletion, invalid, refusal};

#[tokio::test]
async fn credentials_are_checked_before_anything_else() {
    let server = Server::start().await;
    let call = async |body: Value| refusal(&server.call(LIST, body).await);
    assert!(call(json!({"bk_app_code": ""})).await.1.starts_with("APP Code [bk_app_code]"));
    assert!(call(json!({"bk_app_secret": ""})).await.1.starts_with("APP Secret [bk_app_secret]"));
    let (code, message) = call(json!({"bk_username": ""})).await;
    assert!(code == 1_306_000 && message.starts_with("User authentication failed"), "{code} {message}");
    for token in ["bk_token", "bk_access_token", "access_token"] {
        assert_eq!(call(json!({"bk_username": "", token: "t"})).await, invalid("bk_biz_id"));
    }
    let account = Account { app_code: "app".to_owned(), app_secret: "right".to_owned() };
    server.simulator.update_state(|state| state.accounts.push(account));
    let (code, message) = call(json!({})).await;
    assert!(code == 1_306_000 && message.starts_with("APP Secret verification failed"), "{code} {message}");
    assert!(call(json!({"bk_app_code": "other"})).await.1.starts_with("Invalid APP Code [bk_app_code=other]"));
    assert_eq!(call(json!({"bk_app_secret": "right"})).await, invalid("bk_biz_id"));
    assert_eq!(refusal(&server.raw("no_such_call", "{}").await).0, 1_306_404);
    assert_eq!(refusal(&server.raw(LIST, "{").await).0, 1_306_000);
}

#[tokio::test]
async fn messages_are_english_unless_the_caller_asks_for_another_language() {
    let server = Server::start().await;
    let body = json!({"bk_app_code": "a", "bk_app_secret": "b", "bk_username": "c"});
    for (language, expected) in [("en", invalid("bk_biz_id").1), ("zh-cn", "'bk_biz_id' 数据参数校验不通过".to_owned())]
    {
        let request = server.client.post(server.url(LIST)).header("Blueking-Language", language).json(&body);
        let reply: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(reply["message"], expected);
    }
}

#[tokio::test]
async fn new_messages_are_chinese_for_all_but_english_callers() {
    let server = Server::start().await;
    let call = async |name: &str, body: Value| -> Value {
        let mut body = body;
        for key in ["bk_app_code", "bk_app_secret", "bk_username"] {
            body[key] = json!("x");
        }
        let url = format!("{}/api/c/compapi/v2/cc/{name}/", server.simulator.url());
        let request = server.client.post(url).header("Blueking-Language", "zh-cn").json(&body);
        request.send().await.unwrap().json::<Value>().await.unwrap()["message"].clone()
    };
    assert_eq!(call(DELETE, deletion(&[1])).await, "删除配置模板失败");
    assert_eq!(call(DELETE, json!({})).await, "'process_templates' 未赋值");
    assert_eq!(call(UPDATE, json!({})).await, "输入参数无效");
    assert_eq!(call(UPDATE, change(1, json!({}))).await, "未找到相关数据");
}
