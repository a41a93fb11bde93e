//! Assertions for tokens. Logins that come together share a call, as they share a transaction at the
//! control plane: a call costs both sides more than what an assertion adds to it.

use std::sync::Arc;

use postern_proto::pb;
use postern_proto::pb::exchange_outcome::Outcome;
use postern_rpc::batches::{Batches, Gone, Limits, Worker};
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Failure;
use tonic::Code;

use super::{ControlPlane, away, no_answer, repeat, sync};

/// Who comes while a call is under way is in the next one; more than a call holds get a second.
const BATCHES: Limits = Limits {
    eager: 1,
    workers: 8,
    questions: 32,
};

type Answer = Result<pb::ExchangeAssertionResponse, Failure>;
pub(super) type Exchanges = Batches<Question, Answer>;

#[derive(Clone)]
pub(super) struct Question {
    request: pb::ExchangeAssertionRequest,
    deadline: Deadline,
}

/// Answers a batch by one call.
struct Caller(Arc<ControlPlane>);

pub(super) fn batches() -> Arc<Exchanges> {
    Batches::new(BATCHES)
}

impl ControlPlane {
    /// Turns an assertion into a token. Repeats the same bytes, which is safe, while the control
    /// plane is away and there is time.
    ///
    /// # Errors
    /// `LOGIN_REFUSED` says that the control plane refused this login; anything else is a fault.
    pub(crate) async fn exchange(
        self: &Arc<Self>,
        request: &pb::ExchangeAssertionRequest,
        deadline: Deadline,
    ) -> Answer {
        repeat(deadline, async |deadline| {
            let request = request.clone();
            let question = Question { request, deadline };
            let worker = || Caller(Arc::clone(self));
            match deadline.run(self.exchanges.ask(question, worker)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(gone)) => Err(given_up(gone)),
                Err(_) => Err(no_answer()),
            }
        })
        .await
    }
}

// === impl Caller ===

impl Worker<Question, Answer> for Caller {
    async fn answer(&mut self, questions: &[Question]) -> Vec<Answer> {
        let Some(deadline) = questions.iter().map(|question| question.deadline).max() else {
            return Vec::new();
        };
        let requests = questions.iter().map(|question| question.request.clone());
        let batch = pb::BatchExchangeAssertionsRequest {
            requests: requests.collect(),
        };
        let call = self
            .0
            .call(batch, None, deadline, async |channel, request| {
                sync(channel).batch_exchange_assertions(request).await
            });
        let outcomes = call.await.map(|response| response.outcomes);
        match outcomes {
            Ok(outcomes) if outcomes.len() == questions.len() => {
                outcomes.into_iter().map(answer).collect()
            }
            Ok(_) => questions.iter().map(|_| Err(not_said())).collect(),
            Err(failure) => questions.iter().map(|_| Err(failure.clone())).collect(),
        }
    }
}

fn answer(outcome: pb::ExchangeOutcome) -> Answer {
    match outcome.outcome {
        Some(Outcome::Response(response)) => Ok(response),
        Some(Outcome::Failure(failure)) => {
            let pb::ExchangeFailure {
                code,
                message,
                details,
            } = failure;
            Err(Failure::said(code, message, details))
        }
        None => Err(not_said()),
    }
}

fn not_said() -> Failure {
    away(
        Code::Internal,
        "the control plane didn't answer each assertion",
    )
}

fn given_up(_: Gone) -> Failure {
    away(
        Code::Unavailable,
        "the call to the control plane was given up",
    )
}
