//! Service categories: a tree of two levels. An installation starts with twenty.

use serde::{Deserialize, Serialize};

/// A service category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceCategory {
    /// Business; 0 means all of them.
    pub bk_biz_id: i64,
    /// ID.
    pub id: i64,
    /// Name.
    pub name: String,
    /// ID of the root above it, or its own.
    pub bk_root_id: i64,
    /// ID of the category above it; 0 for a root.
    pub bk_parent_id: i64,
    /// Supplier account.
    pub bk_supplier_account: String,
    /// Came with the installation.
    pub is_built_in: bool,
}

impl Default for ServiceCategory {
    fn default() -> Self {
        Self {
            bk_biz_id: 0,
            id: 0,
            name: String::new(),
            bk_root_id: 0,
            bk_parent_id: 0,
            bk_supplier_account: "0".to_owned(),
            is_built_in: false,
        }
    }
}

/// The roots that come with an installation, and the leaves of each, in the order in which they are stored.
const BUILT_IN: &[(&str, &[&str])] = &[
    ("Default", &["Default"]),
    ("数据库", &["Mysql", "Redis", "Oracle", "SQLServer", "MongoDB", "Etcd", "Zookeeper"]),
    ("消息队列", &["Kafka", "RabbitMQ"]),
    ("HTTP 服务", &["Nginx", "Apache", "Tomcat"]),
    ("存储", &["Ceph", "NFS"]),
];

/// The categories that come with an installation.
pub(crate) fn built_in() -> Vec<ServiceCategory> {
    let mut categories: Vec<ServiceCategory> = Vec::new();
    for (root, leaves) in BUILT_IN {
        let bk_root_id = categories.last().map_or(0, |category| category.id) + 1;
        for (id, name) in (bk_root_id..).zip(std::iter::once(root).chain(*leaves)) {
            categories.push(ServiceCategory {
                id,
                name: (*name).to_owned(),
                bk_root_id,
                bk_parent_id: if id == bk_root_id { 0 } else { bk_root_id },
                is_built_in: true,
                ..ServiceCategory::default()
            });
        }
    }
    categories
}
