//! A file of documents.

use secrecy::ExposeSecret as _;
use serde::Deserialize as _;
use serde_json::Value;

use super::document::Document;
use crate::failure::Failure;
use crate::values;

/// All documents of a file. One that can't be read stops them all.
pub(super) fn read(path: &str) -> Result<Vec<Document>, Failure> {
    let text = values::read("--file", path)?;
    let mut documents = Vec::new();
    let readers = serde_norway::Deserializer::from_str(text.expose_secret());
    for (i, reader) in readers.enumerate() {
        let place = format!("{path}, document {}", i + 1);
        let wrong = |error: String| Failure::usage(error).at(&place);
        // First as YAML: a key that stands twice is a fault there, and would be lost in JSON.
        let yaml = serde_norway::Value::deserialize(reader).map_err(|e| wrong(e.to_string()))?;
        let value = serde_json::to_value(yaml).map_err(|e| wrong(e.to_string()))?;
        if value != Value::Null {
            documents.push(Document::parse(place, value)?);
        }
    }
    if documents.is_empty() {
        return Err(Failure::usage(format!("--file: {path} holds no document")));
    }
    check_names(&documents)?;
    Ok(documents)
}

fn check_names(documents: &[Document]) -> Result<(), Failure> {
    for (i, document) in documents.iter().enumerate() {
        let same = |other: &&Document| other.is_of_same(document);
        if let Some(before) = documents[..i].iter().find(same) {
            let fault = format!("{} stands in {} too", document.name, before.place);
            return Err(Failure::usage(fault).at(&document.place));
        }
    }
    Ok(())
}
