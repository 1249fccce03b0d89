//! Connections: accepted, bounded, given to the routes.

mod certificate;
mod impatient;
mod seats;
mod troubles;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::WebSettings;
use crate::procfs;

use certificate::Current;
use impatient::Impatient;
use seats::Seats;
use troubles::Troubles;

/// So many connections over TCP at once.
const MAX_CONNECTIONS: usize = 128;
/// So many of them are one peer's.
const MAX_PER_PEER: usize = 32;
/// So many connections over the Unix socket at once: a full house on the network keeps nobody on the machine out.
const MAX_LOCAL: usize = 32;
/// A request's head, and a TLS handshake, must have come within this.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A peer must have taken the next piece of an answer within this.
const TAKING_TIME: Duration = Duration::from_secs(30);
/// Room for a request's head, in bytes.
const HEAD_ROOM: usize = 32 << 10;
/// What cannot be bound is tried again after this.
const AGAIN: Duration = Duration::from_secs(15);
/// Pause after the system refused a connection, out of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// By which way a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The Unix socket: its permissions have decided.
    Socket,
    /// From this address.
    Tcp { peer: IpAddr, tls: bool },
}

/// Whether other machines reach an address.
pub(super) fn needs_tls(address: &SocketAddr) -> bool {
    !address.ip().is_loopback()
}

/// The address of this machine from which it would reach others; nothing is sent to find out.
pub(super) fn outward(listen: &SocketAddr) -> Option<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): nobody is there, and the route to them is the usual one.
    let far = if listen.is_ipv4() { "192.0.2.1:9" } else { "[2001:db8::1]:9" };
    let socket = std::net::UdpSocket::bind(SocketAddr::new(listen.ip(), 0)).ok()?;
    socket.connect(far).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

pub(super) fn spawn(
    settings: &WebSettings,
    state: &Path,
    name: &str,
    routes: &Router,
    trouble: mpsc::Sender<Option<String>>,
) {
    let served = |most| Served { routes: routes.clone(), places: Arc::new(Semaphore::new(most)) };
    let (far, near, seats) = (served(MAX_CONNECTIONS), served(MAX_LOCAL), Seats::default());
    let troubles = Troubles::new(trouble);
    let tls = settings.listen.iter().any(needs_tls).then(|| certificate::keep(settings, state, name, troubles.clone()));
    for address in settings.listen.clone() {
        let tls = tls.clone().filter(|_| needs_tls(&address));
        tokio::spawn(serve_tcp(address, tls, (far.clone(), seats.clone()), troubles.clone()));
    }
    let socket = settings.socket.clone().unwrap_or_else(|| state.join("http.sock"));
    tokio::spawn(serve_unix(socket, near, troubles));
}

#[derive(Debug, Clone)]
struct Served {
    routes: Router,
    places: Arc<Semaphore>,
}

async fn serve_tcp(
    address: SocketAddr,
    mut tls: Option<Current>,
    (served, seats): (Served, Seats),
    troubles: Troubles,
) {
    // Without a certificate nobody is let in here, and the other ways in are open all the same.
    if let Some(tls) = &mut tls
        && tls.wait_for(Option::is_some).await.is_err()
    {
        return;
    }
    let listener =
        bound(|| TcpListener::bind(address), |error| taken(address, error), &address.to_string(), &troubles).await;
    tracing::info!(%address, tls = tls.is_some(), "the page and the API are here");
    loop {
        let place = served.place().await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                let way = Way::Tcp { peer: peer.ip().to_canonical(), tls: tls.is_some() };
                let Some(seat) = seats.take(peer.ip(), MAX_PER_PEER) else {
                    tracing::debug!(%peer, "a peer has {MAX_PER_PEER} connections already");
                    continue;
                };
                let (served, tls) = (served.clone(), tls.clone());
                tokio::spawn(async move {
                    let _seat = seat;
                    match tls {
                        None => served.attend(stream, way, place).await,
                        Some(tls) => {
                            let Some(tls) = tls.borrow().clone() else { return };
                            match timeout(HEAD_TIME, tls.accept(stream)).await {
                                Ok(Ok(stream)) => served.attend(stream, way, place).await,
                                Ok(Err(error)) => tracing::debug!(%error, %peer, "no TLS with a peer"),
                                Err(_) => tracing::debug!(%peer, "a peer does not get on with its TLS handshake"),
                            }
                        }
                    }
                });
            }
            Err(error) => refused(&error).await,
        }
    }
}

async fn serve_unix(path: PathBuf, served: Served, troubles: Troubles) {
    let at = path.clone();
    let bind = || std::future::ready(bind_unix(&at));
    let told = |error| std::future::ready(format!("[web] socket {} cannot be made: {error}", at.display()));
    let listener = bound(bind, told, "socket", &troubles).await;
    let _file = RemovedAtEnd(path);
    loop {
        let place = served.place().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = served.clone();
                tokio::spawn(async move { served.attend(stream, Way::Socket, place).await });
            }
            Err(error) => refused(&error).await,
        }
    }
}

/// In place of a socket that a dead daemon left behind; this gateway has its state folder for itself.
fn bind_unix(path: &Path) -> std::io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o660))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

struct RemovedAtEnd(PathBuf);

impl Drop for RemovedAtEnd {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "the socket of the API could not be removed");
        }
    }
}

/// Tries until it works, and tells what keeps it from it.
async fn bound<T, F: Future<Output = std::io::Result<T>>, W: Future<Output = String>>(
    mut bind: impl FnMut() -> F,
    told: impl Fn(std::io::Error) -> W,
    part: &str,
    troubles: &Troubles,
) -> T {
    loop {
        match bind().await {
            Ok(listener) => {
                troubles.set(part, None).await;
                return listener;
            }
            // Who holds it may be another one by now.
            Err(error) => troubles.set(part, Some(told(error).await)).await,
        }
        sleep(AGAIN).await;
    }
}

/// Why an address cannot be had, and who has it.
async fn taken(address: SocketAddr, error: std::io::Error) -> String {
    if error.kind() != ErrorKind::AddrInUse {
        return format!("[web] listen {address}: {error}");
    }
    // It looks at every process.
    let looked = spawn_blocking(move || procfs::port_holder(procfs::Transport::Tcp, address.port()));
    match looked.await.ok().flatten() {
        Some(holder) => format!("[web] listen {address}: {error}: {} has it (pid {})", holder.name, holder.pid),
        None => {
            format!("[web] listen {address}: {error}; who has it cannot be seen from here: `sudo ss -ltnp` tells")
        }
    }
}

async fn refused(error: &std::io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    sleep(ACCEPT_PAUSE).await;
}

impl Served {
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    async fn attend(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        way: Way,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let service = TowerToHyperService::new(self.routes.layer(Extension(way)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_ROOM)
            .serve_connection(TokioIo::new(Impatient::new(stream, TAKING_TIME)), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, ?way, "a connection ended");
        }
        drop(place);
    }
}
