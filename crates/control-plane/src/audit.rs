//! AuditService.

mod log;

use postern_core::audit::Event;
use postern_proto::convert::audit as convert;
use postern_proto::pb;
use postern_proto::pb::audit_service_server::AuditService;
use postern_rpc::error::Error;
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::identity::Administrator;
use crate::page::Paging;
use crate::store::EventCursor;

pub(crate) use log::sink;

pub(crate) struct Audit(pub(crate) Context);

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }
}

// === impl Audit ===

impl Audit {
    async fn list(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<pb::ListAuditEventsResponse, Error> {
        Administrator::of(&request)?;
        let request = request.into_inner();
        let wanted = (!request.request_id.is_empty()).then_some(request.request_id.as_str());
        let list = format!("auditEvents administrator {}", request.request_id);
        let paging = Paging::parse(request.page_size, &request.page_token, list)?;
        let before = paging.after(cursor)?;
        let page = self
            .0
            .store
            .list_events(wanted, before.as_ref(), paging.limit)
            .await?;
        let last = page.items.last().map(key);
        Ok(pb::ListAuditEventsResponse {
            audit_events: page.items.iter().map(convert::to_pb).collect(),
            next_page_token: paging.next(page.more, last),
        })
    }
}

fn key(event: &Event) -> String {
    format!("{} {}", event.time, event.id)
}

fn cursor(text: &str) -> Option<EventCursor> {
    let (time, id) = text.split_once(' ')?;
    Some(EventCursor {
        time: time.parse().ok()?,
        id: id.parse().ok()?,
    })
}
