//! The calls of the API that the simulator answers.

/// Which call of the API a request makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    BatchCreateProcTemplate,
    UpdateProcTemplate,
    DeleteProcTemplate,
    ListProcTemplate,
    GetProcTemplate,
    ListServiceTemplate,
    GetServiceTemplate,
    CreateServiceTemplate,
    DeleteServiceTemplate,
    ListServiceCategory,
}

impl Operation {
    /// Every component of the ESB. It has none that gets a process template: its own route for that leads to a method that
    /// no daemon serves.
    const COMPONENTS: [Self; 8] = [
        Self::BatchCreateProcTemplate,
        Self::UpdateProcTemplate,
        Self::DeleteProcTemplate,
        Self::ListProcTemplate,
        Self::ListServiceTemplate,
        Self::CreateServiceTemplate,
        Self::DeleteServiceTemplate,
        Self::ListServiceCategory,
    ];

    /// The operation of an ESB component; nothing when no call has this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::COMPONENTS.into_iter().find(|operation| operation.name() == name)
    }

    /// Name in the ESB, which faults and records use on every transport.
    pub fn name(self) -> &'static str {
        match self {
            Self::BatchCreateProcTemplate => "batch_create_proc_template",
            Self::UpdateProcTemplate => "update_proc_template",
            Self::DeleteProcTemplate => "delete_proc_template",
            Self::ListProcTemplate => "list_proc_template",
            Self::GetProcTemplate => "get_proc_template",
            Self::ListServiceTemplate => "list_service_template",
            Self::GetServiceTemplate => "get_service_template",
            Self::CreateServiceTemplate => "create_service_template",
            Self::DeleteServiceTemplate => "delete_service_template",
            Self::ListServiceCategory => "list_service_category",
        }
    }

    /// Whether it is about service templates or their categories.
    pub fn is_of_service_templates(self) -> bool {
        match self {
            Self::ListServiceTemplate
            | Self::GetServiceTemplate
            | Self::CreateServiceTemplate
            | Self::DeleteServiceTemplate
            | Self::ListServiceCategory => true,
            Self::BatchCreateProcTemplate
            | Self::UpdateProcTemplate
            | Self::DeleteProcTemplate
            | Self::ListProcTemplate
            | Self::GetProcTemplate => false,
        }
    }

    /// Whether it answers a list.
    pub fn is_list(self) -> bool {
        matches!(self, Self::ListProcTemplate | Self::ListServiceTemplate | Self::ListServiceCategory)
    }

    /// Whether it changes anything.
    pub fn is_write(self) -> bool {
        match self {
            Self::BatchCreateProcTemplate
            | Self::UpdateProcTemplate
            | Self::DeleteProcTemplate
            | Self::CreateServiceTemplate
            | Self::DeleteServiceTemplate => true,
            Self::ListProcTemplate
            | Self::GetProcTemplate
            | Self::ListServiceTemplate
            | Self::GetServiceTemplate
            | Self::ListServiceCategory => false,
        }
    }
}
