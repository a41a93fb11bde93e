//! What is made of files, and made again when they change.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{Error, read_file};
use crate::metrics::{Side, TlsState};

/// Files' contents, in the order of their paths. Contents are compared, not times: a mounted
/// Secret changes by a symbolic link, whose times say little.
#[derive(PartialEq, Eq)]
pub(crate) struct Files(Vec<Zeroizing<Vec<u8>>>);

/// What was made of files, and when the certificate among them expires.
pub(crate) struct Made<T> {
    pub(crate) value: T,
    pub(crate) expires: Option<i64>,
}

type Make<T> = Box<dyn Fn(&Files) -> Result<Made<T>, Error> + Send>;

/// Looks after files until it is told to stop.
pub(crate) struct Follow<T> {
    paths: Vec<PathBuf>,
    make: Make<T>,
    /// As last read, good or not: broken files are complained about once.
    read: Files,
    fault: Option<String>,
    expires: Option<i64>,
    current: watch::Sender<T>,
}

// === impl Files ===

impl Files {
    fn read(paths: &[PathBuf]) -> Result<Self, Error> {
        let read = |path: &PathBuf| read_file(path).map(Zeroizing::new);
        paths.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// That of the path at that place; empty where there is none.
    pub(crate) fn at(&self, place: usize) -> &[u8] {
        self.0
            .get(place)
            .map(|it| it.as_slice())
            .unwrap_or_default()
    }
}

// === impl Follow ===

impl<T> Follow<T> {
    /// # Errors
    /// A file can't be read, or nothing can be made of them.
    pub(crate) fn load(
        paths: Vec<PathBuf>,
        make: impl Fn(&Files) -> Result<Made<T>, Error> + Send + 'static,
    ) -> Result<(Self, watch::Receiver<T>), Error> {
        let read = Files::read(&paths)?;
        let made = make(&read)?;
        let (current, receiver) = watch::channel(made.value);
        let this = Self {
            paths,
            make: Box::new(make),
            read,
            fault: None,
            expires: made.expires,
            current,
        };
        Ok((this, receiver))
    }

    /// Until `stop`.
    pub(crate) async fn run(
        mut self,
        side: Side,
        every: Duration,
        metrics: TlsState,
        stop: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(every);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.look(side);
            metrics.set(side, self.fault.is_some(), self.expires);
        }
    }

    fn look(&mut self, side: Side) {
        let files = || self.paths.iter().map(|path| path.display());
        let files = files().map(|path| path.to_string()).collect::<Vec<_>>();
        match self.refresh() {
            Ok(false) => {}
            Ok(true) => tracing::info!(?side, ?files, "TLS files reloaded"),
            Err(error) => {
                let fault = Some(chain(&error));
                if fault != self.fault {
                    tracing::warn!(
                        ?side,
                        ?files,
                        error = fault,
                        "the changed TLS files can't be used; the old ones stay"
                    );
                }
                self.fault = fault;
            }
        }
    }

    /// Whether there was something new.
    fn refresh(&mut self) -> Result<bool, Error> {
        let read = Files::read(&self.paths)?;
        let again = read == self.read && self.fault.is_none();
        if again {
            return Ok(false);
        }
        self.read = read;
        let made = (self.make)(&self.read)?;
        self.current.send_replace(made.value);
        self.expires = made.expires;
        self.fault = None;
        Ok(true)
    }
}

fn chain(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl<T> std::fmt::Debug for Follow<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}
