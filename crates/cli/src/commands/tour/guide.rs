//! Runs the real command line in a home of its own, and shows what is typed and what comes back.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::failure::{Exit, Failure};
use crate::output;

/// Longer words, which are keys and such, are cut in what is shown, to this many characters.
const MAX_SHOWN: usize = 60;
const KEPT: usize = 24;
const WITHIN: Duration = Duration::from_secs(60);

/// A running `postern dev`, and the shell variables of whoever follows the tutorial.
pub(super) struct Guide {
    program: PathBuf,
    home: TempDir,
    dev: Child,
    variables: Vec<(&'static str, String)>,
    aloud: bool,
}

/// What a command did.
pub(super) struct Answer {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Guide {
    pub(super) async fn start(aloud: bool) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|error| failed(&error.to_string()))?;
        let home = tempfile::Builder::new().prefix("postern-tour-").tempdir();
        let home = home.map_err(|error| failed(&error.to_string()))?;
        let dev = Command::new(&program)
            .args(["dev", "--json", "--stop-at-end-of-input", "--data-dir"])
            .arg(home.path().join("data"))
            .args([
                "--control-plane-port",
                "0",
                "--gateway-port",
                "0",
                "--cluster-port",
                "0",
            ])
            .env_clear()
            .envs(environment(&home))
            .env("POSTERN_LOG", "warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error.to_string()))?;
        let mut guide = Self {
            program,
            home,
            dev,
            variables: Vec::new(),
            aloud,
        };
        let endpoints = timeout(WITHIN, guide.endpoints()).await;
        let endpoints = endpoints.map_err(|_| failed("it took too long"))??;
        for (name, field) in [
            ("CONTROL_PLANE", "control_plane_url"),
            ("GATEWAY", "gateway_url"),
        ] {
            guide.set(name, endpoints[field].as_str().unwrap_or_default());
        }
        Ok(guide)
    }

    /// The document that `postern dev` prints when it is ready.
    async fn endpoints(&mut self) -> Result<Value, Failure> {
        let mut text = String::new();
        if let Some(stdout) = &mut self.dev.stdout {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                text.push_str(&line);
                if line == "}" {
                    return serde_json::from_str(&text).map_err(|error| failed(&error.to_string()));
                }
            }
        }
        let mut stderr = String::new();
        if let Some(pipe) = &mut self.dev.stderr {
            let _ = pipe.read_to_string(&mut stderr).await;
        }
        Err(failed(stderr.trim()))
    }

    /// Stops everything and removes the home.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        drop(self.dev.stdin.take());
        let mut stderr = String::new();
        if let Some(pipe) = &mut self.dev.stderr {
            let _ = timeout(WITHIN, pipe.read_to_string(&mut stderr)).await;
        }
        match timeout(WITHIN, self.dev.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            _ => Err(Failure::new(
                Exit::Unavailable,
                format!("postern dev didn't stop cleanly: {}", stderr.trim()),
            )),
        }
    }

    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        if self.aloud {
            output::line(text)
        } else {
            Ok(())
        }
    }

    /// Sets a shell variable without showing it.
    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
    }

    /// Sets a shell variable to what a command prints.
    pub(super) async fn sets(&mut self, name: &'static str, command: &str) -> Result<(), Failure> {
        let answer = self.run(command).await?;
        if self.aloud {
            output::line(&format!("  $ {name}=$(postern {command})"))?;
            self.say_answer(&answer)?;
        }
        answer.expect_success()?;
        self.set(name, answer.stdout.trim());
        Ok(())
    }

    /// Runs the administrator's command, shows it, and fails if it does.
    pub(super) async fn succeeds(&self, command: &str) -> Result<Answer, Failure> {
        let answer = self.run(command).await?;
        self.show(command, &answer)?;
        answer.expect_success()?;
        Ok(answer)
    }

    /// Runs a command as in a pod: in an empty environment, without a home or a profile.
    pub(super) async fn pod(&self, command: &str) -> Result<Answer, Failure> {
        let mut process = self.command(command);
        process
            .env_clear()
            .env("POSTERN_CA_CERT", self.home.path().join("data/ca.pem"));
        let answer = finish(process).await?;
        self.show(command, &answer)?;
        Ok(answer)
    }

    /// Runs the administrator's command and shows nothing.
    pub(super) async fn run(&self, command: &str) -> Result<Answer, Failure> {
        finish(self.command(command)).await
    }

    /// Like [`succeeds`](Self::succeeds), but of the JSON only some fields are shown.
    pub(super) async fn succeeds_with(
        &self,
        command: &str,
        fields: &[&str],
    ) -> Result<Answer, Failure> {
        let answer = self.run(command).await?;
        let mut shown = String::new();
        for line in answer.stdout.lines() {
            let named = |field: &&str| line.starts_with(&format!("  \"{field}\":"));
            if matches!(line, "{" | "}") || fields.iter().any(named) {
                shown.push_str(line);
                shown.push('\n');
            } else if !shown.ends_with("…\n") {
                shown.push_str("  …\n");
            }
        }
        let stderr = answer.stderr.clone();
        let code = answer.code;
        let short = Answer {
            code,
            stdout: shown,
            stderr,
        };
        self.show(command, &short)?;
        answer.expect_success()?;
        Ok(answer)
    }

    /// As typed, variables unexpanded, and what came of it.
    pub(super) fn show(&self, command: &str, answer: &Answer) -> Result<(), Failure> {
        self.say(&format!("  $ postern {command}"))?;
        self.say_answer(answer)
    }

    fn say_answer(&self, answer: &Answer) -> Result<(), Failure> {
        for line in answer.stdout.lines().chain(answer.stderr.lines()) {
            self.say(&format!("    {}", short(line)))?;
        }
        match answer.code {
            Some(0) => Ok(()),
            Some(code) => self.say(&format!("    (exit code {code})")),
            None => self.say("    (killed)"),
        }
    }

    fn command(&self, command: &str) -> Command {
        let arguments = command.split(' ').map(|word| self.expand(word));
        let mut process = Command::new(&self.program);
        process
            .args(arguments)
            .current_dir(self.home.path().join("data"))
            .env_clear()
            .envs(environment(&self.home))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        process
    }

    fn expand(&self, word: &str) -> String {
        let Some((before, name)) = word.split_once('$') else {
            return word.to_owned();
        };
        let known = self.variables.iter().find(|(known, _)| *known == name);
        format!("{before}{}", known.map_or("", |(_, value)| value))
    }
}

impl Answer {
    fn expect_success(&self) -> Result<(), Failure> {
        if self.code == Some(0) {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Refused,
            format!("the tour went wrong: {}", self.stderr.trim()),
        ))
    }
}

fn environment(home: &TempDir) -> [(&'static str, PathBuf); 1] {
    [("HOME", home.path().to_owned())]
}

async fn finish(mut process: Command) -> Result<Answer, Failure> {
    let output = timeout(WITHIN, process.output()).await;
    let output = output
        .map_err(|_| failed("a command took too long"))?
        .map_err(|error| failed(&error.to_string()))?;
    Ok(Answer {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn failed(why: &str) -> Failure {
    Failure::new(Exit::Unavailable, format!("the tour can't go on: {why}"))
}

fn short(line: &str) -> String {
    line.split(' ').map(cut).collect::<Vec<_>>().join(" ")
}

fn cut(word: &str) -> String {
    if word.chars().count() <= MAX_SHOWN {
        return word.to_owned();
    }
    let start: String = word.chars().take(KEPT).collect();
    let closing = &word[word.trim_end_matches(['"', ',']).len()..];
    format!("{start}…{closing}")
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn keys_are_cut_and_the_rest_is_not() {
        let key = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JR0hBZ0VBTUJNR0J5cUdTTTQ5QWdFRw";
        let shown = short(&format!(r#"  "prv_key": "{key}","#));
        assert_eq!(shown, r#"  "prv_key": "LS0tLS1CRUdJTiBQUklWQVR…","#);
        let token = "Token: t-0123456789012345678901234567890123456789012";
        assert_eq!(short(token), token);
    }
}
