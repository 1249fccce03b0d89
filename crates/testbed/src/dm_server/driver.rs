//! Runs a [`DmServer`] on a UDP socket, in a task of its own.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coap::{Failure, Request, Response};
use tokio::net::UdpSocket;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{Behaviour, CallId, DmEvent, DmServer, Registration, ask, dm_server};

/// Events that a slow listener may be behind before it loses some.
const EVENT_BACKLOG: usize = 1024;
/// Notifications that wait for whoever observes.
const NOTIFICATION_BACKLOG: usize = 256;
/// Questions that wait for the task.
const ORDER_BACKLOG: usize = 64;
/// How long to sleep when nothing is due.
const LONG: Duration = Duration::from_secs(3600);
/// Larger than any UDP datagram.
const DATAGRAM: usize = 65_536;

/// A server that runs. Dropping it ends it.
#[derive(Debug)]
pub struct RunningDmServer {
    address: SocketAddr,
    orders: mpsc::Sender<Order>,
    events: broadcast::Sender<DmEvent>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The device is not registered, or too many questions are under way.
    #[error("device is not registered or busy")]
    NotAsked,
    /// It did not answer.
    #[error("device did not answer: {0}")]
    Failed(Failure),
    /// The server is gone.
    #[error("the server has ended")]
    Ended,
}

#[derive(Debug)]
enum Order {
    Call { endpoint: String, request: Request, answer: Answer, notifications: Option<mpsc::Sender<Response>> },
    Registrations(oneshot::Sender<Vec<Registration>>),
}

type Answer = oneshot::Sender<Result<Response, CallError>>;

impl RunningDmServer {
    /// Starts one on an address; port 0 takes any.
    ///
    /// # Errors
    /// When the address can't be had.
    pub async fn start(address: SocketAddr, behaviour: Behaviour) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let address = socket.local_addr()?;
        let (orders, incoming) = mpsc::channel(ORDER_BACKLOG);
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let server = dm_server(behaviour, Arc::new(coap::Config::default()), fastrand::u64(..));
        let task = Task { socket, server, waiting: HashMap::new(), observing: HashMap::new(), events: events.clone() };
        tokio::spawn(task.run(incoming));
        Ok(Self { address, orders, events })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<DmEvent> {
        self.events.subscribe()
    }

    /// Who is registered.
    ///
    /// # Errors
    /// [`CallError::Ended`].
    pub async fn registrations(&self) -> Result<Vec<Registration>, CallError> {
        let (answer, registrations) = oneshot::channel();
        self.orders.send(Order::Registrations(answer)).await.map_err(|_| CallError::Ended)?;
        registrations.await.map_err(|_| CallError::Ended)
    }

    /// Waits until an endpoint is registered.
    ///
    /// # Errors
    /// [`CallError::Ended`].
    pub async fn registered(&self, endpoint: &str) -> Result<Registration, CallError> {
        let mut events = self.events();
        loop {
            let known = self.registrations().await?.into_iter().find(|known| *known.endpoint == *endpoint);
            if let Some(registration) = known {
                return Ok(registration);
            }
            if let Err(broadcast::error::RecvError::Closed) = events.recv().await {
                return Err(CallError::Ended);
            }
        }
    }

    /// Asks a device; [`ask`] has the requests.
    ///
    /// # Errors
    /// When there is no answer. A refusal is an answer.
    pub async fn call(&self, endpoint: &str, request: Request) -> Result<Response, CallError> {
        self.order(endpoint, request, None).await
    }

    /// Observes a path: the first answer, and what follows.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn observe(&self, endpoint: &str, path: &str) -> Result<(Response, mpsc::Receiver<Response>), CallError> {
        let (sender, notifications) = mpsc::channel(NOTIFICATION_BACKLOG);
        let first = self.order(endpoint, ask::observe(path), Some(sender)).await?;
        Ok((first, notifications))
    }

    async fn order(
        &self,
        endpoint: &str,
        request: Request,
        notifications: Option<mpsc::Sender<Response>>,
    ) -> Result<Response, CallError> {
        let (answer, response) = oneshot::channel();
        let order = Order::Call { endpoint: endpoint.to_owned(), request, answer, notifications };
        self.orders.send(order).await.map_err(|_| CallError::Ended)?;
        response.await.map_err(|_| CallError::Ended)?
    }
}

struct Task {
    socket: UdpSocket,
    server: DmServer,
    waiting: HashMap<CallId, Answer>,
    observing: HashMap<CallId, mpsc::Sender<Response>>,
    events: broadcast::Sender<DmEvent>,
}

impl Task {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let due = self.server.poll_timeout().unwrap_or_else(|| Instant::now() + LONG);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.handle_order(order),
                    None => return,
                },
                received = self.socket.recv_from(&mut buffer) => {
                    // An error here is an ICMP message about a peer that is gone.
                    if let Ok((length, peer)) = received {
                        self.server.handle_datagram(peer, &buffer[..length], Instant::now());
                    }
                }
                () = tokio::time::sleep_until(due.into()) => self.server.handle_timeout(Instant::now()),
            }
            self.drain().await;
        }
    }

    fn handle_order(&mut self, order: Order) {
        match order {
            Order::Registrations(answer) => {
                // Nobody waits any longer: nothing to tell.
                let _ = answer.send(self.server.registrations().cloned().collect());
            }
            Order::Call { endpoint, request, answer, notifications } => {
                let Ok(call) = self.server.call(&endpoint, request, Instant::now()) else {
                    let _ = answer.send(Err(CallError::NotAsked));
                    return;
                };
                self.waiting.insert(call, answer);
                self.observing.extend(notifications.map(|sender| (call, sender)));
            }
        }
    }

    async fn drain(&mut self) {
        while let Some((peer, datagram)) = self.server.poll_transmit() {
            // A datagram that can't be sent is a datagram lost.
            let _ = self.socket.send_to(&datagram, peer).await;
        }
        while let Some(event) = self.server.poll_event() {
            self.tell(&event);
            let _ = self.events.send(event);
        }
    }

    fn tell(&mut self, event: &DmEvent) {
        match event {
            DmEvent::Answered { call, response } => self.finish(*call, Ok(response.clone())),
            DmEvent::Failed { call, reason } => self.finish(*call, Err(CallError::Failed(*reason))),
            DmEvent::Ended { call } => drop(self.observing.remove(call)),
            DmEvent::Notified { call, response } => {
                let told = self.observing.get(call).map(|observer| observer.try_send(response.clone()));
                if let Some(Err(mpsc::error::TrySendError::Closed(_))) = told {
                    self.observing.remove(call);
                    self.server.forget(*call, Instant::now());
                }
            }
            DmEvent::Registered(_) | DmEvent::Updated(_) | DmEvent::Deregistered(_) | DmEvent::Expired(_) => {}
        }
    }

    fn finish(&mut self, call: CallId, answer: Result<Response, CallError>) {
        if let Some(waiting) = self.waiting.remove(&call) {
            let _ = waiting.send(answer);
        }
    }
}
