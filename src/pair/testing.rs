//! What the tests of this room share.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

/// An address whose port is free for TCP and UDP.
pub(super) fn free() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = tcp.local_addr().unwrap();
        if UdpSocket::bind(at).is_ok() {
            return at;
        }
    }
}

/// Waits, but not forever.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}
