//! Assertions for tokens, one transaction for those that come together: it reads the rules, decides
//! each login on them, and writes tokens, assertions and audit records, or the records of refusals.

mod decide;
mod issue;

use std::slice;
use std::sync::Arc;

use postern_core::assertion::Claims;
use postern_core::audit::Event;
use postern_core::auth_method::AuthMethod;
use postern_core::policy::Grant;
use postern_core::resource_id::ConfigName;
use sqlx::Connection as _;

use super::super::BEGIN_LOGIN;
use super::kept::Lent;
use super::{Connection, Engine, audit, signing_keys};
use crate::store::exchange::{self, Refusal};
use crate::store::{
    CantSign, Exchange, Exchanged, Granted, Inconsistent, Limited, StoreError, Unsigned,
};
use postern_rpc::batches::Worker;

/// A login that its method and its config speak for.
struct Allowed {
    method: Arc<AuthMethod>,
    claims: Claims,
    config: ConfigName,
    grant: Grant,
    /// For whom its JWT is; `None`: it gets an opaque token.
    audiences: Option<Vec<String>>,
}

/// What the rules say of a login; outside, a row that couldn't be read for it.
type Decision = Result<Result<Allowed, Refusal>, Inconsistent>;

/// What became of a login, once the transaction is committed.
enum Settled {
    New(Box<Allowed>, Granted),
    /// The same request was granted before: it has its record, and there is nothing to write.
    Again(Granted),
    Refused(Box<Refusal>),
    /// Nothing was kept of it.
    Limited(Limited),
    Fault(Inconsistent),
}

pub(super) type Answer = Result<Exchanged, StoreError>;

/// Answers batches of exchanges.
struct Exchanges(Arc<Engine>);

impl Engine {
    pub(in crate::store) async fn exchange(self: &Arc<Self>, request: &Exchange) -> Answer {
        let worker = || Exchanges(Arc::clone(self));
        match self.exchanges.ask(request.clone(), worker).await {
            Ok(answer) => answer,
            Err(gone) => Err(gone.into()),
        }
    }

    pub(in crate::store) async fn exchange_all(
        self: &Arc<Self>,
        requests: Vec<Exchange>,
    ) -> Result<Vec<Answer>, StoreError> {
        let worker = || Exchanges(Arc::clone(self));
        let answers = self.exchanges.ask_all(requests, worker).await;
        let answers = answers.into_iter();
        Ok(answers
            .map(|answer| answer.unwrap_or_else(|gone| Err(gone.into())))
            .collect())
    }
}

// === impl Exchanges ===

impl Worker<Exchange, Answer> for Exchanges {
    async fn answer(&mut self, requests: &[Exchange]) -> Vec<Answer> {
        let connections = &self.0.for_exchanges;
        match connections.bounded(self.together(requests)).await {
            Ok(answers) => answers,
            Err(fault @ StoreError::Unavailable(_)) => {
                requests.iter().map(|_| Err(fault.again())).collect()
            }
            Err(error) if requests.len() == 1 => vec![Err(error)],
            // Nothing was kept. What the database can't take of one costs the others nothing.
            Err(_) => {
                let mut answers = Vec::with_capacity(requests.len());
                for request in requests {
                    let alone = self.together(slice::from_ref(request));
                    let alone = connections.bounded(alone).await;
                    answers.extend(alone.unwrap_or_else(|error| vec![Err(error)]));
                }
                answers
            }
        }
    }
}

impl Exchanges {
    /// Once more where a kept connection turned out to be gone: what the first time has written
    /// after all is found again, since these are the same bytes.
    async fn together(&self, requests: &[Exchange]) -> Result<Vec<Answer>, StoreError> {
        let connections = &self.0.for_exchanges;
        let lent = connections.take().await?;
        let rested = lent.rested;
        match self.on(lent, requests).await {
            Err(StoreError::Unavailable(_)) if rested => {
                self.on(connections.fresh().await?, requests).await
            }
            done => done,
        }
    }

    /// One transaction. No login is answered before its commit.
    async fn on(&self, mut lent: Lent, requests: &[Exchange]) -> Result<Vec<Answer>, StoreError> {
        let parsed = &self.0.parsed;
        // In this order: the database begins while assertions are verified.
        let begun = lent.connection.begin_with(BEGIN_LOGIN);
        let foreseen = async { decide::foresee(parsed, requests) };
        let (begun, foreseen) = tokio::join!(begun, foreseen);
        let mut tx = begun?;
        let (revision, decisions) = decide::all(&mut tx, parsed, requests, foreseen).await?;
        let mut settled = issue::all(&mut tx, revision, requests, decisions).await?;
        signed_by(&mut tx, requests, &mut settled).await?;
        let events = requests.iter().zip(&settled);
        let events: Vec<Event> = events.filter_map(|(r, settled)| settled.event(r)).collect();
        let new = audit::insert(&mut tx, &events).await?;
        tx.commit().await?;
        self.0.for_exchanges.give_back(lent);
        self.0.hooks.recorded(new);
        Ok(settled.into_iter().map(Settled::answer).collect())
    }
}

/// Reads the key that signs, where there is something to sign. What can't be signed afterwards mustn't
/// be kept.
async fn signed_by(
    connection: &mut Connection,
    requests: &[Exchange],
    settled: &mut [Settled],
) -> Result<(), StoreError> {
    let mut unsigned = Vec::new();
    for (request, settled) in requests.iter().zip(settled) {
        unsigned.extend(settled.jwt().map(|jwt| (request, jwt)));
    }
    if unsigned.is_empty() {
        return Ok(());
    }
    let signer = signing_keys::signer(connection).await?;
    for (request, jwt) in unsigned {
        let opened_by = request.signs.as_ref().ok_or(CantSign::NoIssuer)?;
        let signer = signer.as_ref().ok_or(CantSign::NoKey)?;
        if !opened_by.contains(&signer.sealed.key_id) {
            return Err(CantSign::Sealed.into());
        }
        jwt.signer = Some(signer.clone());
    }
    Ok(())
}

// === impl Settled ===

impl Settled {
    fn jwt(&mut self) -> Option<&mut Unsigned> {
        match self {
            Self::New(_, granted) | Self::Again(granted) => granted.jwt.as_deref_mut(),
            Self::Refused(_) | Self::Limited(_) | Self::Fault(_) => None,
        }
    }

    fn event(&self, request: &Exchange) -> Option<Event> {
        match self {
            Self::New(allowed, granted) => {
                let Allowed {
                    method,
                    grant,
                    config,
                    ..
                } = &**allowed;
                Some(Event {
                    token_expire_time: Some(granted.expire_time),
                    ..exchange::granted(request, method, grant, config, granted)
                })
            }
            Self::Refused(refusal) => Some(refusal.event(request)),
            Self::Again(_) | Self::Limited(_) | Self::Fault(_) => None,
        }
    }

    fn answer(self) -> Answer {
        match self {
            Self::New(_, granted) | Self::Again(granted) => Ok(Exchanged::Granted(granted)),
            Self::Refused(refusal) => Ok(Exchanged::Refused(refusal.reason)),
            Self::Limited(limited) => Ok(Exchanged::Limited(limited)),
            Self::Fault(fault) => Err(fault.into()),
        }
    }
}
