//! AuditService, and what keeps the records.

mod filter;
mod log;
mod reader;
mod sealer;
mod stats;
mod tail;
mod verify;

use postern_proto::convert::audit as convert;
use postern_proto::pb;
use postern_proto::pb::audit_service_server::AuditService;
use postern_rpc::error::Error;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::identity::Administrator;
use crate::page::Paging;
use crate::store::EventCursor;

use reader::Reader;

pub(crate) use log::{Log, text};
pub(crate) use sealer::{finish, retain, seal};

pub(crate) struct Audit {
    pub(crate) context: Context,
    /// Ends the streams.
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl AuditService for Audit {
    type TailAuditEventsStream = tail::Stream;
    type VerifyAuditLogStream = verify::Stream;

    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn tail_audit_events(
        &self,
        request: Request<pb::TailAuditEventsRequest>,
    ) -> Result<Response<Self::TailAuditEventsStream>, Status> {
        Ok(Response::new(self.tail(request).await?))
    }

    async fn verify_audit_log(
        &self,
        request: Request<pb::VerifyAuditLogRequest>,
    ) -> Result<Response<Self::VerifyAuditLogStream>, Status> {
        Ok(Response::new(self.verify(request)?))
    }

    async fn get_login_stats(
        &self,
        request: Request<pb::GetLoginStatsRequest>,
    ) -> Result<Response<pb::GetLoginStatsResponse>, Status> {
        Ok(Response::new(self.stats(request).await?))
    }
}

// === impl Audit ===

impl Audit {
    async fn list(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<pb::ListAuditEventsResponse, Error> {
        let caller = Administrator::of(&request)?;
        let request = request.into_inner();
        let filter = filter::parse(&request.request_id, request.filter.as_ref())?;
        let list = format!("auditEvents {} {filter:?}", caller.access_id);
        let paging = Paging::parse(request.page_size, &request.page_token, list)?;
        let before = paging.after(cursor)?;
        let store = &self.context.store;
        let page = store
            .list_events(&filter, before.as_ref(), paging.limit)
            .await?;
        Ok(pb::ListAuditEventsResponse {
            audit_events: page.items.iter().map(convert::to_pb).collect(),
            next_page_token: paging.next(page.next.is_some(), page.next.as_ref().map(key)),
        })
    }

    async fn tail(
        &self,
        request: Request<pb::TailAuditEventsRequest>,
    ) -> Result<tail::Stream, Error> {
        let reader = Reader::of(&self.context, &request)?;
        let request = request.into_inner();
        let filter = filter::parse("", request.filter.as_ref())?;
        let head = self.context.store.sealed_until().await?;
        Ok(tail::stream(tail::Follower {
            reader,
            filter,
            reached: tail::cursor(&request.cursor, head)?,
            context: self.context.clone(),
            shutdown: self.shutdown.clone(),
        }))
    }

    fn verify(&self, request: Request<pb::VerifyAuditLogRequest>) -> Result<verify::Stream, Error> {
        let reader = Reader::of(&self.context, &request)?;
        let known = verify::heads(request.get_ref())?;
        Ok(verify::stream(self.context.clone(), reader, known))
    }

    async fn stats(
        &self,
        request: Request<pb::GetLoginStatsRequest>,
    ) -> Result<pb::GetLoginStatsResponse, Error> {
        Administrator::of(&request)?;
        let window = stats::window(request.get_ref(), self.context.now())?;
        let stats = self.context.store.login_stats(&window).await?;
        Ok(stats::response(&window, stats))
    }
}

fn key(cursor: &EventCursor) -> String {
    format!("{} {}", cursor.time, cursor.id)
}

fn cursor(text: &str) -> Option<EventCursor> {
    let (time, id) = text.split_once(' ')?;
    Some(EventCursor {
        time: time.parse().ok()?,
        id: id.parse().ok()?,
    })
}
