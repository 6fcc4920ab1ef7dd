//! The calls of CMDB that are made.

use std::time::Duration;

use strum::VariantArray;

/// Largest list, and largest answer of any other kind.
const MAX_LIST_BYTES: usize = 32 << 20;
pub(super) const MAX_OTHER_BYTES: usize = 1 << 20;

/// A call of CMDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, VariantArray)]
pub enum Operation {
    /// `batch_create_proc_template`
    CreateProcessTemplates,
    /// `update_proc_template`
    UpdateProcessTemplate,
    /// `delete_proc_template`
    DeleteProcessTemplates,
    /// `list_proc_template`
    ListProcessTemplates,
    /// `create_service_template`
    CreateServiceTemplate,
    /// `list_service_template`
    ListServiceTemplates,
    /// `list_service_category`
    ListServiceCategories,
}

impl Operation {
    /// Every call.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// CMDB's name of the call, in paths, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateProcessTemplates => "batch_create_proc_template",
            Self::UpdateProcessTemplate => "update_proc_template",
            Self::DeleteProcessTemplates => "delete_proc_template",
            Self::ListProcessTemplates => "list_proc_template",
            Self::CreateServiceTemplate => "create_service_template",
            Self::ListServiceTemplates => "list_service_template",
            Self::ListServiceCategories => "list_service_category",
        }
    }

    /// Largest answer that is read, in bytes after decompression. Only lists are large.
    pub(super) fn max_answer_bytes(self) -> usize {
        match self {
            Self::ListProcessTemplates | Self::ListServiceTemplates | Self::ListServiceCategories => MAX_LIST_BYTES,
            Self::CreateProcessTemplates
            | Self::UpdateProcessTemplate
            | Self::DeleteProcessTemplates
            | Self::CreateServiceTemplate => MAX_OTHER_BYTES,
        }
    }

    /// Whether it is about a whole business, rather than one service template.
    #[must_use]
    pub fn is_of_a_business(self) -> bool {
        match self {
            Self::ListServiceTemplates | Self::ListServiceCategories => true,
            Self::CreateProcessTemplates
            | Self::UpdateProcessTemplate
            | Self::DeleteProcessTemplates
            | Self::ListProcessTemplates
            | Self::CreateServiceTemplate => false,
        }
    }

    /// Whether it is a write. Writes are never retried.
    #[must_use]
    pub fn is_write(self) -> bool {
        match self {
            Self::CreateProcessTemplates
            | Self::UpdateProcessTemplate
            | Self::DeleteProcessTemplates
            | Self::CreateServiceTemplate => true,
            Self::ListProcessTemplates | Self::ListServiceTemplates | Self::ListServiceCategories => false,
        }
    }
}

/// Observes the calls, for metrics.
pub trait Observer: Send + Sync {
    /// A call finished with "ok" or the label of its error. Each attempt of a read counts.
    fn call_finished(&self, operation: Operation, outcome: &'static str, elapsed: Duration);
}
