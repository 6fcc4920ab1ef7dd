//! The client of CMDB against a server that is scripted or simulated: calls, transports, errors and limits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod calls;
mod errors;
mod evidence;
mod floods;
mod limits;
mod transports;

use std::sync::Arc;

use process_template_operator::cmdb::{Behalf, Client, GrantedClient, ServiceTemplateRef, Unbounded};

/// The client without bounds, for no object.
fn unbounded(client: Client) -> GrantedClient {
    GrantedClient::new(client, Arc::new(Unbounded), Behalf::default())
}

/// A service template of business 2.
fn of(id: i64) -> ServiceTemplateRef<'static> {
    ServiceTemplateRef { biz_id: 2, id, name: "web" }
}
