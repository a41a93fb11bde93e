//! One server of the stack, while it serves.

use postern_rpc::server::ServeError;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// It stops when dropped; [`stop`](Self::stop) also waits for it.
pub(crate) struct Running {
    name: &'static str,
    task: JoinHandle<Result<(), ServeError>>,
    stop: DropGuard,
}

/// A server that stopped without being told to.
#[derive(Debug, thiserror::Error)]
#[error("the {name} stopped: {reason}")]
pub struct Stopped {
    name: &'static str,
    reason: String,
}

impl Running {
    pub(crate) fn spawn<F>(name: &'static str, serve: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<(), ServeError>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self {
            name,
            task: tokio::spawn(serve(stop.clone())),
            stop: stop.drop_guard(),
        }
    }

    pub(crate) async fn stop(self) -> Result<(), Stopped> {
        let Self {
            name, task, stop, ..
        } = self;
        drop(stop);
        ended(name, task.await).map_or(Ok(()), Err)
    }

    /// Waits until it stops by itself.
    pub(crate) async fn stopped(&mut self) -> Stopped {
        let result = (&mut self.task).await;
        ended(self.name, result).unwrap_or_else(|| Stopped {
            name: self.name,
            reason: "nobody told it to".to_owned(),
        })
    }
}

fn ended(
    name: &'static str,
    result: Result<Result<(), ServeError>, tokio::task::JoinError>,
) -> Option<Stopped> {
    let reason = match result {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Some(Stopped { name, reason })
}
