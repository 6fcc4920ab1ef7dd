//! The CMDB simulator.
