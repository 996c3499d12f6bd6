//! Content signed by the service's key (CMS, RFC 5652): what devices show as "verified".
//!
//! Just enough DER to write one `SignedData` with one signer, with the content and the chain in it.
//! Absent on purpose: reading any, and keys for which CMS wants other hashes (Ed25519, P-521).

use super::der::{INTEGER, OBJECT_IDENTIFIER, SEQUENCE, SET, issuer_and_serial};
use aws_lc_rs::digest::{self, SHA256, SHA384};
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::sign::CertifiedKey;

const OCTET_STRING: u8 = 0x04;
const NULL: &[u8] = &[0x05, 0x00];
/// `[0]`, constructed.
const CONTEXT_0: u8 = 0xa0;
/// `id-data`, 1.2.840.113549.1.7.1.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// `id-signedData`, 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `id-contentType`, 1.2.840.113549.1.9.3.
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
/// `id-messageDigest`, 1.2.840.113549.1.9.4.
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// `id-sha256`, 2.16.840.1.101.3.4.2.1.
const ID_SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// `id-sha384`, 2.16.840.1.101.3.4.2.2.
const ID_SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
/// `rsaEncryption`, 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// `ecdsa-with-SHA256`, 1.2.840.10045.4.3.2.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// `ecdsa-with-SHA384`, 1.2.840.10045.4.3.3.
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];

/// How one kind of key signs.
struct Algorithm {
    scheme: SignatureScheme,
    hash: &'static digest::Algorithm,
    hash_id: &'static [u8],
    id: &'static [u8],
    /// RFC 3370 3.2: RSA has the parameter NULL; RFC 5754 3.3: ECDSA has none.
    parameter: &'static [u8],
}

static ALGORITHMS: [Algorithm; 3] = [
    Algorithm {
        scheme: SignatureScheme::ECDSA_NISTP256_SHA256,
        hash: &SHA256,
        hash_id: ID_SHA256,
        id: ECDSA_SHA256,
        parameter: &[],
    },
    Algorithm {
        scheme: SignatureScheme::ECDSA_NISTP384_SHA384,
        hash: &SHA384,
        hash_id: ID_SHA384,
        id: ECDSA_SHA384,
        parameter: &[],
    },
    Algorithm {
        scheme: SignatureScheme::RSA_PKCS1_SHA256,
        hash: &SHA256,
        hash_id: ID_SHA256,
        id: RSA,
        parameter: NULL,
    },
];

/// The element `tag` around `parts`.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(8));
            out.extend_from_slice(&bytes);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

fn object(id: &[u8]) -> Vec<u8> {
    element(OBJECT_IDENTIFIER, &[id])
}

/// An `Attribute` with one value.
fn attribute(id: &[u8], value: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&object(id), &element(SET, &[value])])
}

/// `content` and the chain, signed with the key of its first certificate. `None` where the key is of
/// another kind, or the certificate cannot be read.
pub(super) fn sign(certified: &CertifiedKey, content: &[u8]) -> Option<Vec<u8>> {
    let CertifiedKey { cert: chain, key, .. } = certified;
    let (issuer, serial) = issuer_and_serial(chain.first()?)?;
    let find = |algorithm: &&Algorithm| key.choose_scheme(&[algorithm.scheme]).is_some();
    let algorithm = ALGORITHMS.iter().find(find)?;
    let signer = key.choose_scheme(&[algorithm.scheme])?;
    let hash_id = element(SEQUENCE, &[&object(algorithm.hash_id)]);
    let digest = digest::digest(algorithm.hash, content);
    // RFC 5652 11: both are wanted where anything is signed besides the content. In DER a SET is
    // sorted (X.690 11.6), and these two are: the second is longer.
    let attributes = [
        attribute(CONTENT_TYPE, &object(DATA)),
        attribute(MESSAGE_DIGEST, &element(OCTET_STRING, &[digest.as_ref()])),
    ];
    let [kind, hash] = &attributes;
    // RFC 5652 5.4: signed as a SET, sent under another tag.
    let signature = signer.sign(&element(SET, &[kind, hash])).ok()?;
    let version = element(INTEGER, &[&[1]]);
    let signer = element(
        SEQUENCE,
        &[
            &version,
            &element(SEQUENCE, &[issuer, serial]),
            &hash_id,
            &element(CONTEXT_0, &[kind, hash]),
            &element(SEQUENCE, &[&object(algorithm.id), algorithm.parameter]),
            &element(OCTET_STRING, &[&signature]),
        ],
    );
    let content = element(CONTEXT_0, &[&element(OCTET_STRING, &[content])]);
    let certificates: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
    let signed = element(
        SEQUENCE,
        &[
            &version,
            &element(SET, &[&hash_id]),
            &element(SEQUENCE, &[&object(DATA), &content]),
            &element(CONTEXT_0, &certificates),
            &element(SET, &[&signer]),
        ],
    );
    Some(element(SEQUENCE, &[&object(SIGNED_DATA), &element(CONTEXT_0, &[&signed])]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Names, Service};
    use understudy_proto::time::UnixMs;

    #[test]
    fn lengths_are_written_as_der_wants_them() {
        for (len, head) in [
            (0, &[4, 0][..]),
            (127, &[4, 127]),
            (128, &[4, 0x81, 128]),
            (256, &[4, 0x82, 1, 0]),
            (70_000, &[4, 0x83, 1, 0x11, 0x70]),
        ] {
            let written = element(OCTET_STRING, &[&vec![7; len]]);
            assert_eq!(written.strip_suffix(&vec![7; len][..]), Some(head));
        }
    }

    /// What OpenSSL takes, others do.
    #[test]
    fn what_is_signed_is_verified_by_openssl() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let names = Names { hosts: vec!["mx.example.net".into()], addresses: vec![] };
        let now = crate::base::clock::now_ms();
        let service = Service::own(dir.path(), &names, UnixMs(now.0)).unwrap();
        let content = b"<plist/>\n".repeat(500);
        let signed = service.sign(&content).unwrap();
        std::fs::write(path("signed"), &signed).unwrap();
        let run = |file: &str| {
            let done = std::process::Command::new("openssl")
                .args(["cms", "-verify", "-binary", "-inform", "DER", "-purpose", "any"])
                .arg("-in")
                .arg(path(file))
                .arg("-CAfile")
                .arg(path("ca.pem"))
                .output();
            let done = done.expect("openssl is installed");
            (done.status.success(), done.stdout)
        };
        let (verified, shown) = run("signed");
        assert!(verified && shown == content);
        let at = signed.windows(9).position(|w| w == b"<plist/>\n").unwrap();
        let mut changed = signed;
        changed[at] = b'[';
        std::fs::write(path("changed"), &changed).unwrap();
        assert!(!run("changed").0);
    }
}
