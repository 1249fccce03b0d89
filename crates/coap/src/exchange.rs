//! What goes in and out of an endpoint: requests, responses, events. Plain data; the endpoint decides.

use crate::{Code, Token};

/// A request of our own (client role).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Code,
    /// Uri-Path segments, each at most 255 bytes.
    pub path: Vec<String>,
    /// Uri-Query arguments, each at most 255 bytes.
    pub query: Vec<String>,
    /// Content-Format of the payload.
    pub content_format: Option<u16>,
    /// Accept.
    pub accept: Option<u16>,
    /// Observe: 0 registers; 1 cancels the observation that was made by the same request with 0.
    pub observe: Option<u32>,
    /// The whole body; sent by Block1 when it is larger than a block.
    pub payload: Vec<u8>,
    /// Whether it is sent as CON.
    pub confirmable: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self::new(Code::GET)
    }
}

impl Request {
    /// A confirmable request to the root path.
    pub fn new(method: Code) -> Self {
        Self {
            method,
            path: Vec::new(),
            query: Vec::new(),
            content_format: None,
            accept: None,
            observe: None,
            payload: Vec::new(),
            confirmable: true,
        }
    }

    /// Sets the path from text such as `/3/0/9`.
    #[must_use]
    pub fn with_path(mut self, path: &str) -> Self {
        self.path = path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
        self
    }

    /// Adds one Uri-Query argument.
    #[must_use]
    pub fn with_query(mut self, argument: impl Into<String>) -> Self {
        self.query.push(argument.into());
        self
    }

    /// Sets Accept.
    #[must_use]
    pub fn with_accept(mut self, format: u16) -> Self {
        self.accept = Some(format);
        self
    }

    /// Sets Observe.
    #[must_use]
    pub fn with_observe(mut self, observe: u32) -> Self {
        self.observe = Some(observe);
        self
    }

    /// Sets Content-Format and body.
    #[must_use]
    pub fn with_payload(mut self, format: u16, payload: impl Into<Vec<u8>>) -> Self {
        self.content_format = Some(format);
        self.payload = payload.into();
        self
    }

    /// Sends it as NON.
    #[must_use]
    pub fn non_confirmable(mut self) -> Self {
        self.confirmable = false;
        self
    }
}

/// A request of the peer (server role), whole unless [`part`](Incoming::part) says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Give this to [`respond`](crate::Endpoint::respond).
    pub exchange: ExchangeId,
    /// The token; names the observation when `observe` is set.
    pub token: Token,
    /// The method, one of the seven known ones.
    pub method: Code,
    /// Uri-Path segments.
    pub path: Vec<String>,
    /// Uri-Query arguments.
    pub query: Vec<String>,
    /// Content-Format of the payload.
    pub content_format: Option<u16>,
    /// Accept.
    pub accept: Option<u16>,
    /// Observe: 0 registers, 1 cancels.
    pub observe: Option<u32>,
    /// The body, or this part of it.
    pub payload: Vec<u8>,
    /// Whether it came as CON.
    pub confirmable: bool,
    /// Set on [`stream_paths`](crate::Config::stream_paths), also when the body came in one message.
    pub part: Option<Part>,
}

/// Where a streamed part belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Offset of the payload in the body.
    pub offset: u64,
    /// Whether more parts follow.
    pub more: bool,
    /// Size1: the size of the body as its sender announced it.
    pub size: Option<u64>,
    /// Block number 0: the body starts, or starts again.
    pub first: bool,
}

/// A response, ours or the peer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The code.
    pub code: Code,
    /// Content-Format of the payload.
    pub content_format: Option<u16>,
    /// Location-Path segments.
    pub location_path: Vec<String>,
    /// ETag, 1 to 8 bytes.
    pub etag: Option<Vec<u8>>,
    /// Observe: the sequence number of a notification, 24 bits.
    pub observe: Option<u32>,
    /// Max-Age in seconds.
    pub max_age: Option<u32>,
    /// Size1, with 4.13: what would have been accepted.
    pub size1: Option<u32>,
    /// The whole body; sent by Block2 when it is larger than a block.
    pub payload: Vec<u8>,
}

impl Response {
    /// A response without options or payload.
    pub fn new(code: Code) -> Self {
        Self {
            code,
            content_format: None,
            location_path: Vec::new(),
            etag: None,
            observe: None,
            max_age: None,
            size1: None,
            payload: Vec::new(),
        }
    }

    /// Sets Content-Format and body.
    #[must_use]
    pub fn with_payload(mut self, format: u16, payload: impl Into<Vec<u8>>) -> Self {
        self.content_format = Some(format);
        self.payload = payload.into();
        self
    }

    /// Sets Observe.
    #[must_use]
    pub fn with_observe(mut self, sequence: u32) -> Self {
        self.observe = Some(sequence);
        self
    }

    /// Sets Location-Path.
    #[must_use]
    pub fn with_location<S: Into<String>>(mut self, path: impl IntoIterator<Item = S>) -> Self {
        self.location_path = path.into_iter().map(Into::into).collect();
        self
    }
}

/// One request of our own, until its response or failure; an observation for as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(crate) u64);

/// One request of the peer that waits for [`respond`](crate::Endpoint::respond).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub(crate) u64);

/// One notification of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NotificationId(pub(crate) u64);

/// Facts that an endpoint reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer asks; answer with [`respond`](crate::Endpoint::respond).
    Request(Incoming),
    /// The answer to a request of our own. With `observe` set the request lives on as an observation.
    Response {
        /// The request.
        request: RequestId,
        /// Its answer, whole.
        response: Response,
    },
    /// A notification for an observation of our own. Without `observe`, or with an error code, it was the last one.
    Notification {
        /// The request that made the observation.
        request: RequestId,
        /// The new state, whole.
        response: Response,
    },
    /// A request of our own, or an observation, ended without an answer.
    Failed {
        /// The request.
        request: RequestId,
        /// Why.
        reason: Failure,
    },
    /// A confirmable notification arrived.
    NotificationAcknowledged(NotificationId),
    /// The peer refused a notification: it forgot the observation, and so should we.
    NotificationReset {
        /// The notification.
        id: NotificationId,
        /// The observation's token.
        token: Token,
    },
    /// A confirmable notification was never acknowledged.
    NotificationTimedOut(NotificationId),
    /// The peer answered a ping.
    PingAnswered,
}

/// Why a request of our own got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// Nothing came after all retransmissions, or only an empty ACK.
    #[error("no answer in time")]
    Timeout,
    /// The peer sent RST.
    #[error("refused with a reset")]
    Reset,
    /// The answer is larger than `max_body`.
    #[error("answer too large")]
    TooLarge,
    /// The peer broke the rules of block-wise transfer, or the body kept changing under it.
    #[error("broken block-wise transfer")]
    BadBlock,
    /// The answer carries a critical option that we do not know.
    #[error("unknown critical option in the answer")]
    BadOption,
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// `max_outstanding` requests wait already.
    #[error("too many requests are waiting")]
    QueueFull,
    /// The body has more blocks than a Block1 option can number.
    #[error("body too large for block-wise transfer")]
    TooLarge,
    /// The method is not a method, or a path segment or query argument is longer than 255 bytes.
    #[error("request can not be encoded")]
    Invalid,
}

/// Counters since the endpoint was made; [`reset`](crate::Endpoint::reset) keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Datagrams handed in.
    pub received: u64,
    /// Datagrams queued for sending, retransmissions included.
    pub sent: u64,
    /// Datagrams that were no CoAP message.
    pub malformed: u64,
    /// Messages that had come before.
    pub duplicates: u64,
    /// Well-formed messages that fitted nothing: late acknowledgements, unknown tokens, a full table.
    pub ignored: u64,
    /// Own messages sent again.
    pub retransmissions: u64,
    /// Own confirmable messages given up.
    pub timeouts: u64,
}
