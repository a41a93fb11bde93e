//! The tests that the documents name exist.

use std::path::Path;

pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

pub(crate) fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(name)).unwrap()
}

/// All Rust sources below a folder, in one text.
pub(crate) fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
    text
}

/// The files that hold nothing but tests, in one text; `but` is left out.
pub(crate) fn tests_but(but: &str) -> String {
    fn collect(folder: &Path, but: &str, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_string_lossy().into_owned();
            if path.is_dir() {
                collect(&path, but, text);
            } else if name.ends_with(".rs")
                && ["/tests/", "/contract/", "/tests.rs"]
                    .iter()
                    .any(|part| name.contains(part))
                && !name.ends_with(but)
            {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let (root, mut text) = (Path::new(ROOT).canonicalize().unwrap(), String::new());
    collect(&root.join("crates"), but, &mut text);
    collect(&root.join("tests"), but, &mut text);
    text
}

/// The files of `docs/`.
pub(crate) fn pages() -> Vec<String> {
    let entries = std::fs::read_dir(Path::new(ROOT).join("docs")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .collect()
}

/// Names in backquotes that can only be tests': four words and more, and no metric's.
fn named(document: &str) -> Vec<&str> {
    let is_word = |word: &str| {
        word.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let is_name = |text: &&str| {
        text.split('_').count() > 3 && text.split('_').all(is_word) && !text.starts_with("postern_")
    };
    document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(is_name)
        .collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let root = Path::new(ROOT);
    let sources = sources(&root.join("crates")) + &sources(&root.join("tests"));
    let mut documents = vec![
        ("ARCHITECTURE.md".to_owned(), 20),
        ("SECURITY.md".to_owned(), 8),
    ];
    documents.extend(pages().into_iter().map(|page| match page.as_str() {
        "docs/hazards.md" => (page, 80),
        "docs/proof.md" => (page, 40),
        _ => (page, 0),
    }));
    for (file, at_least) in documents {
        let document = read(&file);
        let named = named(&document);
        assert!(named.len() >= at_least, "{file}: {}", named.len());
        for name in named {
            assert!(
                sources.contains(&format!("fn {name}(")),
                "{file} names {name}"
            );
        }
    }
}

#[test]
fn every_hazard_has_a_test_and_every_option_too() {
    for file in ["docs/hazards.md", "docs/proof.md"] {
        for row in read(file).lines().filter(|line| line.starts_with("| ")) {
            let heading = row.contains("| tests ");
            assert!(heading || !named(row).is_empty(), "{file}: {row}");
        }
    }
}
