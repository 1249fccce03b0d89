//! The way in: how servers of the control API, whatever they speak, ask the gateway.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{Answer, ControlRequest, Failure, FailureCode};

/// The gateway must have answered within this (a flash is not an answer but a stream).
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Where requests go in. Its clones are the same.
#[derive(Debug, Clone)]
pub struct Door(mpsc::Sender<ControlRequest>);

impl Door {
    /// Requests go to who reads the other end.
    pub fn new(requests: mpsc::Sender<ControlRequest>) -> Self {
        Self(requests)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// What the gateway refuses, or that it does not answer.
    pub async fn ask<T>(&self, make: impl FnOnce(Answer<T>) -> ControlRequest) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.hand_over(make(reply)).await?;
        match timeout(ANSWER_TIME, answer).await {
            Err(_) => Err(Failure::new(FailureCode::Overloaded, "the daemon did not answer in time")),
            Ok(Err(_)) => Err(Failure::stopping()),
            Ok(Ok(answered)) => answered,
        }
    }

    /// Orders what answers in its own way.
    ///
    /// # Errors
    /// When the gateway does not take it.
    pub async fn hand_over(&self, request: ControlRequest) -> Result<(), Failure> {
        match timeout(ANSWER_TIME, self.0.send(request)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Failure::stopping()),
            Err(_) => Err(Failure::new(FailureCode::Overloaded, "the daemon has too much to do")),
        }
    }
}
