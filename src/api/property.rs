//! The properties of a process template under both of their names.

use serde::{Deserialize, Serialize};

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $text:literal $cmdb:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $(#[doc = concat!("`", $cmdb, "`")] #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every name, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in a manifest.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The name on the wire and in CMDB's own documents.
            #[must_use]
            pub fn cmdb_name(self) -> &'static str {
                match self { $(Self::$variant => $cmdb,)+ }
            }
        }
    };
}

names! {
    /// A property of a process template other than its two names, which the server always locks.
    Property {
        AutoStart "autoStart" "auto_start",
        AutoTimeGap "autoTimeGap" "auto_time_gap",
        BindInfo "bindInfo" "bind_info",
        BindIp "bindIp" "bind_ip",
        Description "description" "description",
        ForceStopCmd "forceStopCmd" "face_stop_cmd",
        FuncId "funcId" "bk_func_id",
        PidFile "pidFile" "pid_file",
        Port "port" "port",
        Priority "priority" "priority",
        ProcNum "procNum" "proc_num",
        Protocol "protocol" "protocol",
        ReloadCmd "reloadCmd" "reload_cmd",
        RestartCmd "restartCmd" "restart_cmd",
        StartCheckSeconds "startCheckSeconds" "bk_start_check_secs",
        StartCmd "startCmd" "start_cmd",
        StartParamRegex "startParamRegex" "bk_start_param_regex",
        StopCmd "stopCmd" "stop_cmd",
        TimeoutSeconds "timeoutSeconds" "timeout",
        User "user" "user",
        WorkPath "workPath" "work_path",
    }
}

names! {
    /// A cell of a `bindInfo` row.
    BindCell {
        Enable "enable" "enable",
        Ip "ip" "ip",
        Port "port" "port",
        Protocol "protocol" "protocol",
    }
}

impl Property {
    /// Sockets in the form of older servers.
    pub const FLAT_SOCKETS: [Self; 3] = [Self::BindIp, Self::Port, Self::Protocol];

    /// Whether it describes listening sockets; those are held in one of two forms, depending on the server's schema.
    #[must_use]
    pub fn is_socket(self) -> bool {
        matches!(self, Self::BindInfo | Self::BindIp | Self::Port | Self::Protocol)
    }

    /// The property that CMDB knows under this name.
    #[must_use]
    pub fn from_cmdb_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|property| property.cmdb_name() == name)
    }
}

/// CMDB name of the process name: always locked by the server, unique in a service template.
pub const PROCESS_NAME: &str = "bk_process_name";

/// CMDB name of the function name: always locked by the server, never changed by an update.
pub const FUNC_NAME: &str = "bk_func_name";
