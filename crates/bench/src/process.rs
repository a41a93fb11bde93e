//! A server in a process of its own, and the processor time that processes have taken.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Linux counts in hundredths of a second, whatever the kernel's own clock is.
const TICK: Duration = Duration::from_millis(10);
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(15);

/// A server. It ends when dropped.
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    /// What it said when it was there.
    pub(crate) address: String,
}

impl Server {
    /// Starts this program in another role; what it logs goes into the folder.
    pub(crate) fn start(name: &'static str, dir: &Path, arguments: &[&str]) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()?;
        let out = child.stdout.take().context("no standard output")?;
        let mut address = String::new();
        // It ends or speaks: a server that can't start does the one or the other.
        BufReader::new(out).read_line(&mut address)?;
        let server = Self {
            name,
            child,
            address: address.trim().to_owned(),
        };
        if server.address.is_empty() {
            let log = std::fs::read_to_string(&log)?;
            bail!("the {name} didn't start: {}", log.trim());
        }
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let start = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if start.elapsed() > STOP {
                // There is nothing to do for one that can't be killed.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(TICK);
        }
    }
}

/// Waits for what comes by itself.
pub(crate) async fn until(what: &str, mut there: impl AsyncFnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !there().await {
        if start.elapsed() > START {
            bail!("{what}: not within {START:?}");
        }
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}

/// Processes that do one part of the work.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) pids: Vec<u32>,
}

impl Group {
    /// The processor time that they have taken so far.
    pub(crate) fn time(&self) -> Duration {
        let ticks = self.pids.iter().filter_map(|pid| ticks(*pid)).sum::<u32>();
        TICK * ticks
    }
}

/// A process's fields behind its name, which may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

fn ticks(pid: u32) -> Option<u32> {
    let stat = stat(pid)?;
    let field = |i: usize| stat.get(i)?.parse::<u32>().ok();
    Some(field(11)? + field(12)?)
}

pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

fn all() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

pub(crate) fn children(of: u32) -> Vec<u32> {
    let all = all().into_iter();
    all.filter(|pid| parent(*pid) == Some(of)).collect()
}

/// Those whose command line holds all of the words.
pub(crate) fn running(words: &[&str]) -> Vec<u32> {
    let holds = |pid: &u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let given: Vec<&str> = line.split('\0').collect();
        words.iter().all(|word| {
            let is = |given: &&str| *given == *word || given.ends_with(&format!("/{word}"));
            given.iter().any(is)
        })
    };
    all().into_iter().filter(holds).collect()
}
