//! The life of one private server: its folder, its process, and the watchdog that outlives us.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::binaries::{Binaries, Owner};

/// How long a server may take to answer, or to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Open transactions are rolled back, connections closed, a checkpoint written.
    Fast,
    /// As in a crash: no checkpoint, and the next start recovers from the write-ahead log.
    Immediate,
}

impl StopMode {
    fn signal(self) -> &'static str {
        match self {
            Self::Fast => "INT",
            Self::Immediate => "QUIT",
        }
    }
}

pub(super) fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

pub(super) fn log_file(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// Dropping it closes the watchdog's input, which is what the end of the process does too: there is
/// one way to clean up.
pub(super) struct Cluster {
    folder: PathBuf,
    binaries: Binaries,
    owner: Option<Owner>,
    server: Option<Child>,
    watchdog: Child,
    watchdog_input: Option<ChildStdin>,
}

impl Cluster {
    /// Makes a cluster in a new folder and starts it.
    pub(super) fn create(binaries: Binaries) -> Self {
        // /tmp, since the path of a socket is limited to some 100 bytes and the folders above must
        // be open to the server's user.
        let folder = tempfile::Builder::new()
            .prefix("postern-pg-")
            .tempdir_in("/tmp");
        let folder = folder.expect("a folder in /tmp").keep();
        let (watchdog, watchdog_input) = start_watchdog(&folder);
        let owner = Owner::instead_of_root(&folder);
        if let Some(Owner { uid, gid }) = owner {
            chown(&folder, Some(uid), Some(gid)).expect("root may give the folder away");
        }
        let watchdog_input = Some(watchdog_input);
        let mut cluster = Self {
            folder,
            binaries,
            owner,
            server: None,
            watchdog,
            watchdog_input,
        };
        cluster.initialize();
        cluster.start();
        cluster
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn initialize(&mut self) {
        let mut initdb = self.command("initdb");
        // --no-sync: only what the server itself writes later has to be durable.
        initdb.args([
            "--no-sync",
            "--no-locale",
            "--encoding=UTF8",
            "--auth=trust",
        ]);
        initdb
            .arg("--username=postgres")
            .arg("-D")
            .arg(data_dir(&self.folder));
        let status = self.spawn(initdb).wait().expect("wait for initdb");
        assert!(status.success(), "initdb failed: {}", self.log());
    }

    /// Starts the server unless it runs, and waits until it takes connections.
    pub(super) fn start(&mut self) {
        if self.server.is_some() {
            return;
        }
        let mut postgres = self.command("postgres");
        postgres
            .arg("-D")
            .arg(data_dir(&self.folder))
            .arg("-k")
            .arg(&self.folder);
        postgres.args([
            "-p",
            "5432",
            "-c",
            "listen_addresses=",
            "-c",
            "max_connections=200",
        ]);
        let mut server = self.spawn(postgres);
        let ready = poll(|| {
            if let Some(status) = server.try_wait().expect("poll the server") {
                panic!("PostgreSQL ended with {status}: {}", self.log());
            }
            self.is_ready(server.id()).then_some(())
        });
        assert!(ready.is_some(), "PostgreSQL isn't ready: {}", self.log());
        self.server = Some(server);
    }

    /// The server keeps its state in the eighth line of its PID file.
    fn is_ready(&self, pid: u32) -> bool {
        let file = fs::read_to_string(data_dir(&self.folder).join("postmaster.pid"));
        let file = file.unwrap_or_default();
        let mut lines = file.lines().map(str::trim);
        lines.next() == Some(&pid.to_string()) && lines.nth(6) == Some("ready")
    }

    pub(super) fn stop(&mut self, mode: StopMode) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let pid = server.id().to_string();
        let kill = ["-c", "kill -s \"$1\" \"$2\"", "sh", mode.signal(), &pid];
        let sent = Command::new("sh").args(kill).status().expect("run sh");
        assert!(sent.success(), "no signal could be sent to the server");
        let ended = poll(|| server.try_wait().expect("poll the server"));
        assert!(ended.is_some(), "PostgreSQL doesn't stop: {}", self.log());
        self.watch("none");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.program(program));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Some(Owner { uid, gid }) = self.owner {
            command.uid(uid).gid(gid);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(log_file(&self.folder));
        let log = log.expect("open the server's log");
        command
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir(&self.folder);
        // Its own group, so that the Ctrl-C that ends the tests reaches the watchdog's way alone.
        command.process_group(0).stdin(Stdio::null());
        command
            .stdout(log.try_clone().expect("duplicate the log"))
            .stderr(log);
        command
    }

    fn spawn(&mut self, mut command: Command) -> Child {
        let child = command.spawn().expect("start a PostgreSQL program");
        self.watch(&child.id().to_string());
        child
    }

    fn watch(&mut self, pid: &str) {
        let input = self.watchdog_input.as_mut().expect("open until dropped");
        writeln!(input, "{pid}").expect("the watchdog reads until we end");
    }

    fn log(&self) -> String {
        fs::read_to_string(log_file(&self.folder)).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.watchdog_input.take();
        if let Some(mut server) = self.server.take() {
            let _ = server.wait();
        }
        let _ = self.watchdog.wait();
    }
}

/// A shell that reads the PID to kill from its standard input. When that ends, because we closed it
/// or because this process is gone, it kills the last PID, waits for it, and removes the folder.
/// The server removes its PID file last; the PID itself may stay, where nobody reaps orphans.
fn start_watchdog(folder: &Path) -> (Child, ChildStdin) {
    const SCRIPT: &str = r#"
        trap '' HUP INT TERM
        pid=none
        while read -r line; do pid=$line; done
        if [ "$pid" != none ]; then
            kill -s QUIT "$pid"
            tries=0
            while kill -s 0 "$pid" && [ -e "$1/data/postmaster.pid" ] && [ $tries -lt 200 ]; do
                sleep 0.05
                tries=$((tries + 1))
            done
        fi
        rm -rf "$1"
    "#;
    let mut command = Command::new("sh");
    command
        .args(["-c", SCRIPT, "sh"])
        .arg(folder)
        .current_dir("/");
    command.process_group(0).stdin(Stdio::piped());
    // Inherited, they would keep whoever reads our output waiting for the watchdog.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut watchdog = command.spawn().expect("start the watchdog");
    let input = watchdog.stdin.take().expect("piped");
    (watchdog, input)
}

fn poll<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let result = attempt();
        if result.is_some() || Instant::now() > deadline {
            return result;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
