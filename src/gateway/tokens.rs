//! Tokens: what operators order of them, between the store and who checks them.

use super::Gateway;
use crate::control::{Answer, Failure, FailureCode, TokenOrder, TokenReport, TokenStatus};
use crate::device::Role;
use crate::store::Store;
use crate::web::{self, MintError, Tokens};

impl Gateway {
    pub(super) fn order_tokens(&self, order: TokenOrder, reply: Answer<TokenReport>) {
        let (tokens, store, page) = (self.tokens.clone(), self.store.clone(), web::page_url(&self.config.web));
        tokio::spawn(async move {
            let done = carry_out(order, &tokens, &store).await;
            let report = |token| {
                let known = tokens.list().0;
                let shown = |record: crate::device::TokenRecord| TokenStatus {
                    name: record.name,
                    role: record.role,
                    since: record.since,
                    expires: record.expires,
                };
                TokenReport { tokens: known.into_iter().map(shown).collect(), token, page }
            };
            drop(reply.send(done.map(report)));
        });
    }
}

/// Whatever becomes of the order, tokens whose time is over are forgotten. The text of a token that was made is returned.
async fn carry_out(order: TokenOrder, tokens: &Tokens, store: &Store) -> Result<Option<String>, Failure> {
    for name in tokens.list().1 {
        tokens.revoke(&name);
        store.revoke_token(name).await.map_err(|error| unwritten(&error))?;
    }
    match order {
        TokenOrder::List => Ok(None),
        TokenOrder::Add { name, role, lifetime_s } => add(name, role, lifetime_s, tokens, store).await.map(Some),
        TokenOrder::Revoke { name } => {
            store.revoke_token(name.clone()).await.map_err(|error| unwritten(&error))?;
            if !tokens.revoke(&name) {
                let failure = Failure::new(FailureCode::NotFound, format!("there is no token `{name}`"));
                return Err(failure.with_hint("`nuncio token list` names them"));
            }
            tracing::info!(name, "a token is worth nothing any more");
            Ok(None)
        }
    }
}

async fn add(
    name: Option<String>,
    role: Role,
    lifetime_s: Option<u64>,
    tokens: &Tokens,
    store: &Store,
) -> Result<String, Failure> {
    let maker = tokens.clone();
    let made = tokio::task::spawn_blocking(move || maker.mint(name, role, lifetime_s)).await;
    let made = made.map_err(|error| Failure::new(FailureCode::Failed, error.to_string()))?;
    let (record, token) = made.map_err(|error| {
        let code = match error {
            MintError::Name(_) => FailureCode::BadRequest,
            MintError::Taken(_) | MintError::TooMany => FailureCode::NotNow,
            MintError::System(_) => FailureCode::Failed,
        };
        Failure::new(code, error.to_string())
    })?;
    store.remember_token(record.clone()).await.map_err(|error| unwritten(&error))?;
    tracing::info!(name = record.name, role = role.as_str(), "a token was made");
    tokens.take(record);
    Ok(token)
}

fn unwritten(error: &crate::store::StoreError) -> Failure {
    Failure::new(FailureCode::Failed, format!("not written down: {error}"))
}
