//! The scripted server on a real socket, with a client that is driven the way the daemon will: one task, one socket per server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coap::Code;
use lwm2m::client::{Client, ClientConfig, Event, FirmwareOrder, FirmwareView, SessionId, coap_config};
use testbed::dm_server::driver::{CallError, RunningDmServer};
use testbed::dm_server::{Behaviour, DmEvent, ask};
use testbed::lwm2m_world::{ENDPOINT, account};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

const LOCALHOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Drives a client of one server until told to stop; obeys every order and shows a push as states 1 and 2.
async fn drive(server: SocketAddr, mut stop: oneshot::Receiver<()>) -> io::Result<Vec<FirmwareOrder>> {
    let coap = Arc::new(coap_config());
    let config = ClientConfig { endpoint: ENDPOINT.into(), servers: [account("demo", 1)].into(), coap };
    let mut client = Client::new(config, 7);
    let mut socket = UdpSocket::bind(LOCALHOST).await?;
    let mut orders = Vec::new();
    let (mut buffer, mut stopping) = (vec![0; 2048], false);
    loop {
        while let Some(event) = client.poll_event() {
            match event {
                Event::NeedSocket { session } => {
                    socket = UdpSocket::bind(LOCALHOST).await?;
                    socket.connect(server).await?;
                    client.start(session, Instant::now());
                }
                Event::Firmware { command, order, .. } => {
                    let state = if matches!(order, FirmwareOrder::Push { more: false, .. }) { 2 } else { 1 };
                    orders.push(order);
                    client.set_firmware(FirmwareView { state, ..FirmwareView::default() }, Instant::now());
                    client.answer(command, Ok(()), Instant::now());
                }
                Event::ShutDown => return Ok(orders),
                _ => {}
            }
        }
        while let Some((_, datagram)) = client.poll_transmit() {
            socket.send(&datagram).await?;
        }
        let due = client.poll_timeout().unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
        tokio::select! {
            received = socket.recv(&mut buffer) => match received {
                Ok(length) => client.handle_datagram(SessionId(0), &buffer[..length], Instant::now()),
                Err(_) => client.handle_unreachable(SessionId(0), Instant::now()),
            },
            () = tokio::time::sleep_until(due.into()) => client.handle_timeout(Instant::now()),
            _ = &mut stop, if !stopping => {
                stopping = true;
                client.shut_down(Instant::now());
            }
        }
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("in time")
}

#[tokio::test]
async fn a_device_is_read_observed_and_pushed_to_over_real_sockets() {
    let server = RunningDmServer::start(LOCALHOST, Behaviour::default()).await.unwrap();
    let mut events = server.events();
    assert_eq!(server.call(ENDPOINT, ask::read("/3")).await, Err(CallError::NotAsked));
    let (stop, stopped) = oneshot::channel();
    let device = tokio::spawn(drive(server.address(), stopped));

    assert_eq!(within(server.registered(ENDPOINT)).await.unwrap().lifetime, 30);
    let answer = within(server.call(ENDPOINT, ask::read("/3/0/16"))).await.unwrap();
    assert_eq!((answer.code, answer.payload.as_slice()), (Code::CONTENT, &b"U"[..]));

    let (first, mut states) = within(server.observe(ENDPOINT, "/5/0/3")).await.unwrap();
    assert_eq!(first.payload, b"0");
    let image: Vec<u8> = (0..100_000_u32).map(|index| (index % 199) as u8).collect();
    assert_eq!(within(server.call(ENDPOINT, ask::push(image.clone()))).await.unwrap().code, Code::CHANGED);
    for state in [b"1", b"2"] {
        assert_eq!(within(states.recv()).await.unwrap().payload, state);
    }

    stop.send(()).unwrap();
    let orders = within(device).await.unwrap().unwrap();
    let pushed = orders.iter().flat_map(|order| match order {
        FirmwareOrder::Push { payload, .. } => payload.as_slice(),
        _ => &[],
    });
    assert!(pushed.copied().eq(image));
    while !matches!(within(events.recv()).await.unwrap(), DmEvent::Deregistered(_)) {}
    assert!(server.registrations().await.unwrap().is_empty());
}
