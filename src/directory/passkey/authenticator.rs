//! An authenticator in software with its browser, for tests: one passkey each.

use super::*;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use serde_json::json;

enum Signer {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

/// What it says can be bent before it is said.
pub(crate) struct Authenticator {
    signer: Signer,
    pub(crate) id: Vec<u8>,
    pub(crate) user: Vec<u8>,
    pub(crate) flags: u8,
    pub(crate) cross_origin: bool,
}

impl Authenticator {
    pub(crate) fn new(algorithm: PasskeyAlgorithm, user: &[u8]) -> Self {
        let signer = match algorithm {
            PasskeyAlgorithm::Es256 => {
                Signer::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
            }
            PasskeyAlgorithm::EdDsa => Signer::EdDsa(Ed25519KeyPair::generate().unwrap()),
            PasskeyAlgorithm::Rs256 => {
                Signer::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
            }
        };
        let id: [u8; 20] = secret::random();
        let (id, user) = (id.to_vec(), user.to_vec());
        Self { signer, id, user, flags: PRESENT | VERIFIED, cross_origin: false }
    }

    fn client_data(&self, ceremony: &str, origin: &str, challenge: &str) -> Vec<u8> {
        let said = json!({ "type": ceremony, "challenge": challenge, "origin": origin,
            "crossOrigin": self.cross_origin, "other_keys_can_be_added_here": "do not compare" });
        said.to_string().into_bytes()
    }

    fn data(&self, rp: &str, flags: u8) -> Vec<u8> {
        let mut data = digest(&SHA256, rp.as_bytes()).as_ref().to_vec();
        data.push(self.flags | flags);
        data.extend_from_slice(&[0; 4]);
        data
    }

    pub(crate) fn register(&self, relying: &Relying, challenge: &str) -> Registration {
        let client_data = self.client_data("webauthn.create", &relying.origin, challenge);
        let mut authenticator_data = self.data(&relying.id, ATTESTED);
        authenticator_data.extend_from_slice(&[0; AAGUID_LEN]);
        let len = u16::try_from(self.id.len()).unwrap();
        authenticator_data.extend_from_slice(&len.to_be_bytes());
        authenticator_data.extend_from_slice(&self.id);
        authenticator_data.extend_from_slice(b"the key in CBOR");
        let (algorithm, key) = match &self.signer {
            Signer::Es256(key) => (-7, key.public_key().as_der().unwrap().as_ref().to_vec()),
            Signer::EdDsa(key) => (-8, key.public_key().as_der().unwrap().as_ref().to_vec()),
            Signer::Rs256(key) => (-257, key.public_key().as_der().unwrap().as_ref().to_vec()),
        };
        Registration { client_data, authenticator_data, key, algorithm }
    }

    pub(crate) fn assert(&self, relying: &Relying, challenge: &str) -> Assertion {
        let client_data = self.client_data("webauthn.get", &relying.origin, challenge);
        let authenticator_data = self.data(&relying.id, 0);
        let hash = digest(&SHA256, &client_data);
        let signed = [authenticator_data.as_slice(), hash.as_ref()].concat();
        let random = SystemRandom::new();
        let signature = match &self.signer {
            Signer::Es256(key) => key.sign(&random, &signed).unwrap().as_ref().to_vec(),
            Signer::EdDsa(key) => key.sign(&signed).as_ref().to_vec(),
            Signer::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, &signed, &mut signature).unwrap();
                signature
            }
        };
        let (id, user) = (self.id.clone(), self.user.clone());
        Assertion { id, user, client_data, authenticator_data, signature }
    }
}
