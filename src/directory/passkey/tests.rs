use super::authenticator::Authenticator;
use super::*;
use proptest::prelude::*;

const KEY: [u8; 32] = [7; 32];
const NOW: UnixMs = UnixMs(1_800_000_000_000);
const WHOSE: (TenantId, AccountId) = (TenantId(4), AccountId(2));
const RP: &str = "mx.example.net";
const CREATE: Purpose<'_> = Purpose::Create { whose: WHOSE, session: 9, rp: RP };
const GET: Purpose<'_> = Purpose::Get { rp: RP };

fn relying() -> Relying {
    Relying { id: RP.into(), origin: format!("https://{RP}") }
}

fn device(algorithm: PasskeyAlgorithm) -> Authenticator {
    Authenticator::new(algorithm, &handle(WHOSE.0, WHOSE.1))
}

fn made(device: &Authenticator) -> Passkey {
    let said = device.register(&relying(), &challenge(&KEY, CREATE, NOW));
    register(&KEY, (CREATE, &relying()), &said, NOW).unwrap()
}

fn shown(device: &Authenticator, at: &Relying) -> Assertion {
    device.assert(at, &challenge(&KEY, GET, NOW))
}

fn checked(passkey: &Passkey, said: &Assertion) -> Result<UnixMs, PasskeyError> {
    verify(&KEY, &relying(), passkey, said, NOW)
}

#[test]
fn each_algorithm_registers_and_signs_in() {
    for (_, algorithm) in ALGORITHMS {
        let device = device(algorithm);
        let passkey = made(&device);
        assert_eq!((passkey.rp.as_str(), &passkey.id), (RP, &device.id));
        assert_eq!(passkey.algorithm, algorithm);
        assert_eq!(checked(&passkey, &shown(&device, &relying())), Ok(NOW), "{algorithm:?}");
        let other = made(&self::device(algorithm));
        let said = shown(&device, &relying());
        assert_eq!(checked(&other, &said), Err(PasskeyError::Signature), "{algorithm:?}");
        // A key of another kind is not taken for one of this.
        for (number, other) in ALGORITHMS.into_iter().filter(|(_, other)| *other != algorithm) {
            let mut said = device.register(&relying(), &challenge(&KEY, CREATE, NOW));
            said.algorithm = number;
            let taken = register(&KEY, (CREATE, &relying()), &said, NOW);
            assert_eq!(taken, Err(PasskeyError::Key), "{algorithm:?} as {other:?}");
        }
    }
}

#[test]
fn what_the_browser_says_is_checked_in_both_ceremonies() {
    let mut device = device(PasskeyAlgorithm::Es256);
    let passkey = made(&device);
    let registered = |device: &Authenticator, at: &Relying| {
        let said = device.register(at, &challenge(&KEY, CREATE, NOW));
        register(&KEY, (CREATE, &relying()), &said, NOW).map(|_| ())
    };
    let asserted =
        |device: &Authenticator, at: &Relying| checked(&passkey, &shown(device, at)).map(|_| ());
    for origin in [
        "https://mx.example.net.evil.example",
        "https://evil.example",
        "http://mx.example.net",
        "https://mx.example.net:8443",
        "https://www.mx.example.net",
        "https://mx.example.net/",
        "null",
    ] {
        let at = Relying { origin: origin.into(), ..relying() };
        assert_eq!(registered(&device, &at), Err(PasskeyError::Origin), "{origin}");
        assert_eq!(asserted(&device, &at), Err(PasskeyError::Origin), "{origin}");
    }
    let at = Relying { id: "evil.example".into(), ..relying() };
    assert_eq!(registered(&device, &at), Err(PasskeyError::Name));
    assert_eq!(asserted(&device, &at), Err(PasskeyError::Name));
    for (flags, why) in [
        (VERIFIED, PasskeyError::Presence),
        (PRESENT, PasskeyError::Verification),
        (PRESENT | VERIFIED | IS_KEPT, PasskeyError::AuthenticatorData),
    ] {
        device.flags = flags;
        assert_eq!(registered(&device, &relying()), Err(why));
        assert_eq!(asserted(&device, &relying()), Err(why));
    }
    device.flags = PRESENT | VERIFIED | MAY_BE_KEPT | IS_KEPT;
    assert_eq!(registered(&device, &relying()), Ok(()));
    assert_eq!(asserted(&device, &relying()), Ok(()));
    device.cross_origin = true;
    assert_eq!(registered(&device, &relying()), Err(PasskeyError::Origin));
    assert_eq!(asserted(&device, &relying()), Err(PasskeyError::Origin));
}

#[test]
fn one_ceremony_is_not_the_other() {
    let device = device(PasskeyAlgorithm::EdDsa);
    let passkey = made(&device);
    let mut said = device.register(&relying(), &challenge(&KEY, CREATE, NOW));
    said.client_data = shown(&device, &relying()).client_data;
    let taken = register(&KEY, (CREATE, &relying()), &said, NOW);
    assert_eq!(taken, Err(PasskeyError::Ceremony));
    let mut said = shown(&device, &relying());
    said.client_data = device.register(&relying(), &challenge(&KEY, GET, NOW)).client_data;
    assert_eq!(checked(&passkey, &said), Err(PasskeyError::Ceremony));
    // An assertion describes no new passkey.
    let mut said = device.register(&relying(), &challenge(&KEY, CREATE, NOW));
    said.authenticator_data = shown(&device, &relying()).authenticator_data;
    let taken = register(&KEY, (CREATE, &relying()), &said, NOW);
    assert_eq!(taken, Err(PasskeyError::AuthenticatorData));
}

#[test]
fn a_challenge_is_for_one_purpose_and_for_minutes() {
    let text = challenge(&KEY, CREATE, NOW);
    let at = |now: u64| issued(&KEY, CREATE, &text, UnixMs(now));
    assert_eq!(at(NOW.0 + CHALLENGE_MS - 1), Ok(NOW));
    assert_eq!(at(NOW.0 + CHALLENGE_MS), Err(PasskeyError::Challenge));
    assert_eq!(at(NOW.0 - AHEAD_MS), Ok(NOW), "the other node's clock is ahead");
    assert_eq!(at(NOW.0 - AHEAD_MS - 1), Err(PasskeyError::Challenge));
    let (tenant, account) = WHOSE;
    for other in [
        GET,
        Purpose::Get { rp: "other.example.net" },
        Purpose::Create { whose: WHOSE, session: 9, rp: "other.example.net" },
        Purpose::Create { whose: WHOSE, session: 8, rp: RP },
        Purpose::Create { whose: (tenant, AccountId(3)), session: 9, rp: RP },
        Purpose::Create { whose: (TenantId(6), account), session: 9, rp: RP },
    ] {
        assert_eq!(issued(&KEY, other, &text, NOW), Err(PasskeyError::Challenge), "{other:?}");
    }
    assert_eq!(issued(&[8; 32], CREATE, &text, NOW), Err(PasskeyError::Challenge));
    assert_ne!(text, challenge(&KEY, CREATE, NOW), "no two are the same");
    let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
    for n in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[n] ^= 1;
        let bent = URL_SAFE_NO_PAD.encode(bent);
        assert_eq!(issued(&KEY, CREATE, &bent, NOW), Err(PasskeyError::Challenge), "{n}");
    }
    // And the ceremonies ask.
    let device = device(PasskeyAlgorithm::Es256);
    let passkey = made(&device);
    let said = device.assert(&relying(), &text);
    assert_eq!(checked(&passkey, &said), Err(PasskeyError::Challenge));
    let said = device.register(&relying(), &challenge(&KEY, GET, NOW));
    let taken = register(&KEY, (CREATE, &relying()), &said, NOW);
    assert_eq!(taken, Err(PasskeyError::Challenge));
}

#[test]
fn all_that_is_signed_counts() {
    let device = device(PasskeyAlgorithm::Es256);
    let passkey = made(&device);
    let said = shown(&device, &relying());
    // The counter, which nothing else looks at.
    let mut bent = said.clone();
    bent.authenticator_data[36] ^= 1;
    assert_eq!(checked(&passkey, &bent), Err(PasskeyError::Signature));
    let mut bent = said.clone();
    bent.client_data.push(b' ');
    assert_eq!(checked(&passkey, &bent), Err(PasskeyError::Signature));
    let bent = Assertion { signature: Vec::new(), ..said.clone() };
    assert_eq!(checked(&passkey, &bent), Err(PasskeyError::Signature));
    let elsewhere = Passkey { rp: "other.example.net".into(), ..passkey.clone() };
    assert_eq!(checked(&elsewhere, &said), Err(PasskeyError::Name));
    assert_eq!(checked(&passkey, &said), Ok(NOW));
}

#[test]
fn a_passkey_is_of_some_size() {
    let mut device = device(PasskeyAlgorithm::Es256);
    let taken = |device: &Authenticator| {
        let said = device.register(&relying(), &challenge(&KEY, CREATE, NOW));
        register(&KEY, (CREATE, &relying()), &said, NOW).map(|_| ())
    };
    for (len, wanted) in [
        (0, Err(PasskeyError::AuthenticatorData)),
        (1, Ok(())),
        (ID_LEN_MAX, Ok(())),
        (ID_LEN_MAX + 1, Err(PasskeyError::AuthenticatorData)),
    ] {
        device.id = vec![7; len];
        assert_eq!(taken(&device), wanted, "{len}");
    }
    device.id = vec![7; 20];
    let mut said = device.register(&relying(), &challenge(&KEY, CREATE, NOW));
    said.key = vec![0; KEY_LEN_MAX + 1];
    let long = register(&KEY, (CREATE, &relying()), &said, NOW);
    assert_eq!(long, Err(PasskeyError::Key));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_harm(
        data in proptest::collection::vec(any::<u8>(), 0..90),
        json in "[\\{\\}\":,a-z ]{0,60}",
        challenge in "[a-zA-Z0-9_=-]{0,80}",
        key in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let named = [digest(&SHA256, RP.as_bytes()).as_ref(), &data].concat();
        for data in [data, named] {
            let _any = check_authenticator(&relying(), &data);
            let client_data = device(PasskeyAlgorithm::EdDsa)
                .register(&relying(), &super::challenge(&KEY, CREATE, NOW)).client_data;
            let said = Registration {
                client_data, authenticator_data: data, key: key.clone(), algorithm: -7,
            };
            prop_assert!(register(&KEY, (CREATE, &relying()), &said, NOW).is_err());
        }
        prop_assert!(check_client(&KEY, (GET, &relying()), json.as_bytes(), NOW).is_err());
        prop_assert!(issued(&KEY, GET, &challenge, NOW).is_err());
        let _any = whose(&key);
    }
}
