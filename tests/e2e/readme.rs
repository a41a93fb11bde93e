//! The commands of the README and of `docs/`: they run where they can, and are known where they can't.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::documents;
use crate::support::{Cli, Process};

/// The `sh` blocks under a heading, or everywhere.
fn blocks(text: &str, heading: Option<&str>) -> Vec<String> {
    let (mut blocks, mut current, mut section) = (Vec::new(), None::<String>, String::new());
    for line in text.lines() {
        match (&mut current, line) {
            (None, "```sh") => current = Some(String::new()),
            (None, line) if line.starts_with('#') => {
                section = line.trim_start_matches(['#', ' ']).to_owned()
            }
            (Some(block), "```") => {
                if heading.is_none_or(|heading| heading == section) {
                    blocks.push(std::mem::take(block));
                }
                current = None;
            }
            (Some(block), line) => block.push_str(&format!("{line}\n")),
            _ => {}
        }
    }
    blocks
}

/// Stands in for jq, behind it in the search path, on machines that have none.
fn jq(folder: &Path) {
    let path = folder.join("jq");
    let script =
        "#!/bin/sh\nfield=${2#.}\nsed -n 's/^  \"'\"$field\"'\": \"\\(.*\\)\",*$/\\1/p' \"$3\"\n";
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_one_can_play_with_plays() {
    let cli = Cli::new();
    let readme = documents::read("README.md");
    let blocks = blocks(&readme, Some("Play with it"));
    let [start, play] = blocks.as_slice() else {
        panic!("two blocks, not {blocks:?}");
    };
    let worth = self::blocks(&readme, Some("What the token is worth"));
    let play = &format!("{play}{}", worth.concat());
    assert!(start.lines().any(|line| line == "postern dev"), "{start}");
    let logs = tempfile::tempdir().unwrap();
    let mut dev = Process::start(&cli, logs.path(), "dev", &["dev"]);
    dev.wait_for("In another terminal:");
    jq(cli.home());
    let program = Path::new(env!("CARGO_BIN_EXE_postern")).parent().unwrap();
    let path = format!(
        "{}:/usr/local/bin:/usr/bin:/bin:{}",
        program.display(),
        cli.home().display()
    );
    let output = Command::new("sh")
        .args(["-e", "-c", play])
        .env_clear()
        .env("PATH", path)
        .env("HOME", cli.home())
        .env("POSTERN_CONFIG_DIR", cli.home().join("config"))
        .current_dir(cli.home())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        stdout.contains("Authentication succeeded.\nToken: t-"),
        "{stdout}"
    );
    for said in ["service_account_name", "/{{namespace}}/*", "token.revoked"] {
        assert!(stdout.contains(said), "{said}: {stdout}");
    }
    let announced = dev.stdout();
    dev.signal("INT");
    assert_eq!(dev.ended(), Some(0));
    for line in announced.lines() {
        known(&cli, line);
    }
}

#[test]
fn every_command_and_flag_is_known() {
    let cli = Cli::new();
    for page in documents::pages() {
        let blocks = blocks(&documents::read(&page), None);
        for line in blocks.iter().flat_map(|block| block.lines()) {
            known(&cli, line);
        }
    }
    let commands: usize = blocks(&documents::read("README.md"), None)
        .iter()
        .flat_map(|b| b.lines())
        .map(|line| known(&cli, line))
        .sum();
    assert!(commands >= 15, "{commands}");
}

/// Holds each `postern …` of a line against the help of the command that it names.
fn known(cli: &Cli, line: &str) -> usize {
    let line = line.trim_start();
    let starts = line.match_indices("postern ").map(|(start, _)| start);
    let commands = starts.filter(|&start| {
        let before = &line[..start];
        before.is_empty()
            || before == "/tmp/"
            || before.ends_with("$(")
            || before.ends_with(" cli ")
    });
    commands
        .map(|start| holds(cli, &line[start + "postern ".len()..]))
        .count()
}

fn holds(cli: &Cli, rest: &str) {
    // What stands in parentheses is a command of its own.
    let end = rest
        .find(')')
        .filter(|&end| !rest[..end].contains("$("))
        .unwrap_or(rest.len());
    let words: Vec<&str> = rest[..end].split_whitespace().collect();
    let mut depth = 0;
    let flags: Vec<&str> = words
        .iter()
        .filter(|word| {
            let outside = depth == 0 && word.starts_with('-');
            depth += word.matches("$(").count();
            depth = depth.saturating_sub(word.matches(')').count());
            outside
        })
        .map(|word| word.split('=').next().unwrap())
        .collect();
    let plain = |word: &&&str| {
        word.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let verbs = words
        .iter()
        .take_while(|word| !word.starts_with('-'))
        .take_while(plain)
        .copied();
    let verbs: Vec<&str> = verbs.collect();
    let help = cli.ok(&[&verbs[..], &["--help"]].concat());
    for flag in flags {
        let listed = |line: &str| line.split([' ', ',', '=', '[']).any(|word| word == flag);
        assert!(
            help.lines().any(listed),
            "{flag} of `postern {rest}` isn't in: {help}"
        );
    }
}
