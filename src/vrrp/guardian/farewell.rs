//! The goodbye: "my main process has ended, and its addresses are removed".
//!
//! Invariants: it was signed by the main process, which alone has the key; it is sent on every path
//! and never waits for one. Deliberately absent: knowing what it says.

use super::message::Goodbye;
use log::{debug, info};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Pauses before each copy: a single datagram may be lost, one that is late helps nobody.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(10)];

pub(super) fn send(goodbye: &Goodbye) {
    let mut open = Vec::with_capacity(goodbye.paths.len());
    for (own, peer) in &goodbye.paths {
        match socket(*own) {
            Ok(socket) => open.push((socket, *peer)),
            Err(e) => debug!(addr:% = own, err:% = e; "no goodbye on this path"),
        }
    }
    let mut sent = 0_usize;
    for pause in PAUSES {
        std::thread::sleep(pause);
        for (socket, peer) in &open {
            match socket.send_to(&goodbye.datagram, &(*peer).into()) {
                Ok(_) => sent += 1,
                Err(e) => debug!(peer:% = peer, err:% = e; "a goodbye was not sent"),
            }
        }
    }
    info!(count = sent; "goodbye said to the peer");
}

/// From our address on that path, any port: the main process's may still be taken.
fn socket(own: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(own), Type::DGRAM, Some(Protocol::UDP))?;
    if own.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_freebind_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(own.ip(), 0).into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_goodbye_goes_out_on_every_path_that_there_is() {
        let peers =
            [UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap()];
        let own: SocketAddr = "127.0.0.1:7400".parse().unwrap();
        let mut paths: Vec<_> = peers.iter().map(|p| (own, p.local_addr().unwrap())).collect();
        paths.insert(0, (own, "[::1]:9".parse().unwrap()));
        send(&Goodbye { datagram: b"gone".to_vec(), paths });
        for peer in peers {
            peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut buffer = [0; 8];
            for _ in PAUSES {
                let (len, _) = peer.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..len], b"gone");
            }
        }
    }
}
