//! The cluster's service-account keys: one signs, all verify and are published.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::keys::{SignatureFault, SigningKey};

pub(crate) struct KeyRing {
    signing: Arc<SigningKey>,
    /// The signing key among them.
    published: Vec<Arc<SigningKey>>,
}

impl KeyRing {
    pub(crate) fn new(key: SigningKey) -> Self {
        let signing = Arc::new(key);
        Self {
            published: vec![Arc::clone(&signing)],
            signing,
        }
    }

    pub(crate) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// Published from now on, and not signing yet.
    pub(crate) fn add(&mut self, key: SigningKey) {
        self.published.push(Arc::new(key));
    }

    /// Whether there is such a key; it signs from now on.
    pub(crate) fn sign_with(&mut self, id: &str) -> bool {
        let Some(key) = self.published.iter().find(|key| key.id() == id) else {
            return false;
        };
        self.signing = Arc::clone(key);
        true
    }

    /// Whether it was there. A key that signs goes on to sign tokens that nothing verifies, as on a real cluster
    /// whose two lists of keys disagree.
    pub(crate) fn retire(&mut self, id: &str) -> bool {
        let before = self.published.len();
        self.published.retain(|key| key.id() != id);
        self.published.len() < before
    }

    /// The claims of a token that one of the published keys signed.
    pub(crate) fn verify(&self, token: &str) -> Result<Value, SignatureFault> {
        let mut fault = SignatureFault::UnknownKey;
        for key in &self.published {
            match key.verify(token) {
                Err(SignatureFault::UnknownKey) => {}
                Err(SignatureFault::Wrong) => fault = SignatureFault::Wrong,
                decided => return decided,
            }
        }
        Err(fault)
    }

    pub(crate) fn jwks(&self) -> Value {
        let keys: Vec<Value> = self.published.iter().map(|key| key.jwk()).collect();
        json!({ "keys": keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_verifies_from_its_publication_to_its_retirement() {
        let first = SigningKey::generate().unwrap();
        let first_id = first.id().to_owned();
        let mut ring = KeyRing::new(first);
        let claims = json!({ "sub": "someone" });
        let old = ring.signing().sign(&claims).unwrap();

        let second = SigningKey::generate().unwrap();
        let second_id = second.id().to_owned();
        let early = second.sign(&claims).unwrap();
        assert_eq!(ring.verify(&early), Err(SignatureFault::UnknownKey));
        ring.add(second);
        assert!(ring.verify(&early).is_ok());
        assert_eq!(ring.signing().id(), first_id);
        assert!(ring.sign_with(&second_id) && !ring.sign_with("another"));
        assert_eq!(ring.signing().id(), second_id);
        assert!(ring.verify(&old).is_ok());
        assert_eq!(ring.jwks()["keys"].as_array().unwrap().len(), 2);

        assert!(ring.retire(&first_id) && !ring.retire(&first_id));
        assert_eq!(ring.verify(&old), Err(SignatureFault::UnknownKey));
        assert!(ring.verify(&early).is_ok());
    }
}
