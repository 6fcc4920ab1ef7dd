//! How a set loses the right to ask CMDB for what it asks for, and what CMDB must not receive any more.

use cmdb_sim::RequestRecord;
use serde_json::{Value, json};

use crate::stories::SET;
use crate::world::{BANK, FOREIGN, Fence, GRANTED, SHOP, own, shared, spec, to_shared};

/// The name of the connection of every story.
pub const CONNECTION: &str = "main";

/// How the set reaches CMDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Over a connection of the cluster.
    Shared,
    /// Over a connection of its namespace.
    Own,
}

/// How the right is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// The connection has no grants any more.
    NoGrants,
    /// The grant names another business.
    OtherBusiness,
    /// The grant names another namespace.
    OtherNamespace,
    /// The labels of the namespace do not match any more.
    OtherLabels,
    /// The grant is narrowed to a service template of another name.
    OtherName,
    /// The grant is narrowed to a service template of another ID.
    OtherId,
    /// The connection is deleted.
    Deleted,
    /// Another connection object has taken the name, with other credentials.
    Replaced,
    /// The same, and its Secret does not exist.
    ReplacedWithoutSecret,
    /// The connection names other credentials.
    Edited,
    /// The connection cannot be read any more.
    Malformed,
    /// A connection of the same name and the other kind is there instead.
    OtherKind,
    /// Another set has taken the name, for a business that is not granted.
    Recreated,
    /// The same, and its connection does not exist.
    RecreatedNowhere,
    /// The grant is gone, the set names a connection that does not exist, and is deleted.
    Repointed,
}

impl Via {
    /// Every way.
    pub const ALL: &[Self] = &[Self::Shared, Self::Own];

    /// A reference to the connection.
    pub fn reference(self) -> Value {
        match self {
            Self::Shared => to_shared(CONNECTION),
            Self::Own => json!({ "name": CONNECTION }),
        }
    }

    /// `bk_app_code` of the connection.
    fn app(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Own => "own",
        }
    }

    /// Makes the connection, or gives it other credentials, grants and limits.
    pub fn put(self, fence: &Fence, secret: &str, grants: &Value) {
        let mut spec = json!({ "url": fence.paused.sim().url(), "limits": { "requestsPerSecond": fence.rate } });
        match self {
            Self::Shared => {
                spec["grants"] = grants.clone();
                spec["credentialsSecretRef"] = json!({ "namespace": "system", "name": secret });
                fence.put_shared(CONNECTION, &spec);
            }
            Self::Own => {
                spec["credentialsSecretRef"] = json!({ "name": secret });
                fence.put_own(CONNECTION, &spec);
            }
        }
    }

    fn delete(self, fence: &Fence) {
        let place = match self {
            Self::Shared => shared(CONNECTION),
            Self::Own => own(CONNECTION),
        };
        fence.paused.api.delete(&place);
    }
}

/// The grant of every story: by labels.
pub fn granted() -> Value {
    json!([{ "namespaces": { "selector": { "matchLabels": { "team": SHOP } } }, "bizIds": [GRANTED] }])
}

impl Taking {
    /// Every way of this kind of connection.
    pub fn all(via: Via, is_deletion: bool) -> Vec<Self> {
        match via {
            Via::Shared => Self::OFTEN.iter().flat_map(|alike| alike.iter()).chain(Self::IN_TURN).copied().collect(),
            // What is deleted before the set is used for its deletion: that is promised.
            Via::Own if is_deletion => vec![Self::Replaced, Self::ReplacedWithoutSecret, Self::Edited, Self::Malformed],
            Via::Own => vec![
                Self::Replaced,
                Self::ReplacedWithoutSecret,
                Self::Edited,
                Self::Malformed,
                Self::Deleted,
                Self::OtherKind,
            ],
        }
    }

    /// Those that are tried at one call: the ways that have been ways through before at every call, the others in turn.
    pub fn at(via: Via, is_deletion: bool, call: usize) -> Vec<Self> {
        match via {
            Via::Shared => {
                let often = Self::OFTEN.iter().map(|alike| alike[call % alike.len()]);
                often.chain([Self::IN_TURN[call % Self::IN_TURN.len()]]).collect()
            }
            Via::Own => {
                let all = Self::all(via, is_deletion);
                vec![all[call % all.len()]]
            }
        }
    }

    /// The one that is tried while a call waits, for the limiter or for its retry.
    pub fn while_waiting(turn: usize) -> Self {
        Self::WHILE_WAITING[turn % Self::WHILE_WAITING.len()]
    }

    /// The ways while a call waits: the grant is removed, narrowed or for other labels, the connection is deleted, replaced, or
    /// names other credentials.
    pub const WHILE_WAITING: &[Self] = &[
        Self::NoGrants,
        Self::OtherName,
        Self::OtherLabels,
        Self::Deleted,
        Self::Edited,
        Self::OtherId,
        Self::Replaced,
    ];

    // Of each, one at every call.
    const OFTEN: &[&[Self]] = &[
        &[Self::NoGrants],
        &[Self::Replaced, Self::ReplacedWithoutSecret],
        &[Self::OtherKind],
        &[Self::Recreated, Self::RecreatedNowhere],
        &[Self::Repointed],
    ];

    const IN_TURN: &[Self] = &[
        Self::OtherBusiness,
        Self::OtherNamespace,
        Self::OtherLabels,
        Self::OtherName,
        Self::OtherId,
        Self::Deleted,
        Self::Edited,
        Self::Malformed,
    ];

    /// Takes the right away.
    pub async fn take(self, fence: &Fence, via: Via) {
        let narrowed = |chosen: Value| {
            let mut grants = granted();
            grants[0]["serviceTemplates"] = chosen;
            grants
        };
        let grants_are = |grants: Value| via.put(fence, "cmdb", &grants);
        match self {
            Self::NoGrants => grants_are(json!([])),
            Self::OtherBusiness => grants_are(json!([{ "namespaces": { "matchNames": [SHOP] }, "bizIds": [9] }])),
            Self::OtherNamespace => {
                grants_are(json!([{ "namespaces": { "matchNames": [BANK] }, "bizIds": [GRANTED] }]));
            }
            Self::OtherLabels => fence.label("another").await,
            Self::OtherName => grants_are(narrowed(json!({ "matchNames": ["another"] }))),
            Self::OtherId => grants_are(narrowed(json!({ "matchIds": [99_999] }))),
            Self::Deleted => via.delete(fence),
            Self::Replaced => {
                via.delete(fence);
                via.put(fence, "other", &granted());
            }
            Self::ReplacedWithoutSecret => {
                via.delete(fence);
                via.put(fence, "nothing", &granted());
            }
            Self::Edited => via.put(fence, "other", &granted()),
            Self::Malformed => match via {
                Via::Shared => fence.put_shared(CONNECTION, &json!({ "url": 7, "grants": granted() })),
                Via::Own => fence.put_own(CONNECTION, &json!({ "url": 7 })),
            },
            Self::OtherKind => {
                via.delete(fence);
                match via {
                    Via::Shared => Via::Own.put(fence, "cmdb", &granted()),
                    Via::Own => Via::Shared.put(fence, "cmdb", &granted()),
                }
            }
            Self::Recreated => recreate(fence, &via.reference()).await,
            Self::RecreatedNowhere => recreate(fence, &json!({ "name": "nothing" })).await,
            Self::Repointed => {
                grants_are(json!([]));
                if fence.seen(SHOP, SET).is_some() {
                    fence.repoint(SET, &json!({ "name": "nothing" })).await;
                    fence.delete(SET);
                }
            }
        }
    }

    /// Whether CMDB must not receive this afterwards.
    pub fn forbids(self, via: Via, record: &RequestRecord) -> bool {
        let is_in = |biz_id: i64| record.body["bk_biz_id"] == biz_id;
        let is_of = |app: &str| record.body["bk_app_code"] == app;
        match self {
            Self::NoGrants | Self::OtherBusiness | Self::OtherNamespace | Self::OtherLabels | Self::Repointed => {
                is_in(GRANTED)
            }
            // The business may still be listed, to find them.
            Self::OtherName | Self::OtherId => {
                is_in(GRANTED) && !matches!(&*record.call, "list_service_template" | "list_service_category")
            }
            Self::Deleted | Self::Malformed | Self::OtherKind => is_in(GRANTED),
            Self::Replaced | Self::ReplacedWithoutSecret | Self::Edited => is_in(GRANTED) && is_of(via.app()),
            Self::Recreated | Self::RecreatedNowhere => is_in(FOREIGN),
        }
    }

    /// Whether it would be received if the right were not lost: else the story shows nothing.
    pub fn is_of_another_set(self) -> bool {
        matches!(self, Self::Recreated | Self::RecreatedNowhere)
    }
}

// Another set takes the name, has the finalizer already, and is deleted at once.
async fn recreate(fence: &Fence, connection: &Value) {
    if fence.seen(SHOP, SET).is_some() {
        fence.release(SET).await;
        if fence.seen(SHOP, SET).is_some() {
            fence.delete(SET);
        }
    }
    let mut other = spec(connection, FOREIGN, "web", "./run");
    other["adoptionPolicy"] = json!("Always");
    other["replacePolicy"] = json!("Recreate");
    fence.apply_held(SET, &other);
    fence.delete(SET);
}
