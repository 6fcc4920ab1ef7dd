//! Sockets in CMDB's two forms, and the conversion between them.

use super::ports;
use super::property::{Pair, Row, Value};
use crate::api::{BindCell, BindRow, IpAddress, Process, Property, Protocol};

/// The sockets that an item wants, in the form that its manifest uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Sockets {
    form: Form,
    // Whether nothing says what the outer flag of `bind_info` is to be.
    leaves_outer_flag: bool,
    // None: unmanaged.
    bind_info_lock: Option<bool>,
    bind_ip_lock: Option<bool>,
    port_lock: Option<bool>,
    protocol_lock: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Rows(Vec<Row>),
    Flat { ip: Option<IpAddress>, port: Option<String>, protocol: Option<Protocol> },
}

impl Sockets {
    /// The sockets of a process. `lock` answers for a property and whether it has a value: None when it is unmanaged,
    /// else whether it is locked. `is_listed`: whether a list of process or set names `bindInfo`.
    pub fn new(process: &Process, is_listed: bool, lock: impl Fn(Property, bool) -> Option<bool>) -> Self {
        let rows = process.bind_info.as_ref();
        let flat = process.bind_ip.is_some() || process.port.is_some() || process.protocol.is_some();
        let bind_info_lock = lock(Property::BindInfo, rows.is_some() || flat);

        let form = match rows {
            None if flat => Form::Flat {
                ip: process.bind_ip,
                port: process.port.as_ref().map(ToString::to_string),
                protocol: process.protocol,
            },
            rows => {
                let cell_lock = lock(Property::BindInfo, true).unwrap_or_default();
                let named = lock(Property::BindInfo, false).unwrap_or_default();
                Form::Rows(rows.into_iter().flatten().map(|row| wanted(row, cell_lock, named)).collect())
            }
        };

        Self {
            form,
            leaves_outer_flag: rows.is_none() && !is_listed,
            bind_info_lock,
            bind_ip_lock: lock(Property::BindIp, process.bind_ip.is_some()),
            port_lock: lock(Property::Port, process.port.is_some()),
            protocol_lock: lock(Property::Protocol, process.protocol.is_some()),
        }
    }

    /// Whether the outer flag of `bind_info` may be either while there are no rows.
    pub fn leaves_outer_flag(&self) -> bool {
        self.leaves_outer_flag
    }

    /// Whether the item has no socket.
    pub fn is_empty(&self) -> bool {
        matches!(&self.form, Form::Rows(rows) if rows.is_empty())
    }

    /// `bind_info` for a server that keeps rows; None when sockets are unmanaged.
    ///
    /// # Errors
    /// Why such a server cannot hold these sockets.
    pub fn as_rows(&self) -> Result<Option<Pair>, String> {
        let Some(outer) = self.bind_info_lock else { return Ok(None) };
        let rows = match &self.form {
            Form::Rows(rows) => rows.clone(),
            Form::Flat { ip, port, protocol } => {
                let (Some(ip_lock), Some(port_lock), Some(protocol_lock)) =
                    (self.bind_ip_lock, self.port_lock, self.protocol_lock)
                else {
                    return Ok(None);
                };
                let pieces = port.as_deref().filter(|port| !port.is_empty());
                if pieces.is_some() && protocol.is_none() {
                    return Err("port needs protocol on this server, which keeps sockets as bindInfo rows".to_owned());
                }
                pieces
                    .into_iter()
                    .flat_map(|port| port.split(','))
                    .map(|piece| Row {
                        id: None,
                        ip: Pair { value: code(ip.map(IpAddress::code)), locked: ip_lock },
                        port: Pair::new(piece, port_lock),
                        protocol: Pair { value: code(protocol.map(Protocol::code)), locked: protocol_lock },
                        enable: Pair::new(true, port_lock),
                        others: None,
                    })
                    .collect()
            }
        };

        Ok(Some(Pair { value: Value::rows(rows), locked: outer }))
    }

    /// `bind_ip`, `port` and `protocol` for an older server; only those that are managed.
    ///
    /// # Errors
    /// Why such a server cannot hold these sockets.
    pub fn as_flat(&self) -> Result<Vec<(Property, Pair)>, String> {
        if self.bind_info_lock.is_none() {
            return Ok(Vec::new());
        }
        let values = match &self.form {
            Form::Rows(rows) if !rows.is_empty() => return flatten(rows),
            Form::Rows(_) => [Value::Empty, Value::Empty, Value::Empty],
            Form::Flat { ip, port, protocol } => {
                [code(ip.map(IpAddress::code)), code(port.as_deref()), code(protocol.map(Protocol::code))]
            }
        };
        let locks = [self.bind_ip_lock, self.port_lock, self.protocol_lock];
        let pairs = Property::FLAT_SOCKETS.into_iter().zip(values).zip(locks);
        Ok(pairs.filter_map(|((property, value), lock)| Some((property, Pair { value, locked: lock? }))).collect())
    }
}

// An older server has one address and one protocol for all ports of a process, and no IPv6.
fn flatten(rows: &[Row]) -> Result<Vec<(Property, Pair)>, String> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let alike =
        |row: &Row| row.ip == first.ip && row.protocol == first.protocol && row.port.locked == first.port.locked;
    if !rows.iter().all(alike) {
        return Err(
            "this server keeps one ip and one protocol for all ports of a process: the bindInfo rows must share \
                    ip, protocol and locks"
                .to_owned(),
        );
    }

    let ip = first.ip.value.as_text().and_then(IpAddress::from_code);
    let protocol = first.protocol.value.as_text().and_then(Protocol::from_code);
    if ip.is_some_and(IpAddress::is_v6) || protocol.is_some_and(Protocol::is_v6) {
        return Err("this server has no IPv6 sockets".to_owned());
    }

    if rows.iter().any(|row| row.enable.value == Value::Bool(false)) {
        return Err("this server cannot keep a socket that is not enabled".to_owned());
    }

    let pieces: Vec<&str> = rows.iter().filter_map(|row| row.port.value.as_text()).collect();
    let list = pieces.join(",");
    ports::ranges(&list).map_err(str::to_owned)?;
    Ok(vec![
        (Property::BindIp, first.ip.clone()),
        (Property::Port, Pair::new(list.as_str(), first.port.locked)),
        (Property::Protocol, first.protocol.clone()),
    ])
}

fn code(value: Option<&str>) -> Value {
    value.map_or(Value::Empty, Value::from)
}

// The row that a manifest wants. `default`: the lock of a cell that the row does not name; `named`: the same for a cell
// without a value.
fn wanted(row: &BindRow, default: bool, named: bool) -> Row {
    let lists = |cell: BindCell, empty: bool| {
        let names = |list: &Option<Vec<BindCell>>| list.as_ref().is_some_and(|list| list.contains(&cell));
        names(&row.locked) || !names(&row.unlocked) && if empty { named } else { default }
    };
    let pair = |cell, value: Value| Pair { locked: lists(cell, value == Value::Empty), value };
    Row {
        id: None,
        ip: pair(BindCell::Ip, code(row.ip.map(IpAddress::code))),
        port: pair(BindCell::Port, row.port.to_string().as_str().into()),
        protocol: pair(BindCell::Protocol, row.protocol.code().into()),
        enable: pair(BindCell::Enable, row.enable.map_or(Value::Empty, Value::from)),
        others: None,
    }
}
