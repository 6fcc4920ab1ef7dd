//! The CMDB client.
