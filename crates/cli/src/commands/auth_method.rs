//! Auth methods: `postern auth-method …` and the tutorial's `create-auth-method-k8s` and its kin.

pub(crate) mod access_key;
mod flags;
pub(crate) mod keys;
mod rotate;

use clap::{Args, Subcommand};
use postern_proto::pb;
use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient as Client;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use self::flags::{BoundFlags, SettingFlags, kubernetes_of};
use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::session::{Administrator, Session};
use crate::{output, paging};

const MESSAGE: &str = "postern.v1.AuthMethod";
const APPLY: &str = "write its rules into a file and run: postern apply -f FILE";

/// Auth methods: who may log in, and what the token is like
#[derive(Debug, Subcommand)]
pub(crate) enum AuthMethodCommand {
    /// Create an auth method
    #[command(subcommand)]
    Create(CreateCommand),
    /// Show an auth method
    Get(NameArgs),
    /// List auth methods
    List(ListArgs),
    /// Change an auth method
    #[command(subcommand)]
    Update(UpdateCommand),
    /// Give an auth method another name; its access ID, its keys and what refers to it stay
    Rename(RenameArgs),
    /// Delete an auth method
    Delete(DeleteArgs),
    /// The keys that gateways sign with
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// Replace the key that gateways sign with, while logins go on
    RotateKey(rotate::RotateArgs),
    /// Give an access-key method another key, while the old one stays good for a while
    RotateAccessKey(access_key::RotateArgs),
    /// End one key of an access-key method, and the tokens that it gave
    RevokeAccessKey(access_key::RevokeArgs),
    /// List the keys of an access-key method: IDs and times, never a key
    ListAccessKeys(NameArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CreateCommand {
    /// For Kubernetes workloads
    K8s(Box<CreateArgs>),
    /// For administrators and services, who log in with an access key; prints it, this once
    AccessKey(access_key::CreateArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum UpdateCommand {
    /// For Kubernetes workloads
    K8s(Box<UpdateArgs>),
    /// For administrators and services
    AccessKey(access_key::UpdateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The auth method's name
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    #[command(flatten)]
    bounds: BoundFlags,
    #[command(flatten)]
    settings: SettingFlags,
    #[command(flatten)]
    key: keys::KeyFlags,
    /// Check everything and store nothing
    #[arg(long)]
    validate_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The auth method's name or access ID
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    #[command(flatten)]
    bounds: BoundFlags,
    #[command(flatten)]
    settings: SettingFlags,
    /// Empty a field: description, access_expires, token_max_ttl, token_num_uses, bound_ips, gw_bound_ips, audience, max_presented_age, max_presented_lifetime, audit_logs_claims, bound_namespaces, bound_pod_names, bound_sa_names, bound_namespaced_sa_names, bound_node_names, bound_namespace_selector, condition
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    clear: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The auth method's name or access ID
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// At most so many [default: all]
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// The auth method's name or access ID
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// What it is to be called
    #[arg(long, value_name = "NAME")]
    new_name: String,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The auth method's name or access ID
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// Delete the K8s auth configs that name it too
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(
    command: &AuthMethodCommand,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    match command {
        AuthMethodCommand::Create(CreateCommand::K8s(args)) => {
            create(args, connection, flags).await
        }
        AuthMethodCommand::Create(CreateCommand::AccessKey(args)) => {
            access_key::create(args, connection, flags).await
        }
        AuthMethodCommand::Update(UpdateCommand::AccessKey(args)) => {
            access_key::update(args, connection, flags).await
        }
        AuthMethodCommand::RotateAccessKey(args) => {
            access_key::rotate(args, connection, flags).await
        }
        AuthMethodCommand::RevokeAccessKey(args) => {
            access_key::revoke(args, connection, flags).await
        }
        AuthMethodCommand::ListAccessKeys(args) => access_key::list(args, connection, flags).await,
        AuthMethodCommand::Get(args) => get(args, connection, flags).await,
        AuthMethodCommand::List(args) => list(args, connection, flags).await,
        AuthMethodCommand::Update(UpdateCommand::K8s(args)) => {
            update(args, connection, flags).await
        }
        AuthMethodCommand::Rename(args) => rename(args, connection, flags).await,
        AuthMethodCommand::Delete(args) => delete(args, connection, flags).await,
        AuthMethodCommand::Key(command) => keys::run(command, connection, flags).await,
        AuthMethodCommand::RotateKey(args) => rotate::run(args, connection, flags).await,
    }
}

pub(crate) async fn create(
    args: &CreateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let name = present("--name", &args.name)?;
    let keys::KeyPair { public, private } = args.key.pair()?;
    let mut method = pb::AuthMethod::default();
    args.settings.apply(&mut method)?;
    let kubernetes = kubernetes_of(&mut method)?;
    kubernetes.rules = vec![args.bounds.rule()?];
    kubernetes.public_keys = vec![pb::PublicKey {
        public_key: public.to_pem(),
        ..pb::PublicKey::default()
    }];
    let request = pb::CreateAuthMethodRequest {
        auth_method_id: name.clone(),
        auth_method: Some(method),
        validate_only: args.validate_only,
        roles: Vec::new(),
    };
    let administrator = Session::open(connection)?.administrator().await?;
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).create_auth_method(request).await
        })
        .await?;
    warn(&response.warnings);
    let method = response.auth_method.unwrap_or_default();
    if args.validate_only {
        let text = format!("Auth method {name} is valid; nothing was stored.");
        return output::print(flags.format(), &output::valid(&response.warnings)?, &text);
    }
    let mut text = format!(
        "Auth method {name} created.\n- Access ID: {}",
        method.access_id
    );
    let mut first = vec![("access_id", method.access_id.as_str())];
    if let Some(key) = &private {
        first.push(("prv_key", key.expose_secret()));
        text = format!(
            "{text}\n- Private key (shown this once): {}",
            key.expose_secret()
        );
    }
    let document = output::with_first(&first, document(&method, &response.warnings)?);
    output::print(flags.format(), &document, &text)
}

pub(crate) async fn read(
    administrator: &Administrator,
    name: &str,
) -> Result<pb::AuthMethod, Failure> {
    let request = pb::GetAuthMethodRequest {
        name: full_name(name)?,
    };
    let response = administrator
        .call(&request, |channel, request| async move {
            Client::new(channel).get_auth_method(request).await
        })
        .await?;
    Ok(response.auth_method.unwrap_or_default())
}

fn full_name(name: &str) -> Result<String, Failure> {
    let name = present("--name", name)?;
    let id = name.strip_prefix("authMethods/").unwrap_or(&name);
    Ok(format!("authMethods/{}", id.trim_start_matches('/')))
}

pub(crate) async fn get(
    args: &NameArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let method = read(&administrator, &args.name).await?;
    let document = output::message(MESSAGE, &method)?;
    output::print(flags.format(), &document, &output::describe(&document))
}

async fn rename(
    args: &RenameArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let request = pb::RenameAuthMethodRequest {
        name: full_name(&args.name)?,
        etag: "*".to_owned(),
        new_auth_method_id: present("--new-name", &args.new_name)?,
        validate_only: false,
    };
    let administrator = Session::open(connection)?.administrator().await?;
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).rename_auth_method(request).await
        })
        .await?;
    show(flags, &response.auth_method.unwrap_or_default(), &[])
}

pub(crate) async fn list(
    args: &ListArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let limit = args.limit.unwrap_or(usize::MAX);
    let all = paging::collect(limit, async |page| {
        let request = pb::ListAuthMethodsRequest {
            page_size: page.size,
            page_token: page.token,
        };
        let page = administrator
            .call(&request, |channel, request| async move {
                Client::new(channel).list_auth_methods(request).await
            })
            .await?;
        Ok((page.auth_methods, page.next_page_token))
    })
    .await?;
    let documents: Vec<Value> = all
        .iter()
        .map(|m| output::message(MESSAGE, m))
        .collect::<Result<_, _>>()?;
    let rows = all.iter().map(row).collect();
    let table = output::table(&["NAME", "ACCESS ID", "TYPE", "RULES", "DESCRIPTION"], rows);
    output::print(
        flags.format(),
        &json!({ "auth_methods": documents }),
        &table,
    )
}

fn row(method: &pb::AuthMethod) -> Vec<String> {
    use pb::auth_method::Type;
    let (kind, rules) = match &method.r#type {
        Some(Type::Kubernetes(kubernetes)) => ("k8s", kubernetes.rules.len().to_string()),
        Some(Type::AccessKey(_)) => ("access-key", String::new()),
        None => ("", String::new()),
    };
    vec![
        method.name.trim_start_matches("authMethods/").to_owned(),
        method.access_id.clone(),
        kind.to_owned(),
        rules,
        method.description.clone().unwrap_or_default(),
    ]
}

pub(crate) async fn update(
    args: &UpdateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let mut method = read(&administrator, &args.name).await?;
    args.settings.apply(&mut method)?;
    args.change_rule(&mut method)?;
    for field in &args.clear {
        args.not_given(field)?;
        clear(&mut method, field)?;
    }
    let request = pb::UpdateAuthMethodRequest {
        auth_method: Some(method),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["*".to_owned()],
        }),
        validate_only: false,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).update_auth_method(request).await
        })
        .await?;
    warn(&response.warnings);
    let method = response.auth_method.unwrap_or_default();
    show(flags, &method, &response.warnings)
}

impl UpdateArgs {
    /// A field that is set and emptied at once would be emptied, and a rule without it be wider.
    fn not_given(&self, field: &str) -> Result<(), Failure> {
        let (bounds, settings) = (&self.bounds, &self.settings);
        let given = match field {
            "description" => settings.description.is_some(),
            "access_expires" => settings.access_expires.is_some(),
            "bound_ips" => !settings.bound_ips.is_empty(),
            "gw_bound_ips" => !settings.gw_bound_ips.is_empty(),
            "audience" => !settings.audience.is_empty(),
            "token_max_ttl" => settings.token_max_ttl.is_some(),
            "token_num_uses" => settings.token_num_uses.is_some(),
            "max_presented_age" => settings.max_presented_age.is_some(),
            "max_presented_lifetime" => settings.max_presented_lifetime.is_some(),
            "audit_logs_claims" => !settings.audit_logs_claims.is_empty(),
            "bound_namespaces" => !bounds.bound_namespaces.is_empty(),
            "bound_pod_names" => !bounds.bound_pod_names.is_empty(),
            "bound_sa_names" => !bounds.bound_sa_names.is_empty(),
            "bound_namespaced_sa_names" => !bounds.bound_namespaced_sa_names.is_empty(),
            "bound_node_names" => !bounds.bound_node_names.is_empty(),
            "bound_namespace_selector" => bounds.bound_namespace_selector.is_some(),
            "condition" => bounds.condition.is_some(),
            _ => false,
        };
        if given {
            let flag = field.replace('_', "-");
            return Err(Failure::usage(format!(
                "--{flag} and --clear {field} exclude each other"
            )));
        }
        Ok(())
    }

    fn change_rule(&self, method: &mut pb::AuthMethod) -> Result<(), Failure> {
        if !self.bounds.given() {
            return Ok(());
        }
        let name = method.name.clone();
        match kubernetes_of(method)?.rules.as_mut_slice() {
            [rule] => self.bounds.change(rule),
            rules => Err(Failure::usage(format!(
                "{name} has {} rules: bound flags can't say which one they mean",
                rules.len()
            ))
            .hint(APPLY)),
        }
    }
}

fn clear(method: &mut pb::AuthMethod, field: &str) -> Result<(), Failure> {
    let unknown = || {
        Failure::usage(format!(
            "--clear: `{field}` is no field that can be emptied"
        ))
    };
    match field {
        "description" => method.description = None,
        "access_expires" => method.access_expire_time = None,
        "bound_ips" => method.bound_ips.clear(),
        "gw_bound_ips" => method.gw_bound_ips.clear(),
        "audience" => kubernetes_of(method)?.audiences.clear(),
        "token_max_ttl" => method.token_max_ttl = None,
        "token_num_uses" => method.token_num_uses = None,
        "max_presented_age" => kubernetes_of(method)?.max_presented_age = None,
        "max_presented_lifetime" => kubernetes_of(method)?.max_presented_lifetime = None,
        "audit_logs_claims" => method.audit_logs_claims.clear(),
        _ => {
            let rule = match kubernetes_of(method)?.rules.as_mut_slice() {
                [rule] => rule,
                _ => {
                    let several = format!("--clear: {field}: there are several rules");
                    return Err(Failure::usage(several).hint(APPLY));
                }
            };
            match field {
                "bound_namespaces" => rule.namespaces.clear(),
                "bound_pod_names" => rule.pods.clear(),
                "bound_sa_names" => rule.service_accounts.clear(),
                "bound_namespaced_sa_names" => rule.namespaced_service_accounts.clear(),
                "bound_node_names" => rule.nodes.clear(),
                "bound_namespace_selector" => rule.namespace_selector = None,
                "condition" => rule.condition.clear(),
                _ => return Err(unknown()),
            }
        }
    }
    Ok(())
}

pub(crate) async fn delete(
    args: &DeleteArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let method = read(&administrator, &args.name).await?;
    let request = pb::DeleteAuthMethodRequest {
        name: method.name.clone(),
        etag: method.meta.map(|meta| meta.etag).unwrap_or_default(),
        force: args.force,
    };
    administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).delete_auth_method(request).await
        })
        .await?;
    let text = format!("Auth method {} deleted.", args.name);
    output::print(flags.format(), &json!({ "deleted": method.name }), &text)
}

fn show(
    flags: &OutputFlags,
    method: &pb::AuthMethod,
    warnings: &[pb::Warning],
) -> Result<(), Failure> {
    let text = output::describe(&output::message(MESSAGE, method)?);
    output::print(flags.format(), &document(method, warnings)?, &text)
}

/// A method that was written. Programs that don't read standard error get the warnings with it.
fn document(method: &pb::AuthMethod, warnings: &[pb::Warning]) -> Result<Value, Failure> {
    let mut document = output::message(MESSAGE, method)?;
    document["warnings"] = Value::from(output::warnings(warnings)?);
    Ok(document)
}

/// Says warnings on standard error, beside the data.
pub(crate) fn warn(warnings: &[pb::Warning]) {
    for warning in warnings {
        output::note(&format!(
            "warning: {} [{}]",
            warning.message, warning.reason
        ));
    }
}
