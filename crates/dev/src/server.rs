//! One server of the stack, while it serves.

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// It stops when dropped; [`stop`](Self::stop) also waits for it.
pub(crate) struct Running {
    name: &'static str,
    task: JoinHandle<Result<(), String>>,
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
    pub(crate) fn spawn<F, E>(
        name: &'static str,
        serve: impl FnOnce(CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error,
    {
        let stop = CancellationToken::new();
        let served = serve(stop.clone());
        Self {
            name,
            task: tokio::spawn(async move { served.await.map_err(|error| reason(&error)) }),
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
    result: Result<Result<(), String>, tokio::task::JoinError>,
) -> Option<Stopped> {
    let reason = match result {
        Ok(Ok(())) => return None,
        Ok(Err(reason)) => reason,
        Err(error) => error.to_string(),
    };
    Some(Stopped { name, reason })
}

/// An error with its causes.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
