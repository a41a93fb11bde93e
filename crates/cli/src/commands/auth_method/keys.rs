//! A method's keys: `postern auth-method key …`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use postern_core::key::{KeyError, NewKey, PublicKey, SigningKey};
use postern_proto::pb;
use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient as Client;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{MESSAGE, NameArgs, document, kubernetes_of, read, warn};
use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::output;
use crate::session::{Administrator, Session};
use crate::values::{self, Unit};

/// The keys that gateways sign with
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Add a key; the old ones stay good
    Add(AddArgs),
    /// Take a key away, at once or after an overlap
    Remove(RemoveArgs),
    /// List keys, which K8s auth configs sign with each, and when one last did
    List(NameArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The auth method's name or access ID
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    #[command(flatten)]
    key: KeyFlags,
    /// When the key ends: Unix seconds, an RFC 3339 time, or a duration from now [default: never]
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The auth method's name or access ID
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// The key's ID
    #[arg(long, value_name = "ID")]
    key_id: String,
    /// How long it stays good, in minutes or such as 1h [default: not at all]
    #[arg(long, value_name = "MINUTES")]
    overlap: Option<String>,
}

/// Which key a method gets.
#[derive(Debug, Args)]
pub(crate) struct KeyFlags {
    /// Make a new key pair and print its private half, this once
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    gen_key: Option<bool>,
    /// What the new pair is [default: es256]
    #[arg(long, value_name = "ALGORITHM")]
    key_algorithm: Option<KeyAlgorithm>,
    /// Use this public key (PEM or base64 of it) instead of making a pair
    #[arg(long, value_name = "KEY")]
    public_key: Option<String>,
    /// File of the public key
    #[arg(long, value_name = "FILE")]
    public_key_file_path: Option<String>,
}

/// What a new key can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyAlgorithm {
    /// ECDSA on P-256
    Es256,
    /// EdDSA on Ed25519
    Ed25519,
    /// RSA of 2048 bits
    Rsa2048,
    /// RSA of 3072 bits
    Rsa3072,
    /// RSA of 4096 bits
    Rsa4096,
}

/// A key to register, with its private half if it was made here.
pub(crate) struct KeyPair {
    pub(crate) public: PublicKey,
    pub(crate) private: Option<SecretString>,
}

// === impl KeyFlags ===

impl KeyFlags {
    /// The key to register. A private key that was given by mistake is sent nowhere.
    pub(crate) fn pair(&self) -> Result<KeyPair, Failure> {
        let given = values::text_or(
            ("--public-key", self.public_key.as_deref()),
            (
                "--public-key-file-path",
                self.public_key_file_path.as_deref(),
            ),
        )?;
        match (given, self.gen_key) {
            (Some(_), Some(true)) => Err(Failure::usage(
                "--gen-key and --public-key exclude each other",
            )),
            (Some(_), _) if self.key_algorithm.is_some() => Err(Failure::usage(
                "--key-algorithm is for a key that is made here; --public-key brings its own",
            )),
            (Some((flag, text)), _) => Ok(KeyPair {
                public: PublicKey::parse(&text).map_err(|error| not_public(flag, &error))?,
                private: None,
            }),
            (None, Some(false)) => Err(Failure::usage(
                "--gen-key=false needs --public-key or --public-key-file-path",
            )),
            (None, _) => generate(self.key_algorithm),
        }
    }
}

fn not_public(flag: &str, error: &KeyError) -> Failure {
    match error {
        KeyError::Private => Failure::usage(format!(
            "{flag} is a private key; the public key is needed. Nothing was sent"
        ))
        .hint("its public half: openssl pkey -pubout -in FILE"),
        error => Failure::usage(format!("{flag} {error}")),
    }
}

/// A new pair; the private half is base64 of PEM, so that it fits a shell variable.
pub(crate) fn generate(algorithm: Option<KeyAlgorithm>) -> Result<KeyPair, Failure> {
    let kind = algorithm.map_or(NewKey::default(), NewKey::from);
    let key = SigningKey::draw(kind)
        .map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
    let private = STANDARD.encode(key.to_pkcs8_pem().expose_secret());
    Ok(KeyPair {
        public: key.public().clone(),
        private: Some(private.into()),
    })
}

impl From<KeyAlgorithm> for NewKey {
    fn from(algorithm: KeyAlgorithm) -> Self {
        match algorithm {
            KeyAlgorithm::Es256 => Self::Es256,
            KeyAlgorithm::Ed25519 => Self::Ed25519,
            KeyAlgorithm::Rsa2048 => Self::Rsa2048,
            KeyAlgorithm::Rsa3072 => Self::Rsa3072,
            KeyAlgorithm::Rsa4096 => Self::Rsa4096,
        }
    }
}

pub(super) async fn run(
    command: &KeyCommand,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    match command {
        KeyCommand::Add(args) => add(args, connection, flags).await,
        KeyCommand::Remove(args) => remove(args, connection, flags).await,
        KeyCommand::List(args) => list(args, connection, flags).await,
    }
}

async fn add(args: &AddArgs, connection: &Connection, flags: &OutputFlags) -> Result<(), Failure> {
    let pair = args.key.pair()?;
    let expires = args.expires.as_deref();
    let expires = expires.map(|text| values::time("--expires", text, Timestamp::now()));
    let expires = expires.transpose()?.flatten();
    let administrator = Session::open(connection)?.administrator().await?;
    let method = read(&administrator, &args.name).await?;
    let response = add_key(&administrator, &method, &pair.public, expires).await?;
    warn(&response.warnings);
    let id = pair.public.id().as_str();
    let mut first = vec![("key_id", id)];
    let mut text = format!("Key added to auth method {}.\n- Key ID: {id}", args.name);
    if let Some(key) = &pair.private {
        first.push(("prv_key", key.expose_secret()));
        text = format!(
            "{text}\n- Private key (shown this once): {}",
            key.expose_secret()
        );
    }
    let method = response.auth_method.unwrap_or_default();
    let document = output::with_first(&first, document(&method, &response.warnings)?);
    output::print(flags.format(), &document, &text)
}

/// To what was read: etag included.
pub(super) async fn add_key(
    administrator: &Administrator,
    method: &pb::AuthMethod,
    key: &PublicKey,
    expire_time: Option<prost_types::Timestamp>,
) -> Result<pb::AddPublicKeyResponse, Failure> {
    let request = pb::AddPublicKeyRequest {
        name: method.name.clone(),
        etag: etag(method),
        public_key: Some(pb::PublicKey {
            public_key: key.to_pem(),
            expire_time,
            ..pb::PublicKey::default()
        }),
        validate_only: false,
    };
    administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).add_public_key(request).await
        })
        .await
}

async fn remove(
    args: &RemoveArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let key_id = present("--key-id", &args.key_id)?;
    let overlap = args.overlap.as_deref();
    let overlap = overlap.map(|text| values::duration("--overlap", text, Unit::Minutes));
    let overlap = overlap.transpose()?;
    let administrator = Session::open(connection)?.administrator().await?;
    let method = read(&administrator, &args.name).await?;
    let response = remove_key(&administrator, &method, &key_id, overlap).await?;
    warn(&response.warnings);
    let method = response.auth_method.unwrap_or_default();
    let text = match overlap {
        Some(_) => format!("Key {key_id} of auth method {} will end.", args.name),
        None => format!("Key {key_id} of auth method {} removed.", args.name),
    };
    let document = document(&method, &response.warnings)?;
    output::print(flags.format(), &document, &text)
}

/// From what was read: etag included.
pub(super) async fn remove_key(
    administrator: &Administrator,
    method: &pb::AuthMethod,
    key_id: &str,
    overlap: Option<prost_types::Duration>,
) -> Result<pb::RemovePublicKeyResponse, Failure> {
    let request = pb::RemovePublicKeyRequest {
        name: method.name.clone(),
        etag: etag(method),
        key_id: key_id.to_owned(),
        overlap,
        validate_only: false,
    };
    administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).remove_public_key(request).await
        })
        .await
}

pub(super) fn etag(method: &pb::AuthMethod) -> String {
    let meta = method.meta.as_ref();
    meta.map(|meta| meta.etag.clone()).unwrap_or_default()
}

async fn list(
    args: &NameArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let mut method = read(&administrator, &args.name).await?;
    let shown = output::message(MESSAGE, &method)?;
    let keys = shown["kubernetes"]["public_keys"].clone();
    let rows = keys_of(&mut method)?.iter().map(row).collect();
    let headers = ["KEY ID", "ALGORITHM", "ENDS", "LAST USED", "USED BY"];
    let table = output::table(&headers, rows);
    let keys = if keys.is_null() { json!([]) } else { keys };
    output::print(flags.format(), &json!({ "public_keys": keys }), &table)
}

pub(super) fn keys_of(method: &mut pb::AuthMethod) -> Result<&mut Vec<pb::PublicKey>, Failure> {
    kubernetes_of(method).map(|kubernetes| &mut kubernetes.public_keys)
}

fn row(key: &pb::PublicKey) -> Vec<String> {
    let time = |time: &Option<prost_types::Timestamp>| {
        let time = time.as_ref().and_then(values::timestamp);
        time.map(|time| time.to_string()).unwrap_or_default()
    };
    let algorithm = key.algorithm().as_str_name();
    vec![
        key.key_id.clone(),
        algorithm
            .trim_start_matches("SIGNING_ALGORITHM_")
            .to_lowercase(),
        time(&key.expire_time),
        time(&key.last_used_time),
        key.used_by.join(", "),
    ]
}
