//! The brakes between operators, updates and the store.

use tokio::sync::oneshot;

use super::Gateway;
use super::links::written;
use crate::control::{Answer, BrakeOrder, BrakeReport, Failure, FailureCode, ReleasedBrake};
use crate::device::{BoardId, Brake, Sha256Digest};
use crate::update::BrakeChoice;

impl Gateway {
    pub(super) fn remember_brake(&self, board: BoardId, image: Option<Sha256Digest>, brake: Option<Brake>) {
        written(self.store.remember_brake(board, image, brake), "a restart would forget a brake");
    }

    pub(super) fn brake(&self, order: BrakeOrder, reply: Answer<BrakeReport>) {
        match order {
            BrakeOrder::List => self.list_brakes(reply),
            BrakeOrder::Pull { board, image } => self.pull_brake(&board, image.as_deref(), reply),
            BrakeOrder::Release { what } => self.release_brakes(what, reply),
        }
    }

    fn list_brakes(&self, reply: Answer<BrakeReport>) {
        let update = self.update.clone();
        tokio::spawn(async move {
            let brakes = update.brakes().await;
            drop(reply.send(Ok(BrakeReport { brakes, released: Vec::new() })));
        });
    }

    fn pull_brake(&self, board: &str, image: Option<&str>, reply: Answer<BrakeReport>) {
        let (board, image) = match self.brake_target(board, image) {
            Ok(target) => target,
            Err(failure) => return refuse(reply, failure),
        };
        let update = self.update.clone();
        tokio::spawn(async move {
            update.pull_brake(board, image).await;
            let brakes = update.brakes().await;
            drop(reply.send(Ok(BrakeReport { brakes, released: Vec::new() })));
        });
    }

    fn brake_target(&self, board: &str, image: Option<&str>) -> Result<(BoardId, Option<Sha256Digest>), Failure> {
        let id = BoardId::new(board);
        if !self.registry.knows_board(&id) {
            let failure = Failure::new(FailureCode::BadRequest, format!("there is no board `{board}`"));
            return Err(failure.with_hint("`nuncio check` lists them"));
        }
        let image = image.map(str::parse).transpose();
        let image = image.map_err(|why: &str| Failure::new(FailureCode::BadRequest, why))?;
        Ok((id, image))
    }

    fn release_brakes(&self, what: Option<String>, reply: Answer<BrakeReport>) {
        let choice = match what {
            None => BrakeChoice::All,
            Some(word) if self.registry.knows_board(&BoardId::new(word.as_str())) => {
                BrakeChoice::Board(BoardId::new(word))
            }
            Some(word) if is_digest_begin(&word) => BrakeChoice::Image(word.to_ascii_lowercase()),
            Some(word) => {
                let failure =
                    Failure::new(FailureCode::BadRequest, format!("`{word}` is neither a board nor an image"));
                return refuse(reply, failure.with_hint("`nuncio brake` lists what is held back"));
            }
        };
        let update = self.update.clone();
        tokio::spawn(async move {
            let released = update.release_brakes(choice).await;
            let released = released.into_iter().map(|(board, image)| ReleasedBrake { board, image }).collect();
            drop(reply.send(Ok(BrakeReport { brakes: update.brakes().await, released })));
        });
    }
}

/// At least six hex digits: fewer could mean anything.
fn is_digest_begin(word: &str) -> bool {
    (6..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn refuse(reply: oneshot::Sender<Result<BrakeReport, Failure>>, failure: Failure) {
    drop(reply.send(Err(failure)));
}
