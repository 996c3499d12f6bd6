//! The way between two nodes, which can be cut: then beacons are lost and sessions stand still, as
//! with a cable that was pulled. Connections that lived through a cut end with it.

use super::free;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Both directions of it.
pub(super) struct Way {
    cut: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Way {
    /// Leads to `targets`; gives the addresses that stand for them.
    pub(super) async fn to(targets: [SocketAddr; 2]) -> (Self, [SocketAddr; 2]) {
        let (cut, is_cut) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut doors = targets;
        for (door, target) in doors.iter_mut().zip(targets) {
            let (at, tcp, udp) = loop {
                let at = free();
                let tcp = TcpListener::bind(at).await;
                if let (Ok(tcp), Ok(udp)) = (tcp, UdpSocket::bind(at).await) {
                    break (at, tcp, udp);
                }
            };
            *door = at;
            tasks.spawn(datagrams(udp, target, is_cut.clone()));
            tasks.spawn(connections(tcp, target, is_cut.clone()));
        }
        (Self { cut, _tasks: tasks }, doors)
    }

    pub(super) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

async fn datagrams(socket: UdpSocket, target: SocketAddr, is_cut: watch::Receiver<bool>) {
    let socket = Arc::new(socket);
    let mut buffer = [0; 2_048];
    loop {
        // Errors are what earlier datagrams met: the target may be down.
        let Ok((len, _)) = socket.recv_from(&mut buffer).await else { continue };
        if !*is_cut.borrow() {
            socket.send_to(&buffer[..len], target).await.unwrap_or_default();
        }
    }
}

async fn connections(door: TcpListener, target: SocketAddr, is_cut: watch::Receiver<bool>) {
    let mut running = JoinSet::new();
    loop {
        let (from, _) = door.accept().await.unwrap();
        while running.try_join_next().is_some() {}
        if !*is_cut.borrow() {
            running.spawn(connection(from, target, is_cut.clone()));
        }
    }
}

async fn connection(mut from: TcpStream, target: SocketAddr, mut is_cut: watch::Receiver<bool>) {
    let Ok(mut to) = TcpStream::connect(target).await else { return };
    for stream in [&from, &to] {
        stream.set_nodelay(true).unwrap_or_default(); // It may have been closed already.
    }
    let mut begins = is_cut.clone();
    let ended = async {
        copy_bidirectional(&mut from, &mut to).await.unwrap_or_default();
    };
    tokio::select! {
        () = ended => {}
        _ = begins.wait_for(|cut| *cut) => {}
    }
    // Nothing moves, and nobody is told. (An end of the sender is the history's.)
    is_cut.wait_for(|cut| !*cut).await.map(drop).unwrap_or_default();
}
