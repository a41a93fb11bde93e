//! TokenAdminService.

mod messages;

use postern_core::access_token::Accessor;
use postern_core::invalid::Invalid;
use postern_proto::pb;
use postern_proto::pb::token_admin_service_server::TokenAdminService;
use postern_rpc::error::Error;
use tonic::{Request, Response, Status};

use crate::context::{Context, intent};
use crate::failure;
use crate::identity::Administrator;
use crate::page::Paging;
use crate::store::{BlockCursor, Intent};

pub(crate) struct TokenAdmin(pub(crate) Context);

#[tonic::async_trait]
impl TokenAdminService for TokenAdmin {
    async fn list_tokens(
        &self,
        request: Request<pb::ListTokensRequest>,
    ) -> Result<Response<pb::ListTokensResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn get_token(
        &self,
        request: Request<pb::GetTokenRequest>,
    ) -> Result<Response<pb::GetTokenResponse>, Status> {
        Ok(Response::new(self.get(request).await?))
    }

    async fn revoke_tokens(
        &self,
        request: Request<pb::RevokeTokensRequest>,
    ) -> Result<Response<pb::RevokeTokensResponse>, Status> {
        Ok(Response::new(self.revoke(request).await?))
    }

    async fn block(
        &self,
        request: Request<pb::BlockRequest>,
    ) -> Result<Response<pb::BlockResponse>, Status> {
        Ok(Response::new(self.add_block(request).await?))
    }

    async fn unblock(
        &self,
        request: Request<pb::UnblockRequest>,
    ) -> Result<Response<pb::UnblockResponse>, Status> {
        Ok(Response::new(self.lift_block(request).await?))
    }

    async fn list_blocks(
        &self,
        request: Request<pb::ListBlocksRequest>,
    ) -> Result<Response<pb::ListBlocksResponse>, Status> {
        Ok(Response::new(self.blocks(request).await?))
    }
}

// === impl TokenAdmin ===

impl TokenAdmin {
    async fn list(
        &self,
        request: Request<pb::ListTokensRequest>,
    ) -> Result<pb::ListTokensResponse, Error> {
        Administrator::of(&request)?;
        let request = request.into_inner();
        let wire = request.filter.unwrap_or_default();
        let filter = messages::filter(&wire)?;
        let list = format!("tokens administrator {wire:?}");
        let paging = Paging::parse(request.page_size, &request.page_token, list)?;
        let after: Option<Accessor> = paging.after(|accessor| accessor.parse().ok())?;
        let store = &self.0.store;
        let page = store.list_tokens(&filter, after.as_ref(), paging.limit, self.0.now());
        let page = page
            .await
            .map_err(|e| failure::of_write(e, &wire.auth_method, ""))?;
        let last = page.items.last().map(|token| token.accessor.to_string());
        Ok(pb::ListTokensResponse {
            tokens: page.items.iter().map(messages::token).collect(),
            next_page_token: paging.next(page.more, last),
        })
    }

    async fn get(
        &self,
        request: Request<pb::GetTokenRequest>,
    ) -> Result<pb::GetTokenResponse, Error> {
        Administrator::of(&request)?;
        let accessor = messages::accessor(&request.into_inner().name)?;
        let token = self.0.store.get_token(&accessor, self.0.now()).await?;
        let token = token.ok_or_else(|| Error::not_found(format!("tokens/{accessor}")))?;
        Ok(pb::GetTokenResponse {
            token: Some(messages::token(&token)),
        })
    }

    async fn revoke(
        &self,
        request: Request<pb::RevokeTokensRequest>,
    ) -> Result<pb::RevokeTokensResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let wire = request.filter.unwrap_or_default();
        let filter = messages::filter(&wire)?;
        if filter.is_empty() {
            return Err(Invalid::field("filter", "is empty: say whose tokens").into());
        }
        let intent = intent(request.validate_only);
        let count = self.0.store.revoke_tokens(&filter, intent, &cause).await;
        let count = count.map_err(|e| failure::of_write(e, &wire.auth_method, ""))?;
        if intent == Intent::Write {
            self.revoked(count);
        }
        Ok(pb::RevokeTokensResponse { count })
    }

    async fn add_block(
        &self,
        request: Request<pb::BlockRequest>,
    ) -> Result<pb::BlockResponse, Error> {
        let now = self.0.now();
        let cause = Administrator::of(&request)?.cause(&request, now)?;
        let wire = request.into_inner().block.unwrap_or_default();
        let block = messages::block(&wire, &cause.access_id, now)?;
        let config = block.blocked.config.as_ref().map(ToString::to_string);
        let count = self.0.store.block(&block, &cause).await;
        let count = count.map_err(|e| failure::of_write(e, &config.unwrap_or_default(), ""))?;
        self.revoked(count);
        Ok(pb::BlockResponse {
            block: Some(messages::shown(&block)),
            revoked_tokens: count,
        })
    }

    async fn lift_block(
        &self,
        request: Request<pb::UnblockRequest>,
    ) -> Result<pb::UnblockResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let subject = request.into_inner().subject.unwrap_or_default();
        let blocked = messages::blocked(&subject).map_err(|fault| fault.within("subject"))?;
        let lifted = self.0.store.unblock(&blocked, &cause).await;
        lifted.map_err(|e| failure::of_write(e, &format!("blocks/{}", blocked.subject), ""))?;
        Ok(pb::UnblockResponse {})
    }

    async fn blocks(
        &self,
        request: Request<pb::ListBlocksRequest>,
    ) -> Result<pb::ListBlocksResponse, Error> {
        Administrator::of(&request)?;
        let request = request.into_inner();
        let list = "blocks administrator".to_owned();
        let paging = Paging::parse(request.page_size, &request.page_token, list)?;
        let after = paging.after(cursor)?;
        let store = &self.0.store;
        let page = store.list_blocks(after.as_ref(), paging.limit, self.0.now());
        let page = page.await?;
        let last = page.items.last().map(|(last, _)| text(last));
        Ok(pb::ListBlocksResponse {
            blocks: page
                .items
                .iter()
                .map(|(_, block)| messages::shown(block))
                .collect(),
            next_page_token: paging.next(page.more, last),
        })
    }

    /// What was taken away is dead by now; its rows needn't wait for their time.
    fn revoked(&self, count: i64) {
        let count = u64::try_from(count).unwrap_or_default();
        self.0.metrics.tokens_revoked(count);
        self.0.swept_for.notify_one();
    }
}

fn text(cursor: &BlockCursor) -> String {
    format!("{} {}", cursor.key, cursor.config_uid)
}

fn cursor(text: &str) -> Option<BlockCursor> {
    let (key, config_uid) = text.split_once(' ')?;
    Some(BlockCursor {
        key: key.to_owned(),
        config_uid: config_uid.to_owned(),
    })
}
