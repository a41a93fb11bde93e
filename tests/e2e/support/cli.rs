//! The command line as a person or a pod has it: its own home, nothing else in the environment.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A home folder to run `postern` in.
pub(crate) struct Cli {
    home: TempDir,
    env: Vec<(String, String)>,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Cli {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            env: Vec::new(),
        }
    }

    #[must_use]
    pub(crate) fn with_env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes a file into the home folder.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn profile(&self, name: &str) -> PathBuf {
        self.home.path().join("config").join(format!("{name}.json"))
    }

    /// The command, ready to be started: standard input is closed.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("POSTERN_CONFIG_DIR", self.home.path().join("config"))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let output = self.command().args(args).output().unwrap();
        Output::of(output)
    }

    pub(crate) fn run_with_stdin(&self, args: &[&str], stdin: &str) -> Output {
        let mut command = self.command();
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // A command that failed before it read is for the caller to look at.
        let _ = pipe.write_all(stdin.as_bytes());
        drop(pipe);
        Output::of(child.wait_with_output().unwrap())
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.run(args).success()
    }

    /// The one document of a command that must succeed.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        self.run(&args).document()
    }
}

impl Output {
    fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    #[track_caller]
    pub(crate) fn document(self) -> Value {
        let text = self.success();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}"))
    }

    /// Fails with this code, nothing on standard output, and every part on standard error.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, parts: &[&str]) -> String {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "");
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "no `{part}` in: {}",
                self.stderr
            );
        }
        self.stderr
    }

    /// The request ID of a refusal; the rest is what every refusal says.
    #[track_caller]
    pub(crate) fn refused(self) -> String {
        let stderr = self.fails(1, &["login refused", "request ID"]);
        let id = stderr.split("request ID ").nth(1).unwrap();
        let id: String = id.chars().take_while(char::is_ascii_alphanumeric).collect();
        assert_eq!(
            stderr,
            format!(
                "error: login refused (request ID {id})\n\
                 hint: an administrator sees the reason with: postern audit get {id}\n"
            )
        );
        id
    }
}
