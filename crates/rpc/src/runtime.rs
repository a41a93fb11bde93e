//! The threads that a server runs on.

use std::io;
use std::num::NonZero;
use std::thread;

use tokio::runtime::{Builder, Runtime};

/// Worker threads for half of the processors, or as many as `TOKIO_WORKER_THREADS` says.
///
/// A call here is some microseconds of work between waits for the network. The kernel, and on a small machine
/// the API server and the database, do the rest of it: with a worker a processor, workers
/// wake each other and take what the others need, and fewer calls are answered.
///
/// # Errors
/// The operating system gives no thread.
pub fn for_server() -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        builder.worker_threads((processors / 2).max(1));
    }
    builder.enable_all().build()
}
