use super::*;
use proptest::prelude::*;

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));
const SOURCE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 100));
const GROUP: IpAddr = IpAddr::V4(GROUP_V4);

fn hex(text: &str) -> Vec<u8> {
    let digit = |c: u8| u8::try_from(char::from(c).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks(2).map(|pair| (digit(pair[0]) << 4) | digit(pair[1])).collect()
}

fn arrival(destination: IpAddr) -> Arrival {
    Arrival { source: SOURCE, destination, ttl: 255 }
}

fn golden() -> Advert {
    Advert {
        version: Version::V3,
        vrid: 51,
        priority: 200,
        interval: Interval::SECOND,
        addresses: vec![VIP],
        authentication: Authentication::None,
    }
}

/// Captured from keepalived 2.2.7; the third is the first with RFC 9568's checksum, the fourth the
/// second with the pseudo-header of keepalived before 1.3.6.
#[test]
fn golden_packets_both_ways() {
    let peer: IpAddr = "10.99.0.2".parse().unwrap();
    let v2 = Advert { version: Version::V2, ..golden() };
    for (text, advert, destination, form) in [
        ("3133c801006410ad0a630064", golden(), GROUP, Checksum::WithPseudoHeader),
        ("3133c8010064e65a0a630064", golden(), peer, Checksum::WithPseudoHeader),
        ("3133c8010064fb9f0a630064", golden(), GROUP, Checksum::MessageOnly),
        ("3133c801006410ad0a630064", golden(), peer, Checksum::WithGroupHeader),
        ("2133c80100010c030a6300640000000000000000", v2, GROUP, Checksum::WithPseudoHeader),
    ] {
        let bytes = hex(text);
        let decoded = decode(&bytes, arrival(destination), TTL).unwrap();
        assert_eq!(decoded, Decoded { advert: advert.clone(), checksum: form });
        assert_eq!(encode(&advert, SOURCE, destination, form), bytes);
    }
}

/// RFC 2338 5.3.6, 5.3.8, 5.3.10.
#[test]
fn version_2_carries_its_password() {
    let advert = Advert {
        version: Version::V2,
        authentication: Authentication::password("secret").unwrap(),
        ..golden()
    };
    let bytes = encode(&advert, SOURCE, GROUP, Checksum::default());
    assert_eq!(&bytes[..6], hex("2133c8010101"));
    assert_eq!(&bytes[8..], hex("0a6300647365637265740000"));
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    assert_eq!(words.sum::<u32>() % 0xffff, 0, "the whole message, password included");
    assert_eq!(decode(&bytes, arrival(GROUP), TTL).unwrap().advert, advert);
    assert_eq!(Authentication::password(""), None);
    assert_eq!(Authentication::password("123456789"), None);
    assert!(!format!("{advert:?}").contains("115"), "passwords are not shown");
}

#[test]
fn ipv6_always_sums_its_pseudo_header() {
    let group = group_of(SOURCE_V6);
    let advert = Advert { addresses: vec!["2001:db8::100".parse().unwrap()], ..golden() };
    let bytes = encode(&advert, SOURCE_V6, group, Checksum::MessageOnly);
    assert_eq!(bytes, encode(&advert, SOURCE_V6, group, Checksum::WithPseudoHeader));
    let from = Arrival { source: SOURCE_V6, destination: group, ttl: 255 };
    assert_eq!(decode(&bytes, from, TTL).unwrap().advert, advert);
    let elsewhere = Arrival { destination: SOURCE_V6, ..from };
    let found = decode(&bytes, elsewhere, TTL).unwrap();
    assert_eq!(found.checksum, Checksum::WithGroupHeader);
    let stranger = Arrival { source: "fe80::2".parse().unwrap(), ..from };
    assert_eq!(decode(&bytes, stranger, TTL), Err(DecodeError::Checksum));
    let v2 =
        encode(&Advert { version: Version::V2, ..golden() }, SOURCE, GROUP, Checksum::default());
    assert_eq!(decode(&v2, from, TTL), Err(DecodeError::Version(2)), "no version 2 over IPv6");
}

#[test]
fn each_check_has_its_error() {
    let sealed = |text: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = hex(text);
        change(&mut bytes);
        bytes[6] = 0;
        bytes[7] = 0;
        let mut sum = Sum::default();
        sum.add(&bytes);
        let sum = !sum.folded();
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        decode(&bytes, arrival(GROUP), TTL)
    };
    let v3 = |change: &dyn Fn(&mut Vec<u8>)| sealed("3133c8010064fb9f0a630064", change);
    let v2 =
        |change: &dyn Fn(&mut Vec<u8>)| sealed("2133c80100010c030a6300640000000000000000", change);
    assert!(v3(&|_| ()).is_ok());
    assert_eq!(v3(&|b| b[0] = 0x32), Err(DecodeError::Type(2)));
    assert_eq!(v3(&|b| b[0] = 0x41), Err(DecodeError::Version(4)));
    assert_eq!(v3(&|b| b[1] = 0), Err(DecodeError::Vrid));
    assert_eq!(v3(&|b| b[2] = 255).unwrap().advert.priority, 255);
    assert_eq!(v3(&|b| b[2] = 0).unwrap().advert.priority, 0);
    assert_eq!(
        v3(&|b| b[3] = 2),
        Err(DecodeError::Length { found: 12, expected: 16 }),
        "announces more than it carries"
    );
    assert_eq!(v3(&|b| b.push(0)), Err(DecodeError::Length { found: 13, expected: 12 }));
    let no_addresses = |b: &mut Vec<u8>| {
        b[3] = 0;
        b.truncate(8);
    };
    assert_eq!(v3(&no_addresses), Err(DecodeError::NoAddresses));
    assert_eq!(v3(&|b| b[5] = 0), Err(DecodeError::Interval));
    // RFC 9568 5.2.6: reserved bits are ignored on reception.
    assert_eq!(v3(&|b| b[4] = 0xf0).unwrap().advert.interval, Interval::SECOND);

    assert!(v2(&|_| ()).is_ok());
    assert_eq!(v2(&|b| b[5] = 0), Err(DecodeError::Interval));
    assert_eq!(v2(&|b| b[4] = 2), Err(DecodeError::Authentication(2)));
    assert_eq!(v2(&|b| b[4] = 1).unwrap().advert.authentication, Authentication::Password([0; 8]));
    assert_eq!(v2(&|b| b.truncate(12)), Err(DecodeError::Length { found: 12, expected: 20 }));
    assert_eq!(v2(&|b| b[19] = 9).unwrap().advert.authentication, Authentication::None);

    let mut damaged = hex("3133c801006410ad0a630064");
    damaged[2] ^= 1;
    assert_eq!(decode(&damaged, arrival(GROUP), TTL), Err(DecodeError::Checksum));
    let routed = Arrival { ttl: 254, ..arrival(GROUP) };
    let bytes = hex("3133c801006410ad0a630064");
    assert_eq!(decode(&bytes, routed, TTL), Err(DecodeError::Ttl { found: 254, least: 255 }));
    assert!(decode(&bytes, routed, 254).is_ok());
    assert_eq!(
        decode(&bytes[..7], arrival(GROUP), TTL),
        Err(DecodeError::Length { found: 7, expected: 8 })
    );
}

#[test]
fn intervals_keep_to_their_bits() {
    assert_eq!(Interval::from_centis(0), None);
    assert_eq!(Interval::from_centis(4096), None);
    assert_eq!(Interval::from_duration(Duration::from_millis(105)), None);
    assert_eq!(Interval::from_duration(Duration::from_micros(10_001)), None);
    assert_eq!(Interval::from_duration(Duration::from_secs(41)), None);
    let tenth = Interval::from_duration(Duration::from_millis(100)).unwrap();
    assert_eq!((tenth.centis(), tenth.duration()), (10, Duration::from_millis(100)));
    assert_eq!(Interval::from_seconds(0), None);
    let long = Interval::from_seconds(255).unwrap();
    assert_eq!((long.seconds(), long.duration()), (255, Duration::from_secs(255)));
    assert_eq!(tenth.seconds(), 1, "version 2 knows nothing shorter");
}

#[test]
fn an_ip_header_is_split_off() {
    let payload = hex("3133c801006410ad0a630064");
    let mut datagram = hex("45c0002000010000ff7000000a630001e0000012");
    datagram.extend_from_slice(&payload);
    assert_eq!(split_ip(&datagram), Some((arrival(GROUP), payload.as_slice())));
    // With the router-alert option the header is 24 octets long.
    let mut with_option = hex("46c0002400010000ff7000000a630001e000001294040000");
    with_option.extend_from_slice(&payload);
    assert_eq!(split_ip(&with_option), Some((arrival(GROUP), payload.as_slice())));
    assert_eq!(split_ip(&datagram[..31]), None, "cut short");
    datagram[9] = 17;
    assert_eq!(split_ip(&datagram), None, "not VRRP");
}

fn form() -> impl Strategy<Value = Checksum> {
    prop_oneof![
        Just(Checksum::WithPseudoHeader),
        Just(Checksum::MessageOnly),
        Just(Checksum::WithGroupHeader)
    ]
}

/// An advert with the source and destination that it may travel between.
fn travelling() -> impl Strategy<Value = (Advert, IpAddr, IpAddr)> {
    let common = (1u8.., any::<u8>());
    let v4 = any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits)));
    let v6 = any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits)));
    let three = (1u16..4096).prop_map(|centis| Interval::from_centis(centis).unwrap());
    let two = (1u8..).prop_map(|seconds| Interval::from_seconds(seconds).unwrap());
    let password = prop_oneof![
        Just(Authentication::None),
        any::<[u8; 8]>().prop_map(Authentication::Password)
    ];
    prop_oneof![
        (
            common.clone(),
            three.clone(),
            proptest::collection::vec(v4.clone(), 1..=255),
            v4.clone(),
            v4.clone(),
            Just(Version::V3),
            Just(Authentication::None),
        ),
        (
            common.clone(),
            two,
            proptest::collection::vec(v4.clone(), 1..=255),
            v4.clone(),
            v4,
            Just(Version::V2),
            password
        ),
        (
            common,
            three,
            proptest::collection::vec(v6.clone(), 1..=255),
            v6.clone(),
            v6,
            Just(Version::V3),
            Just(Authentication::None),
        ),
    ]
    .prop_map(|((vrid, priority), interval, addresses, from, to, version, authentication)| {
        (Advert { version, vrid, priority, interval, addresses, authentication }, from, to)
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..1200), six: bool,
    ) {
        let source = if six { SOURCE_V6 } else { SOURCE };
        let arrival = Arrival { source, destination: group_of(source), ttl: 255 };
        drop(decode(&bytes, arrival, TTL));
        let _split = split_ip(&bytes);
    }

    /// What is accepted is exactly what would be sent, the ignored octets of version 2 apart.
    #[test]
    fn damaged_adverts_never_panic_and_reencode(
        at in 0usize..20, value: u8, form in form(), two: bool,
    ) {
        let version = if two { Version::V2 } else { Version::V3 };
        let mut bytes = encode(&Advert { version, ..golden() }, SOURCE, GROUP, form);
        let Some(slot) = bytes.get_mut(at) else { return Ok(()) };
        *slot = value;
        if let Ok(found) = decode(&bytes, arrival(GROUP), TTL) {
            prop_assert_eq!(encode(&found.advert, SOURCE, GROUP, found.checksum), bytes);
        }
    }

    #[test]
    fn round_trip((advert, source, destination) in travelling(), form in form()) {
        let bytes = encode(&advert, source, destination, form);
        prop_assert!(bytes.len() <= LEN_MAX);
        let found = decode(&bytes, Arrival { source, destination, ttl: 255 }, TTL).unwrap();
        prop_assert_eq!(found.advert, advert);
    }
}
