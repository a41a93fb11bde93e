//! The threads that a server runs on.

use std::io;
use std::num::NonZero;
use std::thread;

use tokio::runtime::{Builder, Runtime};

/// Worker threads for half of the processors, or as many as `TOKIO_WORKER_THREADS` says. With up to
/// three, and nothing said, everything runs on the calling thread.
///
/// A call here is some microseconds of work between waits for the network. The kernel, and on a small machine
/// the API server and the database, do the rest of it: with a worker a processor, workers
/// wake each other and take what the others need, and fewer calls are answered. On a single thread
/// nobody is woken, and a connection writes once all have had their turn that have something to send on it:
/// their requests are one packet instead of one each.
///
/// # Errors
/// The operating system gives no thread.
pub fn for_server() -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        match processors / 2 {
            0 | 1 => builder = Builder::new_current_thread(),
            workers => {
                builder.worker_threads(workers);
            }
        }
    }
    builder.enable_all().build()
}
