//! Assertions for tokens, one transaction for those that come together: it reads the rules, decides
//! each login on them, and writes tokens, assertions and audit records, or the records of refusals.

mod decide;
mod grounds;
mod issue;

use std::slice;
use std::sync::Arc;

use postern_core::assertion::Claims;
use postern_core::audit::Event;
use postern_core::auth_method::AuthMethod;
use postern_core::policy::Grant;
use postern_core::resource_id::ConfigName;
use sqlx::{Executor as _, Row as _};

use super::super::{BEGIN_EXCHANGE, WRITES_AT_ONCE};
use super::kept::Lent;
use super::{Connection, Engine, audit, signing_keys};
use crate::store::exchange::{self, Refusal};
use crate::store::{
    CantSign, Exchange, Exchanged, Granted, Inconsistent, Limited, StoreError, Unsigned,
};
use postern_rpc::batches::Worker;

pub(super) use grounds::Grounds;
use grounds::Rules;

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

/// How a batch is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As if nothing of it had been presented before; fails where something was.
    AtOnce,
    StepByStep,
}

/// What became of a batch.
struct Issued {
    settled: Vec<Settled>,
    /// The records of all that are new, where they are written.
    recorded: Vec<Event>,
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
        let way = match WRITES_AT_ONCE {
            true => Way::AtOnce,
            false => Way::StepByStep,
        };
        match self.on(lent, requests, way).await {
            Err(StoreError::Unavailable(_)) if rested => {
                self.on(connections.fresh().await?, requests, way).await
            }
            done => done,
        }
    }

    async fn on(
        &self,
        mut lent: Lent,
        requests: &[Exchange],
        way: Way,
    ) -> Result<Vec<Answer>, StoreError> {
        if !lent.rested {
            self.0.grounds.forget();
        }
        let connection = &mut *lent.connection;
        let mut done = self.transaction(connection, requests, way).await;
        if way == Way::AtOnce && matches!(&done, Err(error) if error.is_taken()) {
            connection.execute("ROLLBACK").await?;
            done = self
                .transaction(connection, requests, Way::StepByStep)
                .await;
        }
        match &done {
            Ok(_) => self.0.for_exchanges.give_back(lent),
            Err(StoreError::Unavailable(_)) => {}
            // The pool keeps no connection whose transaction failed. If this fails, too, the first
            // fault is the one to tell.
            Err(_) => {
                let _ = connection.execute("ROLLBACK").await;
            }
        }
        done
    }

    /// No login is answered before its commit.
    async fn transaction(
        &self,
        connection: &mut Connection,
        requests: &[Exchange],
        way: Way,
    ) -> Result<Vec<Answer>, StoreError> {
        let grounds = &self.0.grounds;
        // In this order: the database begins while assertions are verified.
        let begun = begin(&mut *connection);
        let foreseen = async { decide::foresee(grounds, requests) };
        let (revision, foreseen) = tokio::join!(begun, foreseen);
        let revision = revision?;
        let rules = Rules::new(grounds, revision);
        let decisions = decide::all(connection, rules, requests, foreseen).await?;
        let Issued {
            mut settled,
            recorded,
        } = issue::all(connection, revision, requests, decisions, way).await?;
        signed_by(connection, requests, &mut settled).await?;
        let events = requests.iter().zip(&settled);
        let events = events.filter(|(_, settled)| recorded.is_empty() || !settled.is_new());
        let events: Vec<Event> = events.filter_map(|(r, settled)| settled.event(r)).collect();
        let new = audit::insert(connection, &events).await?;
        connection.execute("COMMIT").await?;
        self.0.hooks.recorded(recorded.iter().chain(new));
        Ok(settled.into_iter().map(Settled::answer).collect())
    }
}

/// Opens the transaction, and says at which revision the rules are until it ends.
async fn begin(connection: &mut Connection) -> Result<i64, StoreError> {
    let rows = sqlx::raw_sql(BEGIN_EXCHANGE).fetch_all(connection).await?;
    let revision = rows.last().ok_or(sqlx::Error::RowNotFound)?;
    Ok(revision.try_get("value")?)
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

// === impl Allowed ===

impl Allowed {
    fn event(&self, request: &Exchange, granted: &Granted) -> Event {
        let Self {
            method,
            grant,
            config,
            ..
        } = self;
        Event {
            token_expire_time: Some(granted.expire_time),
            ..exchange::granted(request, method, grant, config, granted)
        }
    }
}

// === impl Settled ===

impl Settled {
    fn is_new(&self) -> bool {
        matches!(self, Self::New(..))
    }

    fn jwt(&mut self) -> Option<&mut Unsigned> {
        match self {
            Self::New(_, granted) | Self::Again(granted) => granted.jwt.as_deref_mut(),
            Self::Refused(_) | Self::Limited(_) | Self::Fault(_) => None,
        }
    }

    fn event(&self, request: &Exchange) -> Option<Event> {
        match self {
            Self::New(allowed, granted) => Some(allowed.event(request, granted)),
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
