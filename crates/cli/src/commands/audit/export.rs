//! `postern audit export`: records as lines of JSON, a page at a time.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::filter::FilterFlags;
use super::{MESSAGE, page_of};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::paging::Page;
use crate::session::Administrator;

const PAGE: i32 = 500;

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    filter: FilterFlags,
    /// Where to write, readable by its owner alone; without it to standard output
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) async fn run(args: &ExportArgs, administrator: &Administrator) -> Result<(), Failure> {
    let filter = args.filter.parse()?;
    let mut out = open(args.file.as_deref())?;
    let failed = |error: std::io::Error| match &args.file {
        Some(path) => Failure::file(path, &error),
        None => Failure::new(Exit::Unavailable, format!("standard output: {error}")),
    };
    let (mut token, mut records) = (String::new(), 0_u64);
    loop {
        let page = Page { size: PAGE, token };
        let (events, next) = page_of(administrator, "", &filter, page).await?;
        for event in &events {
            let line = output::message(MESSAGE, event)?;
            match writeln!(out, "{line}") {
                // A reader that went away has what it wanted.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.map_err(failed)?,
            }
            records += 1;
        }
        if next.is_empty() {
            break;
        }
        token = next;
    }
    out.flush().map_err(failed)?;
    if let Some(path) = &args.file {
        output::note(&format!("wrote {records} records to {}", path.display()));
    }
    Ok(())
}

fn open(path: Option<&Path>) -> Result<Box<dyn Write>, Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let Some(path) = path else {
        return Ok(Box::new(std::io::BufWriter::new(std::io::stdout())));
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(path).map_err(|e| Failure::file(path, &e))?;
    Ok(Box::new(std::io::BufWriter::new(file)))
}
