//! One document of a file: its kind, its name, and its fields as the API's messages have them.

use postern_core::invalid::Violations;
use postern_proto::pb::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, MessageDescriptor,
};
use serde_json::{Map, Value, json};

use crate::failure::{Exit, Failure};

/// What a document is about, in the order in which they are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    AuthMethod,
    Role,
    Association,
    K8sAuthConfig,
}

/// A document whose names are all known.
pub(super) struct Document {
    pub(super) kind: Kind,
    /// Of an association, which has none: whose tokens have which role.
    pub(super) name: String,
    /// For messages: which document of which file.
    pub(super) place: String,
    /// The fields of the message that it names, in proto's spelling.
    pub(super) body: Map<String, Value>,
    /// Where the config's secrets come from.
    pub(super) secrets: Map<String, Value>,
    /// Of a config that names its method by name.
    pub(super) auth_method: Option<String>,
}

// === impl Kind ===

impl Kind {
    const ALL: &[Self] = &[
        Self::AuthMethod,
        Self::Role,
        Self::Association,
        Self::K8sAuthConfig,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::AuthMethod => "AuthMethod",
            Self::Role => "Role",
            Self::Association => "Association",
            Self::K8sAuthConfig => "K8sAuthConfig",
        }
    }

    pub(super) fn message(self) -> String {
        format!("postern.v1.{}", self.as_str())
    }

    /// What stands before its name.
    const fn collection(self) -> &'static str {
        match self {
            Self::AuthMethod => "authMethods",
            Self::Role => "roles",
            Self::Association => "associations",
            Self::K8sAuthConfig => "k8sAuthConfigs",
        }
    }

    /// Fields that servers write. In a file they would look as if they did something.
    pub(super) const fn output_only(self) -> &'static [&'static str] {
        match self {
            Self::AuthMethod => &["name", "access_id", "meta", "access_key"],
            Self::Role => &["name", "meta", "built_in"],
            Self::Association => &["name", "meta"],
            Self::K8sAuthConfig => &[
                "name",
                "meta",
                "signing_key_set",
                "token_reviewer_jwt_set",
                "k8s_client_key_set",
                "rancher_api_key_set",
                "signing_key_id",
                "seal_key_id",
                "generation",
                "reviewer_credential_expire_time",
                "conditions",
                "pinned_cluster",
            ],
        }
    }
}

// === impl Document ===

impl Document {
    /// Checks every name in a document, and brings its values into the form of the API's JSON.
    pub(super) fn parse(place: String, value: Value) -> Result<Self, Failure> {
        let at = |failure: Failure| failure.at(&place);
        let Value::Object(mut map) = value else {
            return Err(at(Failure::usage("is no mapping of names to values")));
        };
        let kind = kind(&mut map).map_err(at)?;
        let name = match kind {
            Kind::Association => association_name(&mut map),
            _ => required(&mut map, "name"),
        };
        let name = name.map_err(at)?;
        let (mut secrets, mut auth_method) = (Map::new(), None);
        if kind == Kind::K8sAuthConfig {
            auth_method = text(&mut map, "auth_method").map_err(at)?;
            secrets = match map.remove("secrets") {
                None => Map::new(),
                Some(Value::Object(secrets)) => secrets,
                Some(_) => return Err(at(Failure::usage("secrets: is no mapping"))),
            };
        }
        let mut faults = Violations::default();
        let body = fields(&mut faults, "", &descriptor(&kind.message())?, map);
        for field in body
            .keys()
            .filter(|f| kind.output_only().contains(&f.as_str()))
        {
            faults.add(field, "is for the server to say");
        }
        faults
            .finish()
            .map_err(|invalid| at(Failure::usage(invalid.to_string())))?;
        Ok(Self {
            kind,
            name,
            body,
            secrets,
            auth_method,
            place,
        })
    }

    /// As the API and messages name what it is about.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.kind.collection(), self.name)
    }

    /// Whether both say what one and the same thing is to be.
    pub(super) fn is_of_same(&self, other: &Self) -> bool {
        let same = self.kind == other.kind && self.name == other.name;
        let claims = |document: &Self| document.body.get("sub_claims").cloned();
        same && (self.kind != Kind::Association || claims(self) == claims(other))
    }

    /// The message that the fields make.
    pub(super) fn message<M: Message + Default>(&self) -> Result<M, Failure> {
        let descriptor = descriptor(&self.kind.message())?;
        let body = Value::Object(self.body.clone());
        let dynamic = DynamicMessage::deserialize(descriptor, body)
            .map_err(|error| Failure::usage(error.to_string()).at(&self.place))?;
        dynamic
            .transcode_to()
            .map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))
    }
}

fn kind(map: &mut Map<String, Value>) -> Result<Kind, Failure> {
    let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let known = known.join(", ");
    let Some(text) = text(map, "kind")? else {
        return Err(Failure::usage(format!(
            "kind: is missing: say one of {known}"
        )));
    };
    let kind = Kind::ALL.iter().find(|kind| kind.as_str() == text);
    kind.copied()
        .ok_or_else(|| Failure::usage(format!("kind: `{text}` is none of {known}")))
}

/// Without a leading `/`, which the API drops.
fn required(map: &mut Map<String, Value>, name: &str) -> Result<String, Failure> {
    let text = text(map, name)?;
    let text = text.ok_or_else(|| Failure::usage(format!("{name}: is missing")))?;
    Ok(text.trim_start_matches('/').to_owned())
}

/// Takes plain names, as everywhere in a file.
fn association_name(map: &mut Map<String, Value>) -> Result<String, Failure> {
    let mut plain = Vec::new();
    for (field, kind) in [("auth_method", Kind::AuthMethod), ("role", Kind::Role)] {
        let name = required(map, field)?;
        let full = format!("{}/{name}", kind.collection());
        map.insert(field.to_owned(), Value::from(full));
        plain.push(name);
    }
    Ok(plain.join(" has "))
}

fn text(map: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Failure> {
    match map.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
        Some(_) => Err(Failure::usage(format!("{name}: is no text, or is empty"))),
    }
}

pub(super) fn descriptor(name: &str) -> Result<MessageDescriptor, Failure> {
    let failed = |error: String| Failure::new(Exit::Unavailable, format!("{name}: {error}"));
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).map_err(|e| failed(e.to_string()))?;
    pool.get_message_by_name(name)
        .ok_or_else(|| failed("unknown message".to_owned()))
}

fn fields(
    faults: &mut Violations,
    path: &str,
    descriptor: &MessageDescriptor,
    map: Map<String, Value>,
) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in map {
        let place = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let named = descriptor.get_field_by_name(&name);
        let Some(field) = named.or_else(|| descriptor.get_field_by_json_name(&name)) else {
            let known: Vec<String> = descriptor.fields().map(|f| f.name().to_owned()).collect();
            faults.add(
                place,
                format!("is no field: there are {}", known.join(", ")),
            );
            continue;
        };
        let value = if field.is_map() {
            mapped(&field, value)
        } else {
            listed(faults, &place, &field, value)
        };
        if value.is_null() {
            faults.add(place, "has no value (`null`)");
        } else if fields.insert(field.name().to_owned(), value).is_some() {
            faults.add(place, "stands twice, in two spellings");
        }
    }
    fields
}

/// Where a map holds lists, plain ones are taken for the message that the API has for them.
fn mapped(field: &FieldDescriptor, value: Value) -> Value {
    let prost_reflect::Kind::Message(entry) = field.kind() else {
        return value;
    };
    match (entry.map_entry_value_field().kind(), value) {
        (prost_reflect::Kind::Message(message), Value::Object(map))
            if message.full_name() == "postern.v1.StringList" =>
        {
            let list = |value| match value {
                Value::Array(values) => json!({ "values": values }),
                other => other,
            };
            let lists = map.into_iter().map(|(name, value)| (name, list(value)));
            Value::Object(lists.collect())
        }
        (_, value) => value,
    }
}

fn listed(faults: &mut Violations, place: &str, field: &FieldDescriptor, value: Value) -> Value {
    match value {
        Value::Array(items) if field.is_list() => {
            let items = items.into_iter().enumerate();
            let one = |(i, item)| single(faults, &format!("{place}[{i}]"), field, item);
            Value::Array(items.map(one).collect())
        }
        other => single(faults, place, field, other),
    }
}

fn single(faults: &mut Violations, place: &str, field: &FieldDescriptor, value: Value) -> Value {
    match (field.kind(), value) {
        (prost_reflect::Kind::Message(message), Value::String(text))
            if message.full_name() == "google.protobuf.Duration" =>
        {
            Value::from(super::duration(&text).unwrap_or(text))
        }
        (prost_reflect::Kind::Message(message), Value::Object(map)) => {
            Value::Object(fields(faults, place, &message, map))
        }
        (prost_reflect::Kind::Enum(known), Value::String(text)) => {
            match enum_value(&known, &text) {
                Some(name) => Value::from(name),
                None => {
                    faults.add(place, format!("`{text}` is no {}", known.name()));
                    Value::String(text)
                }
            }
        }
        (_, other) => other,
    }
}

/// `REVIEWER_TYPE_TOKEN`, or `token`; `LABEL_SELECTOR_OPERATOR_NOT_IN`, or Kubernetes' `NotIn`.
fn enum_value(known: &EnumDescriptor, text: &str) -> Option<String> {
    let plain = |text: &str| text.replace('_', "").to_ascii_uppercase();
    let zero = known.get_value(0)?;
    let prefix = zero.name().trim_end_matches("UNSPECIFIED").to_owned();
    known
        .values()
        .filter(|value| value.number() != 0)
        .map(|value| value.name().to_owned())
        .find(|name| name == text || plain(name.trim_start_matches(prefix.as_str())) == plain(text))
}
