//! What requesters order: refused by right, state and value, in this order, or obeyed.

use super::core::Core;
use super::io::{Now, Order, Reply};
use super::receive;
use super::retry::Tries;
use super::state::{State, Update};
use super::wait::{self, Wait};
use crate::device::{FirmwareOrder, FirmwareRight, Requester, RollbackPolicy, UpdateEvent};
use crate::update::table::{Ending, Standing};
use crate::update::uri::ImageUri;

/// 5/0/11: 0 critical, 1 mandatory, 2 optional.
const MAX_SEVERITY: u8 = 2;

/// Why an order is not obeyed, before anything is looked at that it brings.
pub(super) fn refusal(state: &State, order: &Order, core: &Core, now: Now) -> Option<Reply> {
    if !has_right(state, order, core, now) {
        return Some(Reply::NotAllowed);
    }
    if !fits_state(state, &order.order) {
        return Some(Reply::WrongState);
    }
    (!fits_value(state, order, core)).then_some(Reply::BadValue)
}

fn has_right(state: &State, order: &Order, core: &Core, now: Now) -> bool {
    let own = || match state.update() {
        Some(update) => {
            let released = state.held().is_some_and(|held| core.is_released(held, now));
            is_same(&update.owner, &order.requester) || (released && state.standing() != Standing::Updating)
        }
        None => true,
    };
    match (order.right, &order.requester) {
        (FirmwareRight::None, _) => false,
        (FirmwareRight::Any, _) | (_, Requester::Local) => true,
        (FirmwareRight::Own, Requester::Server { .. }) => own(),
    }
}

/// A server stays the same when its name in the configuration changes.
fn is_same(one: &Requester, other: &Requester) -> bool {
    match (one, other) {
        (Requester::Server { short_id, .. }, Requester::Server { short_id: other, .. }) => short_id == other,
        (Requester::Local, Requester::Local) => true,
        _ => false,
    }
}

fn fits_state(state: &State, order: &FirmwareOrder) -> bool {
    let standing = state.standing();
    match order {
        FirmwareOrder::SetSeverity(_) | FirmwareOrder::SetMaxDefer(_) => true,
        _ if standing == Standing::Updating => false,
        FirmwareOrder::Execute | FirmwareOrder::ExecuteNow => is_executable(state, standing),
        FirmwareOrder::Cancel => !matches!(standing, Standing::Idle(_)),
        FirmwareOrder::Fetch(_)
        | FirmwareOrder::Push
        | FirmwareOrder::Stage { .. }
        | FirmwareOrder::Rollback
        | FirmwareOrder::Reset => true,
    }
}

/// State 2. Of two Executes at once the first wins; one that waits is only reminded.
fn is_executable(state: &State, standing: Standing) -> bool {
    match (state, standing) {
        (_, Standing::Deferred) => true,
        (State::Rechecking(rechecking), Standing::Staged { .. }) => !rechecking.executes(),
        (State::Leasing(_), _) => false,
        (_, standing) => matches!(standing, Standing::Staged { .. }),
    }
}

fn fits_value(state: &State, order: &Order, core: &Core) -> bool {
    let idle = matches!(state, State::Idle(_));
    match &order.order {
        FirmwareOrder::Fetch(uri) => idle || uri.is_empty(),
        FirmwareOrder::Stage { .. } => idle,
        FirmwareOrder::Push => idle || is_own_push(state, &order.requester),
        FirmwareOrder::SetSeverity(severity) => *severity <= MAX_SEVERITY,
        FirmwareOrder::Rollback => core.facts.profile.rollback != RollbackPolicy::Never && core.last_good().is_some(),
        FirmwareOrder::Reset
        | FirmwareOrder::Execute
        | FirmwareOrder::ExecuteNow
        | FirmwareOrder::Cancel
        | FirmwareOrder::SetMaxDefer(_) => true,
    }
}

/// Block number 0 from the same server begins its own push anew.
fn is_own_push(state: &State, requester: &Requester) -> bool {
    match state {
        State::Pushing(pushing) => is_same(&pushing.update.owner, requester),
        State::Checking(checking) => checking.pushed && is_same(&checking.update.owner, requester),
        _ => false,
    }
}

/// Does what is ordered; [`refusal`] has nothing against it.
pub(super) fn obey(state: State, order: Order, reply: &mut Reply, core: &mut Core, now: Now) -> State {
    let Order { update, requester, right, order } = order;
    let begun = |uri: String, core: &Core| Update {
        id: update,
        owner: requester.clone(),
        uri,
        before: core.facts.version.clone(),
    };
    match order {
        FirmwareOrder::Fetch(uri) if !uri.is_empty() => fetch(begun(uri, core), reply, core, now),
        FirmwareOrder::Fetch(_) | FirmwareOrder::Reset => {
            drop_all(&state, Ending::Nothing, &format!("reset by {requester}"), core, now)
        }
        FirmwareOrder::Cancel => drop_all(&state, Ending::Cancelled, &format!("cancelled by {requester}"), core, now),
        FirmwareOrder::Push => push(&state, begun(String::new(), core), reply, core, now),
        FirmwareOrder::Stage { path, version } => {
            core.change_view(|view| view.uri.clear());
            receive::copy(begun(String::new(), core), path, version, core, now)
        }
        FirmwareOrder::Rollback => rollback(&state, begun(String::new(), core), core, now),
        FirmwareOrder::Execute => execute(state, (requester, right), false, core, now),
        FirmwareOrder::ExecuteNow => execute(state, (requester, right), true, core, now),
        FirmwareOrder::SetSeverity(severity) => {
            core.change_view(|view| view.severity = severity);
            state
        }
        FirmwareOrder::SetMaxDefer(seconds) => {
            core.change_view(|view| view.max_defer = seconds);
            state
        }
    }
}

/// The device is idle.
fn fetch(update: Update, reply: &mut Reply, core: &mut Core, now: Now) -> State {
    let parsed = ImageUri::parse(&update.uri).and_then(|uri| core.rules.policy.check(&uri.request).map(|()| uri));
    match parsed {
        Ok(uri) => {
            core.change_view(|view| view.uri.clone_from(&update.uri));
            receive::download(update, uri, None, core, now)
        }
        Err(refused) => {
            *reply = Reply::BadValue;
            State::Idle(core.refuse(&update, refused, now))
        }
    }
}

fn push(state: &State, update: Update, reply: &mut Reply, core: &mut Core, now: Now) -> State {
    if let Some(former) = state.update() {
        core.close(former, None, Ending::Nothing, "begun anew by its own server", now);
    }
    core.change_view(|view| view.uri.clear());
    let id = update.id;
    let state = receive::push(update, core, now);
    if let State::Pushing(pushing) = &state {
        *reply = Reply::Push(id, pushing.ticket);
    }
    state
}

/// Whatever is staged makes room for the last good image.
fn rollback(state: &State, update: Update, core: &mut Core, now: Now) -> State {
    let dropped = drop_all(state, Ending::Nothing, &format!("rolled back by {}", update.owner), core, now);
    match core.last_good().cloned() {
        Some(good) => receive::restage(update, good, core, now),
        None => dropped,
    }
}

fn execute(state: State, by: (Requester, FirmwareRight), urgent: bool, core: &mut Core, now: Now) -> State {
    match state {
        State::Staged(mut held) => {
            take_over(&mut held.update, by);
            held.tries = Tries::beginning(&core.facts.profile, core.facts.worked.as_deref());
            held.urgent = urgent;
            wait::execute(*held, Wait::Fresh, core, now)
        }
        State::Rechecking(mut rechecking) => {
            take_over(&mut rechecking.held.update, by);
            rechecking.held.urgent = urgent;
            rechecking.execute_after()
        }
        State::Deferred(mut deferred) => {
            deferred.held.urgent |= urgent;
            deferred.try_again(core, now)
        }
        state => state,
    }
}

/// Who may only execute what is its own, and does, owns it from now on: it was released. Who may execute anything takes
/// nothing from its owner.
fn take_over(update: &mut Update, (requester, right): (Requester, FirmwareRight)) {
    if right == FirmwareRight::Own {
        update.owner = requester;
    }
}

fn drop_all(state: &State, ending: Ending, reason: &str, core: &mut Core, now: Now) -> State {
    if let Some(update) = state.update() {
        core.change_view(|view| {
            view.package_name.clear();
            view.package_version.clear();
        });
        core.close(update, state.held(), ending, reason, now);
        core.event(update.id, UpdateEvent::Dropped);
    }
    core.change_view(|view| view.uri.clear());
    State::Idle(ending)
}
