//! What commands print on standard output: data, in the format that was asked for.

use std::io::Write as _;

use comfy_table::{Table, presets};
use postern_proto::pb::{self, FILE_DESCRIPTOR_SET};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Map, Value, json};

use crate::failure::{Exit, Failure};
use crate::flags::OutputFlags;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
}

impl OutputFlags {
    pub(crate) fn format(&self) -> Format {
        match (self.json, self.output) {
            (Some(true), _) => Format::Json,
            (_, Some(format)) => format,
            (_, None) => Format::Table,
        }
    }
}

/// A message as JSON: snake_case names, enums by name, times as RFC 3339.
pub(crate) fn message<M: prost::Message>(full_name: &str, message: &M) -> Result<Value, Failure> {
    let failed = |error: String| Failure::new(Exit::Unavailable, format!("{full_name}: {error}"));
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).map_err(|e| failed(e.to_string()))?;
    let descriptor = pool
        .get_message_by_name(full_name)
        .ok_or_else(|| failed("unknown message".to_owned()))?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic
        .transcode_from(message)
        .map_err(|e| failed(e.to_string()))?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false)
        .stringify_64_bit_integers(false);
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    dynamic
        .serialize_with_options(&mut serializer, &options)
        .map_err(|e| failed(e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| failed(e.to_string()))
}

/// An object with `first` before the fields of `rest`.
pub(crate) fn with_first(first: &[(&str, &str)], rest: Value) -> Value {
    let mut map = Map::new();
    for (name, value) in first {
        map.insert((*name).to_owned(), Value::from(*value));
    }
    if let Value::Object(rest) = rest {
        for (name, value) in rest {
            map.entry(name).or_insert(value);
        }
    }
    Value::Object(map)
}

/// Prints one document; `table` is what people get instead.
pub(crate) fn print(format: Format, value: &Value, table: &str) -> Result<(), Failure> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value).map_err(|e| e.to_string()),
        Format::Yaml => serde_norway::to_string(value).map_err(|e| e.to_string()),
        Format::Table => Ok(table.to_owned()),
    };
    let text = text.map_err(|e| Failure::new(Exit::Unavailable, e))?;
    line(text.trim_end())
}

/// Prints a line of text. A reader that went away is no failure of ours.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout().lock(), "{}", printable(text)) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(
            Exit::Unavailable,
            format!("standard output: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}

/// Says something beside the data.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(text));
}

/// Without what moves a terminal's cursor or changes its title: names and descriptions are
/// other people's.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// Rows under headers.
pub(crate) fn table(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headers.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

/// A resource as indented `name: value` lines; empty fields are left out.
pub(crate) fn describe(value: &Value) -> String {
    let mut lines = Vec::new();
    lay_out(value, 0, &mut lines);
    lines.join("\n")
}

fn lay_out(value: &Value, depth: usize, lines: &mut Vec<String>) {
    let Value::Object(map) = value else { return };
    let indent = "  ".repeat(depth);
    for (name, value) in map {
        match value {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) if text.contains('\n') => {
                lines.push(format!("{indent}{name}: ({} lines)", text.lines().count()));
            }
            Value::String(text) => lines.push(format!("{indent}{name}: {text}")),
            Value::Array(items) if items.is_empty() => {}
            Value::Array(items) => lay_out_list(name, items, depth, lines),
            Value::Object(map) if map.is_empty() => {}
            Value::Object(_) => {
                lines.push(format!("{indent}{name}:"));
                lay_out(value, depth + 1, lines);
            }
            other => lines.push(format!("{indent}{name}: {other}")),
        }
    }
}

fn lay_out_list(name: &str, items: &[Value], depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    let plain: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
    if let Some(plain) = plain {
        lines.push(format!("{indent}{name}: {}", plain.join(", ")));
        return;
    }
    for (i, item) in items.iter().enumerate() {
        lines.push(format!("{indent}{name}[{i}]:"));
        lay_out(item, depth + 1, lines);
    }
}

/// What `--validate-only` finds, where a made resource would be shown: there is none.
pub(crate) fn valid(warnings: &[pb::Warning]) -> Result<Value, Failure> {
    let warnings = self::warnings(warnings)?;
    Ok(json!({ "valid": true, "stored": false, "warnings": warnings }))
}

pub(crate) fn warnings(warnings: &[pb::Warning]) -> Result<Vec<Value>, Failure> {
    let listed = warnings
        .iter()
        .map(|warning| message("postern.v1.Warning", warning));
    listed.collect()
}
