//! `nuncio plan`: what each room would say to an update, put together. Nothing is ordered, opened or written.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Gateway, views};
use crate::control::{
    Answer, Failure, FailureCode, PastUpdate, Plan, PlanCheck, PlanCheckState, PlanVerdict, PlannedAlternative,
    PlannedImage, PlannedProof, PlannedRetries, PlannedRun, PlannedTask, PlannedWayBack,
};
use crate::device::{
    Access, DeviceInfo, Enter, FlashJob, FlashProfile, HistoryQuery, JobTask, RollbackPolicy, StagedImage,
    UpdateOutcome,
};
use crate::executors::Executor;
use crate::store::Store;
use crate::update::{self, Forecast, Intent};

/// So many updates are looked through for the last one that was proven.
const LOOK_BACK: u32 = 200;
/// The variable of boards that names where an image without addresses goes.
const OFFSET: &str = "offset";

/// What is asked about, and what the loop knows of it.
struct Question {
    device: DeviceInfo,
    path: PathBuf,
    version: Option<String>,
    urgent: bool,
    /// Whether the link may be used, and what for it is used just now.
    port: PlanCheck,
}

impl Gateway {
    pub(super) fn plan(&self, word: &str, path: PathBuf, version: Option<String>, urgent: bool, reply: Answer<Plan>) {
        let Some(info) = self.find(word) else { return drop(reply.send(Err(self.unknown(word)))) };
        let question = Question { device: info.clone(), path, version, urgent, port: self.port_check(info) };
        let (update, executor, store) = (self.update.clone(), Arc::clone(&self.executor), self.store.clone());
        tokio::spawn(async move { drop(reply.send(question.answer(&update, executor, &store).await)) });
    }

    fn port_check(&self, info: &DeviceInfo) -> PlanCheck {
        let what = format!("port {}", info.link);
        let access = self.registry.links().map(|(report, _)| report).find(|report| report.link == info.link);
        match access.map_or(&Access::Absent, |report| &report.access) {
            Access::Absent => waits(what, "it is not there just now"),
            Access::Denied => fails(what, "`[serial] deny` forbids opening it"),
            Access::Busy { holder, remedy } => fails(what, format!("{holder} has it: {remedy}")),
            Access::NotPermitted { permissions, remedy } => {
                fails(what, format!("not permitted ({permissions}): {remedy}"))
            }
            Access::Usable => match self.leases.holder(&info.link) {
                Some(holder) => waits(what, format!("it is in use by {holder}")),
                None => passes(what, "it is there, and nobody has it"),
            },
        }
    }
}

impl Question {
    async fn answer(self, update: &update::Handle, executor: Arc<Executor>, store: &Store) -> Result<Plan, Failure> {
        let device = self.device.id.clone();
        let (image, version, urgent) = (self.path.clone(), self.version.clone(), self.urgent);
        let intent = Intent { device: device.clone(), image, version, urgent };
        let gone = || {
            let why = self.device.not_updatable.as_deref().unwrap_or("its updates are not looked after yet");
            Failure::new(FailureCode::NotNow, format!("{device} cannot be updated: {why}"))
        };
        let mut forecast = update.forecast(intent).await.ok_or_else(gone)?;
        let jobs = std::mem::take(&mut forecast.jobs);
        let planned = tokio::task::spawn_blocking(move || runs(&executor, &jobs));
        let runs = planned.await.unwrap_or_else(|error| Err(format!("the tool could not be looked for: {error}")));
        let query = HistoryQuery { device: Some(device.clone()), failed: false, limit: Some(LOOK_BACK) };
        let history = store.history(query).await;
        let history = history.map_err(|error| Failure::new(FailureCode::Failed, error.to_string()))?;
        let proven = history.updates.into_iter().find(|row| row.outcome == UpdateOutcome::Proven);
        let last = proven.map(|row| PastUpdate {
            update: row.update,
            began: row.began,
            took_ms: row.took_ms,
            version: row.version_after,
        });
        Ok(self.plan(forecast, runs, last))
    }

    fn plan(self, forecast: Forecast, runs: Result<Vec<PlannedRun>, String>, last: Option<PastUpdate>) -> Plan {
        let checks = self.checks(&forecast, runs.as_ref().err());
        let runs = runs.unwrap_or_default();
        let Forecast { image, profile, way_back, .. } = forecast;
        let policy = profile.rollback;
        Plan {
            verdict: verdict(&checks),
            device: self.device.id,
            board: self.device.board,
            link: self.device.link,
            version: self.device.version,
            path: self.path,
            result: image.as_ref().err().map(update::Refused::result),
            proof: image.as_ref().ok().map(|image| proof(image, &profile)),
            image: image.ok().map(|image| planned_image(image, &profile)),
            checks,
            retries: retries(&profile),
            way_back: PlannedWayBack {
                policy,
                saved_first: runs.iter().any(|run| run.task == PlannedTask::Backup),
                kept: way_back.filter(|_| policy != RollbackPolicy::Never).map(views::way_back),
            },
            runs,
            last,
        }
    }

    fn checks(&self, forecast: &Forecast, tool: Option<&String>) -> Vec<PlanCheck> {
        let mut checks = Vec::new();
        let board = format!("board {}", self.device.board);
        checks.push(match &self.device.not_updatable {
            Some(reason) => fails(board, reason),
            None => passes(board, "it can be updated"),
        });
        checks.push(match forecast.busy {
            true => {
                let device = &self.device.id;
                fails("other updates", format!("one is staged or under way: `nuncio status {device}` tells which"))
            }
            false => passes("other updates", "none is staged or under way"),
        });
        let path = format!("image {}", self.path.display());
        match &forecast.image {
            Err(refused) => checks.push(fails(path, &refused.reason)),
            Ok(image) => {
                checks.push(passes(path, "it is whole, and for this board"));
                checks.push(match &image.signed_by {
                    Some(key) => passes("signature", format!("key {key} signed it")),
                    None => passes("signature", "it has none, and `[update] signatures` asks for none"),
                });
                checks.extend(tool.map(|problem| fails("tool", problem)));
            }
        }
        checks.push(self.port.clone());
        if forecast.profile.enter == Enter::Touch1200 {
            let how =
                "it is called by opening the port at 1200 baud; the board goes, and comes back as its boot loader";
            checks.push(passes("boot loader", how));
        }
        checks.push(match &forecast.held_up {
            Some(reason) => waits("schedule", reason),
            None => passes("schedule", "nothing holds it up"),
        });
        checks
    }
}

/// The first job that has no command tells what is wrong with all.
fn runs(executor: &Executor, jobs: &[FlashJob]) -> Result<Vec<PlannedRun>, String> {
    let planned = jobs.iter().map(|job| {
        let run = executor.plan(job)?;
        Ok(PlannedRun {
            task: match job.task {
                JobTask::Flash => PlannedTask::Flash,
                JobTask::Backup { .. } => PlannedTask::Backup,
            },
            tool: run.tool,
            tool_version: run.version,
            argv: run.argv,
            limit_s: run.limit.as_secs(),
            sandbox: run.sandbox,
        })
    });
    planned.collect()
}

fn verdict(checks: &[PlanCheck]) -> PlanVerdict {
    let any = |state| checks.iter().any(|check| check.state == state);
    match (any(PlanCheckState::Failed), any(PlanCheckState::Waits)) {
        (true, _) => PlanVerdict::Refused,
        (false, true) => PlanVerdict::Waits,
        (false, false) => PlanVerdict::Ready,
    }
}

fn planned_image(image: StagedImage, profile: &FlashProfile) -> PlannedImage {
    let StagedImage { size, sha256, version, info, signed_by, .. } = image;
    let start = profile.vars.get(OFFSET).and_then(|text| number(text)).filter(|_| info.ranges.is_empty());
    let whole = start.map(|start| (start, start.saturating_add(info.flash_bytes)));
    PlannedImage {
        sha256,
        size,
        format: info.format,
        flash_bytes: info.flash_bytes,
        overwritten: info.ranges.into_iter().chain(whole).collect(),
        version,
        signed_by,
    }
}

/// As tools take addresses: `0x10000` or `65536`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn proof(image: &StagedImage, profile: &FlashProfile) -> PlannedProof {
    let tells_version = !profile.version.is_empty();
    PlannedProof {
        verified_bytes: image.info.flash_bytes,
        back_within_s: profile.expect_return.as_secs(),
        soak_s: profile.soak.as_secs(),
        tells_version,
        version: image.version.clone().filter(|_| tells_version),
    }
}

fn retries(profile: &FlashProfile) -> PlannedRetries {
    let alternatives = profile.alternatives.iter();
    PlannedRetries {
        max: profile.retries.max,
        on: profile.retries.on.clone(),
        alternatives: alternatives
            .map(|other| PlannedAlternative { on: other.on.clone(), vars: other.vars.clone() })
            .collect(),
    }
}

fn check(what: impl Into<String>, state: PlanCheckState, detail: impl Into<String>) -> PlanCheck {
    PlanCheck { what: what.into(), state, detail: detail.into() }
}

fn passes(what: impl Into<String>, detail: impl Into<String>) -> PlanCheck {
    check(what, PlanCheckState::Ok, detail)
}

fn waits(what: impl Into<String>, detail: impl Into<String>) -> PlanCheck {
    check(what, PlanCheckState::Waits, detail)
}

fn fails(what: impl Into<String>, detail: impl Into<String>) -> PlanCheck {
    check(what, PlanCheckState::Failed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_check_that_fails_outweighs_all_that_wait() {
        let (ok, later, no) = (passes("a", ""), waits("b", ""), fails("c", ""));
        assert_eq!(verdict(std::slice::from_ref(&ok)), PlanVerdict::Ready);
        assert_eq!(verdict(&[ok.clone(), later.clone()]), PlanVerdict::Waits);
        assert_eq!(verdict(&[no, ok, later]), PlanVerdict::Refused);
    }

    #[test]
    fn an_address_is_hexadecimal_or_decimal() {
        assert_eq!((number("0x10000"), number("65536"), number("app0")), (Some(65536), Some(65536), None));
    }
}
