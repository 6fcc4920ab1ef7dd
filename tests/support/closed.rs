//! A port at which nobody answers.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// An address that refuses connections, and that no other server gets for as long as this lives.
pub struct Closed {
    _socket: TcpSocket,
    pub address: SocketAddr,
}

impl Closed {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { _socket: socket, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
