//! `postern` as a process that goes on running.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Cli, World, eventually};

/// A running command; killed when dropped.
pub(crate) struct Process {
    child: Child,
    folder: PathBuf,
    name: String,
}

/// A port that nobody listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Process {
    /// The world's control plane as an operator starts it, on the same address and database.
    pub(crate) fn control_plane(world: &World, more: &[&str]) -> Self {
        let deployment = world.stack().deployment();
        let (certificate, key) = deployment.control_plane_tls();
        let listen = world.stack().control_plane_url().replace("https://", "");
        let file = |path: PathBuf| path.to_str().unwrap().to_owned();
        let flags = [
            ("--database-url", world.stack().database_url().to_owned()),
            ("--key-file", file(deployment.control_plane_keys())),
            ("--tls-cert", file(certificate)),
            ("--tls-key", file(key)),
            ("--listen", listen),
        ];
        let mut args = vec!["control-plane", "serve"];
        args.extend(flags.iter().flat_map(|(flag, value)| [*flag, value]));
        args.extend(more);
        Self::start(&world.admin, world.admin.home(), "serve", &args)
    }

    /// Its outputs go to `name.out` and `name.err` in `folder`.
    pub(crate) fn start(cli: &Cli, folder: &Path, name: &str, args: &[&str]) -> Self {
        let output = |suffix: &str| File::create(folder.join(format!("{name}.{suffix}"))).unwrap();
        let mut command = cli.command();
        command
            .args(args)
            .stdout(output("out"))
            .stderr(output("err"));
        Self {
            child: command.spawn().unwrap(),
            folder: folder.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(self.folder.join(format!("{}.out", self.name))).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.folder.join(format!("{}.err", self.name))).unwrap()
    }

    /// Waits until standard output or error has `text`.
    pub(crate) fn wait_for(&mut self, text: &str) {
        eventually(
            &format!("`{text}` from {}", self.name),
            Duration::from_secs(30),
            || {
                let both = format!("{}{}", self.stdout(), self.stderr());
                let ended = self.child.try_wait().unwrap();
                assert!(
                    ended.is_none() || both.contains(text),
                    "{} ended: {both}",
                    self.name
                );
                both.contains(text).then_some(())
            },
        );
    }

    /// The most memory that it ever had, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    /// Sends a signal by name, such as `INT`.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("sh")
            .args([
                "-c",
                "kill -s \"$0\" \"$1\"",
                signal,
                &self.child.id().to_string(),
            ])
            .stdin(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }

    /// The exit code, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let limit = Duration::from_secs(15);
        let status = eventually(&format!("the end of {}", self.name), limit, || {
            self.child.try_wait().unwrap()
        });
        status.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
