//! The state of the cluster, and what the API server and its controllers do to it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::authn::{User, Verifier};
use crate::error::ApiError;
use crate::keyring::KeyRing;
use crate::keys::SigningKey;
use crate::objects::{Objects, Resource, text, token_account, uid};
use crate::sim::Clock;
use crate::tokens::{TokenSpec, bound_claims, legacy_claims};

const FIRST_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
const DEFAULT_ACCOUNT: &str = "default";

pub(crate) struct Cluster {
    pub(crate) issuer: String,
    pub(crate) ca_pem: String,
    pub(crate) admin_token: String,
    keys: Mutex<KeyRing>,
    clock: Clock,
    objects: Mutex<Objects>,
}

impl Cluster {
    pub(crate) fn new(
        key: SigningKey,
        issuer: String,
        ca_pem: String,
        admin_token: String,
        clock: Clock,
    ) -> Self {
        let cluster = Self {
            issuer,
            ca_pem,
            admin_token,
            keys: Mutex::new(KeyRing::new(key)),
            clock,
            objects: Mutex::default(),
        };
        {
            let mut objects = cluster.objects();
            for namespace in FIRST_NAMESPACES {
                objects.insert(
                    (Resource::Namespaces, "", namespace),
                    namespace_object(namespace),
                    cluster.now(),
                );
                cluster.add_default_account(&mut objects, namespace);
            }
        }
        cluster
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// No state is left half changed when a thread dies, so a poisoned lock is as good as any.
    pub(crate) fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locked after the objects, where both are.
    pub(crate) fn keys(&self) -> MutexGuard<'_, KeyRing> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The user of a bearer token, checked for the API server's own audience or for the given ones.
    pub(crate) fn authenticate(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<(User, Vec<String>), String> {
        let own = [self.issuer.clone()];
        let requested = if audiences.is_empty() {
            &own
        } else {
            audiences
        };
        let (objects, keys) = (self.objects(), self.keys());
        let verifier = Verifier {
            objects: &objects,
            keys: &keys,
            issuer: &self.issuer,
            admin_token: &self.admin_token,
            now: self.now(),
        };
        verifier.authenticate(token, requested)
    }

    pub(crate) fn get(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Value, ApiError> {
        let objects = self.objects();
        objects
            .get(resource, namespace, name)
            .cloned()
            .ok_or_else(|| ApiError::not_found(resource, name))
    }

    /// Creates an object, and lets the controllers act. What they fill in shows in later reads only, as it does on
    /// a real cluster.
    pub(crate) fn create(
        &self,
        resource: Resource,
        namespace: &str,
        mut object: Value,
    ) -> Result<Value, ApiError> {
        if !object.is_object() || !(object["metadata"].is_object() || object["metadata"].is_null())
        {
            return Err(ApiError::bad_request(format!(
                "the object is not a {}",
                resource.kind()
            )));
        }
        let name = text(&object, "/metadata/name").to_owned();
        let says = text(&object, "/metadata/namespace");
        if resource.namespaced() && !says.is_empty() && says != namespace {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let mut objects = self.objects();
        if resource.namespaced() && objects.get(Resource::Namespaces, "", namespace).is_none() {
            return Err(ApiError::not_found(Resource::Namespaces, namespace));
        }
        admit(&objects, resource, (namespace, &name), &mut object)?;
        resource.check_name(&name)?;
        if objects.get(resource, namespace, &name).is_some() {
            return Err(ApiError::already_exists(resource, &name));
        }
        let created = objects.insert((resource, namespace, &name), object, self.now());
        match resource {
            Resource::Namespaces => self.add_default_account(&mut objects, &name),
            Resource::Secrets => self.fill_token_secret(&mut objects, namespace, &name)?,
            _ => {}
        }
        Ok(created)
    }

    /// Server-side apply by an owner of all that it names: creates the object, or lays the given fields over it.
    /// Says whether it was created.
    pub(crate) fn apply(
        &self,
        resource: Resource,
        (namespace, name): (&str, &str),
        mut object: Value,
    ) -> Result<(bool, Value), ApiError> {
        if !object.is_object() {
            return Err(ApiError::bad_request("the object is not an object"));
        }
        if self.objects().get(resource, namespace, name).is_none() {
            if object["metadata"].is_object() {
                object["metadata"]["name"] = json!(name);
            }
            return self
                .create(resource, namespace, object)
                .map(|created| (true, created));
        }
        let mut objects = self.objects();
        let before = objects.get(resource, namespace, name);
        let role = &object["roleRef"];
        if !role.is_null() && before.is_some_and(|before| before["roleRef"] != *role) {
            return Err(ApiError::invalid(
                &resource.qualified_kind(),
                name,
                "roleRef",
                "FieldValueInvalid",
                "Invalid value: cannot change roleRef",
            ));
        }
        let changed = objects.change((resource, namespace, name), object);
        changed
            .map(|changed| (false, changed))
            .ok_or_else(|| ApiError::not_found(resource, name))
    }

    /// Lays fields over an object that is there: null removes one.
    pub(crate) fn merge(
        &self,
        resource: Resource,
        (namespace, name): (&str, &str),
        changes: Value,
    ) -> Result<Value, ApiError> {
        let changed = self.objects().change((resource, namespace, name), changes);
        changed.ok_or_else(|| ApiError::not_found(resource, name))
    }

    pub(crate) fn delete(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Value, ApiError> {
        let mut objects = self.objects();
        let removed = objects.remove(resource, namespace, name);
        let removed = removed.ok_or_else(|| ApiError::not_found(resource, name))?;
        match resource {
            Resource::Namespaces => objects.remove_namespace(name),
            Resource::ServiceAccounts => {
                objects.remove_secrets_of(namespace, name);
                if name == DEFAULT_ACCOUNT {
                    self.add_default_account(&mut objects, namespace);
                }
            }
            _ => {}
        }
        Ok(removed)
    }

    /// A bound token for a service account, and its claims.
    pub(crate) fn issue(
        &self,
        account: (&str, &str),
        spec: &TokenSpec,
    ) -> Result<(String, Value), ApiError> {
        let claims = bound_claims(&self.objects(), account, spec, &self.issuer, self.now())?;
        Ok((self.sign(&claims)?, claims))
    }

    fn sign(&self, claims: &Value) -> Result<String, ApiError> {
        self.keys()
            .signing()
            .sign(claims)
            .map_err(|_| ApiError::internal("failed to generate token"))
    }

    /// The work of the service-account controller.
    fn add_default_account(&self, objects: &mut Objects, namespace: &str) {
        objects.insert(
            (Resource::ServiceAccounts, namespace, DEFAULT_ACCOUNT),
            json!({}),
            self.now(),
        );
    }

    /// The work of the token controller: a token secret gets its token, or goes when its account doesn't exist.
    fn fill_token_secret(
        &self,
        objects: &mut Objects,
        namespace: &str,
        name: &str,
    ) -> Result<(), ApiError> {
        let secret = objects.get(Resource::Secrets, namespace, name);
        let Some(account) = secret.and_then(token_account).map(ToOwned::to_owned) else {
            return Ok(());
        };
        let Some(account) = objects.get(Resource::ServiceAccounts, namespace, &account) else {
            objects.remove(Resource::Secrets, namespace, name);
            return Ok(());
        };
        let account_uid = uid(account).to_owned();
        let token = self.sign(&legacy_claims(namespace, account, name))?;
        if let Some(secret) = objects.get_mut(Resource::Secrets, namespace, name) {
            secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"] =
                json!(account_uid);
            secret["data"] = json!({
                "ca.crt": base64(&self.ca_pem),
                "namespace": base64(namespace),
                "token": base64(&token),
            });
        }
        Ok(())
    }
}

/// Defaults and checks of a new object that depend on its kind.
fn admit(
    objects: &Objects,
    resource: Resource,
    (namespace, name): (&str, &str),
    object: &mut Value,
) -> Result<(), ApiError> {
    match resource {
        Resource::Namespaces => {
            let labels = &mut object["metadata"]["labels"];
            if !(labels.is_object() || labels.is_null()) {
                return Err(ApiError::bad_request("the labels are not a map"));
            }
            labels["kubernetes.io/metadata.name"] = json!(name);
            object["status"] = json!({ "phase": "Active" });
        }
        Resource::Pods => {
            if !(object["spec"].is_object() || object["spec"].is_null()) {
                return Err(ApiError::bad_request("the spec is not a PodSpec"));
            }
            if text(object, "/spec/serviceAccountName").is_empty() {
                object["spec"]["serviceAccountName"] = json!(DEFAULT_ACCOUNT);
            }
            let account = text(object, "/spec/serviceAccountName");
            if objects
                .get(Resource::ServiceAccounts, namespace, account)
                .is_none()
            {
                let why = format!(
                    "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
                );
                return Err(ApiError::admission(resource, name, &why));
            }
            object["status"] = json!({ "phase": "Pending" });
        }
        Resource::Secrets => {
            let kind = text(object, "/type");
            if kind.is_empty() {
                object["type"] = json!("Opaque");
            } else if kind == "kubernetes.io/service-account-token"
                && token_account(object).is_none()
            {
                let field = "metadata.annotations[kubernetes.io/service-account.name]";
                return Err(ApiError::invalid(
                    "Secret",
                    name,
                    field,
                    "FieldValueRequired",
                    "Required value",
                ));
            }
        }
        _ => {}
    }
    Ok(())
}

fn namespace_object(name: &str) -> Value {
    json!({
        "metadata": { "labels": { "kubernetes.io/metadata.name": name } },
        "status": { "phase": "Active" },
    })
}

/// Base64 as in the `data` of a secret.
pub(crate) fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

pub(crate) fn unbase64(text: &str) -> Option<String> {
    let bytes = STANDARD
        .decode(text)
        .ok()
        .filter(|bytes| !bytes.is_empty())?;
    String::from_utf8(bytes).ok()
}
