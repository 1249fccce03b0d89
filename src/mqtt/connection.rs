//! One connection to the broker, from its socket to its end. It is never taken up again: the next one is a new one, and
//! what waited in this one is gone with it.
//!
//! The client's own loop has a task to itself, as it must not be interrupted; whoever drives the connection may be.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, Incoming, LastWill, MqttOptions, NetworkOptions,
    PublishOptions, QoS, SubscribeFilterInput,
};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;

use super::settings::{Broker, MqttSettings};
use crate::control::Secret;

/// How long it may take to be connected.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// Largest packet that is taken from the broker, in bytes.
const INCOMING_MAX: usize = 256 << 10;
/// Largest packet that is sent, in bytes: a device with all the points that there may be.
const OUTGOING_MAX: usize = 1 << 20;
/// Messages on their way that the broker has not confirmed; brokers take twenty at least.
const IN_FLIGHT: u16 = 20;
/// Messages that wait for the client's loop, and from it.
const WAITING: usize = 16;

/// What comes of a connection.
#[derive(Debug)]
pub(super) enum Happened {
    /// A message.
    Message { topic: String, payload: Vec<u8>, retained: bool },
    /// The broker does not let the client hear of one of its topics.
    NotHeard,
}

/// Why there is no connection, or none any more: a lowercase fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost(pub(super) String);

/// A message that the broker gives to others when the client vanishes.
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) payload: &'static str,
}

/// A connection that stands.
#[derive(Debug)]
pub(super) struct Connection {
    outlet: Outlet,
    happened: mpsc::Receiver<Result<Happened, Lost>>,
    task: JoinHandle<()>,
}

/// Where messages are handed over.
#[derive(Debug, Clone)]
pub(super) struct Outlet(AsyncClient);

impl Outlet {
    /// Hands a message over that the broker keeps; an empty one is forgotten there. Waits while the broker is slow. Can be
    /// cancelled; the message is then not sent.
    pub(super) async fn keep(&self, topic: String, payload: Arc<str>) -> Result<(), Lost> {
        let options = PublishOptions::at_least_once().retained();
        self.0.publish(topic, payload.as_bytes(), options).await.map_err(|error| Lost(error.to_string()))
    }

    /// Hears what comes under these filters from now on, and what the broker keeps there.
    pub(super) async fn hear(&self, filters: Vec<String>) -> Result<(), Lost> {
        let filters = filters.into_iter().map(|filter| SubscribeFilterInput::new(filter, QoS::AtLeastOnce));
        self.0.subscribe_many(filters).await.map_err(|error| Lost(error.to_string()))
    }
}

impl Connection {
    /// Connects, and is let in.
    pub(super) async fn open(settings: &MqttSettings, client_id: &str, will: Will) -> Result<Self, Lost> {
        let broker = Broker::parse(&settings.broker).map_err(Lost)?;
        let mut options = MqttOptions::new(client_id, (broker.host.clone(), broker.port));
        options.set_keep_alive(u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX));
        options.set_max_packet_size(INCOMING_MAX, OUTGOING_MAX);
        options.set_inflight(IN_FLIGHT);
        options.set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, true));
        if !settings.username.is_empty() {
            match password(settings).await? {
                Some(secret) => options.set_credentials(&settings.username, secret.reveal().to_owned()),
                None => options.set_username(&settings.username),
            };
        }
        let tls = if broker.tls { Some(trust(settings.ca.clone()).await?) } else { None };
        let named = broker.clone();
        options.set_socket_connector(move |_, _| socket(named.clone(), tls.clone()));
        let builder = AsyncClient::builder(options).capacity(WAITING);
        let (client, mut events) = builder.try_build().map_err(|error| Lost(error.to_string()))?;
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(CONNECT_LIMIT.as_secs());
        events.set_network_options(network);
        match events.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => {}
            Ok(_) => return Err(Lost("the broker does not begin as it should".to_owned())),
            Err(error) => return Err(Lost(why(&error, settings))),
        }
        let (tell, happened) = mpsc::channel(WAITING);
        Ok(Self { outlet: Outlet(client), happened, task: tokio::spawn(turn(events, tell)) })
    }

    /// The next thing that comes of it. Can be cancelled without loss.
    pub(super) async fn next(&mut self) -> Result<Happened, Lost> {
        self.happened.recv().await.unwrap_or_else(|| Err(Lost("its loop has ended".to_owned())))
    }

    /// Where messages are handed over.
    pub(super) fn outlet(&self) -> Outlet {
        self.outlet.clone()
    }

    /// Ends it when what was handed over is with the broker, or after a time.
    pub(super) async fn close(mut self, limit: Duration) {
        if self.outlet.0.disconnect_with_timeout(limit).await.is_ok() {
            // Nobody wants to know any more what comes meanwhile; the loop must not wait for that.
            self.happened.close();
            let _ = tokio::time::timeout(limit, &mut self.task).await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The client's own loop.
async fn turn(mut events: EventLoop, tell: mpsc::Sender<Result<Happened, Lost>>) {
    loop {
        let happened = match events.poll().await {
            Ok(Event::Incoming(Incoming::Publish(publish))) => Ok(Happened::Message {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: publish.payload.to_vec(),
                retained: publish.retain,
            }),
            Ok(Event::Incoming(Incoming::SubAck(answer))) if !answer.return_codes.iter().all(is_granted) => {
                Ok(Happened::NotHeard)
            }
            Ok(_) => continue,
            Err(error) => Err(Lost(chain(&error))),
        };
        let ended = happened.is_err();
        // One that is being closed goes on until its last messages are with the broker.
        let _ = tell.send(happened).await;
        if ended {
            return;
        }
    }
}

fn is_granted(code: &rumqttc::SubscribeReasonCode) -> bool {
    matches!(code, rumqttc::SubscribeReasonCode::Success(_))
}

/// Read anew for each connection: it may have been changed.
async fn password(settings: &MqttSettings) -> Result<Option<Secret>, Lost> {
    if settings.password_file.as_os_str().is_empty() {
        return Ok(Some(settings.password.clone()).filter(|password| !password.is_empty()));
    }
    let file = settings.password_file.clone();
    let read = tokio::task::spawn_blocking(move || Secret::read(&file)).await;
    read.unwrap_or_else(|error| Err(error.to_string())).map(Some).map_err(|error| Lost(format!("no password: {error}")))
}

/// Whom a broker's certificate may be by: whom the system trusts, and these.
async fn trust(ca: Vec<PathBuf>) -> Result<Arc<ClientConfig>, Lost> {
    let made = tokio::task::spawn_blocking(move || {
        let mut further = Vec::new();
        for file in &ca {
            let unusable = |error: &dyn Error| format!("ca {} cannot be used: {error}", file.display());
            let certificates = CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))?;
            for certificate in certificates {
                further.push(certificate.map_err(|error| unusable(&error))?);
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            Verifier::new_with_extra_roots(further, Arc::clone(&provider)).map_err(|error| error.to_string())?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Arc::new(config))
    });
    made.await.unwrap_or_else(|error| Err(error.to_string())).map_err(Lost)
}

async fn socket(
    broker: Broker,
    tls: Option<Arc<ClientConfig>>,
) -> io::Result<Either<TcpStream, tokio_rustls::client::TlsStream<TcpStream>>> {
    let stream = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
    stream.set_nodelay(true)?;
    let Some(config) = tls else { return Ok(Either::Left(stream)) };
    let name = ServerName::try_from(broker.host).map_err(io::Error::other)?;
    Ok(Either::Right(TlsConnector::from(config).connect(name, stream).await?))
}

/// Why a broker lets nobody in, with the remedy.
fn why(error: &ConnectionError, settings: &MqttSettings) -> String {
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => match settings.username.as_str() {
            "" => "the broker lets nobody in without a name: set `username` and `password_file`".to_owned(),
            name => format!("the broker does not let `{name}` in with this password: see `password_file`"),
        },
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses: {code:?}"),
        ConnectionError::NetworkTimeout => "the broker does not answer".to_owned(),
        other => chain(other),
    }
}

/// An error with its causes in one line, each once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in std::iter::successors(Some(error), |&error| error.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Generous: only a hang runs into it.
    const LONG: Duration = Duration::from_secs(60);
    const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

    fn settings(port: u16) -> MqttSettings {
        toml::from_str(&format!(
            "enabled = true\nbroker = \"mqtt://127.0.0.1:{port}\"\nusername = \"\"\npassword = \"\"\npassword_file = \"\"\n\
             ca = []\nclient_id = \"\"\nkeep_alive = \"30s\"\nprefix = \"n\"\ndiscovery_prefix = \"h\"\ncommands = true\n\
             remove_after = \"1h\""
        ))
        .expect("settings")
    }

    /// A broker that says this to whoever connects, and then no more; `stays`: it does not hang up.
    async fn says(bytes: Vec<u8>, stays: bool) -> MqttSettings {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut heard = [0; 512];
                let _ = stream.read(&mut heard).await;
                let _ = stream.write_all(&bytes).await;
                if !stays {
                    let _ = stream.shutdown().await;
                }
                while matches!(stream.read(&mut heard).await, Ok(1..)) {}
            }
        });
        settings(port)
    }

    fn will() -> Will {
        Will { topic: "n/g/availability".to_owned(), payload: "offline" }
    }

    /// Connects to a broker that hangs up, and listens until it is over: why it ended.
    async fn lived(bytes: Vec<u8>) -> Lost {
        let settings = says(bytes, false).await;
        let life = async {
            let mut connection = match Connection::open(&settings, "test", will()).await {
                Ok(connection) => connection,
                Err(lost) => return lost,
            };
            let _ = connection.outlet().hear(vec!["n/#".to_owned()]).await;
            loop {
                if let Err(lost) = connection.next().await {
                    return lost;
                }
            }
        };
        tokio::time::timeout(LONG, life).await.expect("it comes to an end")
    }

    fn after_connack(bytes: &[u8]) -> Vec<u8> {
        [&CONNACK[..], bytes].concat()
    }

    #[tokio::test]
    async fn messages_come_as_they_are_and_say_whether_they_were_kept() {
        let (kept, live) = ([0x31, 6, 0, 3, b'n', b'/', b'a', b'x'], [0x30, 6, 0, 3, b'n', b'/', b'a', 0xff]);
        let settings = says(after_connack(&[kept, live].concat()), true).await;
        let mut connection = Connection::open(&settings, "test", will()).await.expect("let in");
        for expected in [(b'x', true), (0xff, false)] {
            let next = tokio::time::timeout(LONG, connection.next()).await.expect("in time").expect("a message");
            let Happened::Message { topic, payload, retained } = next else { panic!("{next:?}") };
            assert_eq!((topic.as_str(), payload, retained), ("n/a", vec![expected.0], expected.1));
        }
        connection.close(Duration::from_millis(10)).await;
    }

    #[tokio::test]
    async fn a_broker_that_refuses_is_quoted() {
        for (code, words) in [(2, "BadClientId"), (4, "without a name"), (5, "without a name")] {
            let lost = lived(vec![0x20, 2, 0, code]).await;
            assert!(lost.0.contains(words), "{code}: {lost:?}");
        }
        assert!(!lived(Vec::new()).await.0.is_empty());
    }

    #[tokio::test]
    async fn what_is_no_mqtt_or_too_much_ends_the_connection_and_nothing_else() {
        let too_large = [&[0x30, 0xff, 0xff, 0x7f, 0, 1][..], &[b'n'; 4096]].concat();
        for bytes in [
            &[0x30, 0xff, 0xff, 0xff, 0xff, 0xff][..],
            &[0x30, 0],
            &[0x30, 1, 9],
            &[0x32, 3, 0, 1, b'n'],
            &[0x30, 5, 0, 3, 0xff, 0xfe, 0xfd],
            &[0x40, 2, 0, 99],
            &[0x90, 3, 0, 99, 0],
            &[0x90, 2, 0, 1],
            &[0x62, 2, 0, 7],
            &[0xf0, 0],
            &[0x00, 0],
            &CONNACK,
            &too_large,
        ] {
            lived(after_connack(bytes)).await;
        }
        // Whatever else, with and without a proper beginning.
        let mut chance = fastrand::Rng::with_seed(7);
        for round in 0..200 {
            let bytes: Vec<u8> = (0..chance.usize(0..64)).map(|_| chance.u8(..)).collect();
            lived(if round % 2 == 0 { after_connack(&bytes) } else { bytes }).await;
        }
    }
}
