use super::*;
use crate::id::ModSeq;
use crate::objects::{Object, ObjectId};
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

fn context() -> Context<'static> {
    Context {
        now: NOW,
        random: [0xab; 16],
        may_send_as: &|email| email.ends_with("@example.com"),
        is_address_book: &|id| id.starts_with('a'),
    }
}

fn map(value: Value) -> Map {
    value.as_object().unwrap().clone()
}

fn make(object_type: ObjectType, given: Value) -> Result<Kept, SetError> {
    create(object_type, &map(given), &context())
}

fn change(object_type: ObjectType, kept: &Map, patch: Value) -> Result<Kept, SetError> {
    update(object_type, kept, ("x1", &map(patch)), &context())
}

fn bad(names: &[&str]) -> Result<Kept, SetError> {
    Err(SetError::InvalidProperties(names.iter().map(|n| (*n).to_owned()).collect()))
}

#[test]
fn an_identity_is_what_rfc_8621_says() {
    // RFC 8621 6.4.
    let given = json!({
        "name": "Joe Bloggs", "email": "joe@example.com", "replyTo": null,
        "bcc": [{"name": null, "email": "joe+archive@example.com"}],
        "textSignature": "-- \nJoe Bloggs\nMaster of Email", "htmlSignature": "<div></div>",
    });
    let kept = make(ObjectType::Identity, given.clone()).unwrap();
    assert_eq!(Value::Object(kept.json.clone()), given);
    assert_eq!(Value::Object(kept.told), json!({"mayDelete": true}));
    let shown = show(ObjectType::Identity, "i1", &kept.json, None).unwrap();
    assert_eq!((shown["id"].as_str(), shown["mayDelete"].as_bool()), (Some("i1"), Some(true)));
    let least = make(ObjectType::Identity, json!({"email": "joe@example.com"})).unwrap();
    assert_eq!(least.told.len(), 6, "{:?}", least.told);
    let some = show(ObjectType::Identity, "i1", &kept.json, Some(&["name".to_owned()])).unwrap();
    assert_eq!(some.keys().collect::<Vec<_>>(), ["id", "name"]);
    let none = show(ObjectType::Identity, "i1", &kept.json, Some(&["nam".to_owned()]));
    assert_eq!(none, Err(vec!["nam".to_owned()]));

    assert_eq!(make(ObjectType::Identity, json!({})), bad(&["email"]));
    let other = json!({"email": "joe@elsewhere.example"});
    assert_eq!(make(ObjectType::Identity, other), Err(SetError::ForbiddenFrom));
    let wrong = json!({
        "id": "i1", "email": "joe", "mayDelete": true, "replyTo": [{"email": 1}], "color": "red",
        "name": "a\r\nBcc: x", "textSignature": null,
    });
    let names = ["color", "email", "id", "mayDelete", "name", "replyTo", "textSignature"];
    assert_eq!(make(ObjectType::Identity, wrong), bad(&names));

    let same = json!({"name": "Joe B", "email": "joe@example.com", "mayDelete": true, "id": "x1"});
    let new = change(ObjectType::Identity, &kept.json, same).unwrap();
    assert_eq!((new.json["name"].as_str(), new.told.len()), (Some("Joe B"), 0));
    let reset = change(ObjectType::Identity, &kept.json, json!({"name": null})).unwrap();
    assert_eq!(Value::Object(reset.told), json!({"name": ""}));
    let fixed = json!({"email": "jane@example.com", "mayDelete": false, "id": "x2"});
    assert_eq!(change(ObjectType::Identity, &kept.json, fixed), bad(&["email", "id", "mayDelete"]));
    let deep = json!({"bcc/0/name": "x"});
    let refused = change(ObjectType::Identity, &kept.json, deep).unwrap_err();
    assert_eq!(refused, SetError::InvalidPatch(patch::PatchError::Path));
    assert_eq!(refused.to_json()["type"], "invalidPatch");
    let error = SetError::InvalidProperties(vec!["name".into()]).to_json();
    assert_eq!(error, json!({"type": "invalidProperties", "properties": ["name"]}));
}

#[test]
fn there_is_one_vacation_and_it_has_its_time() {
    let vacation = ObjectType::VacationResponse;
    assert_eq!(make(vacation, json!({})), Err(SetError::Singleton));
    assert_eq!(destroy(vacation, SINGLETON), Err(SetError::Singleton));
    let none = defaults(vacation);
    assert_eq!(none.len(), 6);
    assert!(!is_away(&none, NOW));
    let patch = json!({
        "isEnabled": true, "fromDate": "2023-11-01T00:00:00Z", "toDate": "2023-12-01T00:00:00Z",
        "subject": "I am away", "textBody": "Back in December",
    });
    let kept = change(vacation, &none, patch).unwrap().json;
    assert!(is_away(&kept, NOW));
    assert!(!is_away(&kept, UnixMs(NOW.0 + 30 * 86_400_000)));
    assert!(!is_away(&kept, UnixMs(NOW.0 - 30 * 86_400_000)));
    let off = change(vacation, &kept, json!({"isEnabled": null})).unwrap();
    assert_eq!(Value::Object(off.told.clone()), json!({"isEnabled": false}));
    assert!(!is_away(&off.json, NOW));
    let local = json!({"fromDate": "2023-11-01T00:00:00+01:00", "subject": "a\nb"});
    assert_eq!(change(vacation, &kept, local), bad(&["fromDate", "subject"]));
    let turned = json!({"toDate": "2023-10-01T00:00:00Z"});
    assert_eq!(change(vacation, &kept, turned), bad(&["toDate"]));
}

#[test]
fn preferences_are_what_the_app_knows() {
    let kept = defaults(ObjectType::Preferences);
    let patch = json!({
        "language": "de", "theme": "dark", "undoSeconds": 0, "remoteImages": "always",
        "trustedSenders": {"a@b.example": true}, "density": "compact",
    });
    let kept = change(ObjectType::Preferences, &kept, patch).unwrap().json;
    let more = json!({"trustedSenders/c~1d@e.example": true, "language": null});
    let kept = change(ObjectType::Preferences, &kept, more).unwrap().json;
    assert_eq!(kept["trustedSenders"], json!({"a@b.example": true, "c/d@e.example": true}));
    assert_eq!(kept["language"], Value::Null);
    let wrong = json!({"theme": "pink", "undoSeconds": 3_600, "trustedSenders/x": false, "x": 1});
    let names = ["theme", "trustedSenders", "undoSeconds", "x"];
    assert_eq!(change(ObjectType::Preferences, &kept, wrong), bad(&names));
}

#[test]
fn an_address_book_is_its_owners_alone() {
    let kept = make(ObjectType::AddressBook, json!({"name": "Personal"})).unwrap();
    assert_eq!(kept.told["myRights"]["mayWrite"], true);
    assert_eq!((&kept.told["isSubscribed"], &kept.told["sortOrder"]), (&json!(true), &json!(0)));
    assert_eq!((&kept.json["isDefault"], kept.json.get("myRights")), (&json!(false), None));
    let given = json!({
        "name": "x".repeat(256), "isDefault": true, "sortOrder": -1, "shareWith": {"u2": {}},
    });
    let names = ["isDefault", "name", "shareWith", "sortOrder"];
    assert_eq!(make(ObjectType::AddressBook, given), bad(&names));
    assert_eq!(make(ObjectType::AddressBook, json!({"name": " "})), bad(&["name"]));
    // The server made it the default: that stays.
    let mut json = kept.json;
    json.insert("isDefault".into(), json!(true));
    let kept = change(ObjectType::AddressBook, &json, json!({"name": "Mine"})).unwrap();
    assert_eq!((&kept.json["isDefault"], kept.told.len()), (&json!(true), 0));
    let rights = json!({"myRights/mayShare": true});
    assert_eq!(change(ObjectType::AddressBook, &json, rights), bad(&["myRights"]));
    assert_eq!(make(ObjectType::Upload, json!({})), Err(SetError::Forbidden));
}

/// RFC 9553's and RFC 9610's own.
fn joe() -> Value {
    json!({
        "addressBookIds": {"a1": true},
        "@type": "Card", "version": "1.0", "uid": "22B2C7DF-9120-4969-8460-05956FE6B065",
        "kind": "individual",
        "name": {"components": [
            {"kind": "given", "value": "John"}, {"kind": "given2", "value": "Philip"},
            {"kind": "separator", "value": "-"}, {"kind": "surname", "value": "Stevenson"},
        ], "isOrdered": true},
        "nicknames": {"k391": {"name": "Johnny"}},
        "organizations": {"o1": {"name": "ABC, Inc.", "units": [{"name": "Marketing"}]}},
        "emails": {"e1": {"contexts": {"work": true}, "address": "jqpublic@xyz.example.com", "pref": 1}},
        "phones": {"tel0": {"contexts": {"private": true}, "number": "tel:+1-555-555-5555;ext=5555"}},
        "onlineServices": {"x1": {"uri": "xmpp:alice@example.com"}},
        "addresses": {"k23": {"components": [{"kind": "locality", "value": "Springfield"}], "full": "Main St"}},
        "media": {"res45": {"kind": "photo", "blobId": "f123"}},
        "anniversaries": {"k8": {"kind": "birth", "date": {"year": 1953, "month": 4, "day": 15}}},
        "keywords": {"internet": true},
        "notes": {"n1": {"note": "Speaks Öland's dialect"}},
        "example.com:customprop": [1, 2],
    })
}

#[test]
fn a_card_is_kept_as_it_was_given() {
    let kept = make(ObjectType::ContactCard, joe()).unwrap();
    let now = json!("2023-11-14T22:13:20Z");
    assert_eq!(Value::Object(kept.told.clone()), json!({"created": now, "updated": now}));
    for (name, value) in joe().as_object().unwrap() {
        assert_eq!(&kept.json[name], value);
    }
    let least = make(ObjectType::ContactCard, json!({"addressBookIds": {"a1": true}})).unwrap();
    assert_eq!(least.told["uid"], "urn:uuid:abababab-abab-4bab-8bab-abababababab");
    assert_eq!(least.json.len(), 6, "nothing is null: {:?}", least.json);
    let shown = show(ObjectType::ContactCard, "c1", &least.json, None).unwrap();
    assert_eq!(shown.len(), 7);

    let later = Context { now: UnixMs(NOW.0 + 86_400_000), ..context() };
    let patch = map(
        json!({"emails/e1/address": "j@example.com", "nicknames": null, "phones/tel1": {"number": "1"}}),
    );
    let new = update(ObjectType::ContactCard, &kept.json, ("c1", &patch), &later).unwrap();
    assert_eq!(new.json["emails"]["e1"]["address"], "j@example.com");
    assert!(new.json.get("nicknames").is_none());
    assert_eq!(Value::Object(new.told), json!({"updated": "2023-11-15T22:13:20Z"}));
    let moved =
        change(ObjectType::ContactCard, &kept.json, json!({"addressBookIds": {"a2": true}}));
    assert_eq!(moved.unwrap().json["addressBookIds"], json!({"a2": true}));
    assert_eq!(change(ObjectType::ContactCard, &kept.json, json!({"uid": "other"})), bad(&["uid"]));
    let none = json!({"addressBookIds/a1": null});
    assert_eq!(change(ObjectType::ContactCard, &kept.json, none), bad(&["addressBookIds"]));
}

#[test]
fn what_is_no_card_is_refused_by_name() {
    for (name, value) in [
        ("addressBookIds", json!({"other": true})),
        ("addressBookIds", json!({"a1": false})),
        ("@type", json!("Group")),
        ("kind", json!(1)),
        ("created", json!("yesterday")),
        ("members", json!({"x": true})),
        ("name", json!({})),
        ("name", json!({"components": [{"kind": "given"}]})),
        ("emails", json!({"e1": {"address": 1}})),
        ("emails", json!({"e 1": {"address": "a@b"}})),
        ("emails", json!({"e1": {"address": "a@b", "pref": 101}})),
        ("emails", json!([])),
        ("phones", json!({"p": {"number": "1", "contexts": {"work": false}}})),
        ("media", json!({"m": {"kind": "photo"}})),
        ("organizations", json!({"o": {}})),
        ("addresses", json!({"a": {"components": 1}})),
        ("keywords", json!(["a"])),
        ("notes", Value::Null),
    ] {
        let mut card = joe();
        card[name] = value.clone();
        assert_eq!(make(ObjectType::ContactCard, card), bad(&[name]), "{name}: {value}");
    }
}

fn row(id: &str, created: u64) -> Object {
    Object {
        object_type: ObjectType::ContactCard,
        id: ObjectId::parse(id).unwrap(),
        modseq: ModSeq(1),
        created: UnixMs(created),
        updated: UnixMs(created),
        json: String::new(),
        body: None,
    }
}

fn finds(filter: Value) -> bool {
    holds(&super::filter(&filter).unwrap(), &map(joe()), &row("c1", 1_000_000))
}

#[test]
fn cards_are_found_by_what_rfc_9610_names() {
    for yes in [
        Value::Null,
        json!({}),
        json!({"inAddressBook": "a1"}),
        json!({"uid": "22B2C7DF-9120-4969-8460-05956FE6B065"}),
        json!({"kind": "individual"}),
        json!({"createdBefore": "1970-01-01T00:20:00Z", "createdAfter": "1970-01-01T00:16:40Z"}),
        json!({"text": "john MARKETING"}),
        json!({"text": "internet"}),
        json!({"text": "ÖLAND's"}),
        json!({"text": "\"main st\" springf"}),
        json!({"name": "stev"}),
        json!({"name/given": "john", "name/surname": "stevenson"}),
        json!({"nickname": "johnny"}),
        json!({"organization": "abc mark"}),
        json!({"email": "@xyz"}),
        json!({"phone": "+15555555555"}),
        json!({"onlineService": "alice"}),
        json!({"address": "springfield"}),
        json!({"note": "dialect"}),
        json!({"operator": "OR", "conditions": [{"uid": "no"}, {"text": "john"}]}),
        json!({"operator": "NOT", "conditions": [{"uid": "no"}]}),
    ] {
        assert!(finds(yes.clone()), "{yes}");
    }
    for no in [
        json!({"inAddressBook": "a2"}),
        json!({"kind": "group"}),
        json!({"hasMember": "x"}),
        json!({"name/given": "stevenson"}),
        json!({"name/given": "philip"}),
        json!({"text": "john nobody"}),
        json!({"text": "\"john stevenson\""}),
        json!({"email": "johnny"}),
        json!({"updatedAfter": "2020-01-01T00:00:00Z"}),
        json!({"operator": "AND", "conditions": [{"uid": "no"}, {"text": "john"}]}),
        json!({"operator": "NOT", "conditions": [{"text": "john"}]}),
    ] {
        assert!(!finds(no.clone()), "{no}");
    }
    let deep = (0..20).fold(json!({}), |f, _| json!({"operator": "AND", "conditions": [f]}));
    let many: Vec<_> = (0..200).map(|n| json!({"uid": n.to_string()})).collect();
    for (wrong, why) in [
        (json!({"color": "x"}), "unsupportedFilter"),
        (json!({"uid": 1}), "invalidArguments"),
        (json!({"createdBefore": "x"}), "invalidArguments"),
        (json!({"operator": "XOR", "conditions": []}), "invalidArguments"),
        (json!({"operator": "OR"}), "invalidArguments"),
        (json!([]), "invalidArguments"),
        (deep, "unsupportedFilter"),
        (json!({"operator": "OR", "conditions": many}), "unsupportedFilter"),
    ] {
        assert_eq!(filter(&wrong).unwrap_err().to_json()["type"], why, "{wrong}");
    }
}

#[test]
fn cards_are_sorted_by_name_and_date() {
    let card = |given: &str, surname: &str| {
        let parts =
            json!([{"kind": "given", "value": given}, {"kind": "surname", "value": surname}]);
        map(json!({"name": {"components": parts}}))
    };
    let cards = [
        (card("ada", "Zeta"), row("c1", 3)),
        (card("Bob", "alpha"), row("c2", 2)),
        (card("Ada", "alpha"), row("c3", 1)),
    ];
    let sorted = |sort: Value| {
        let by = Comparator::parse(&sort).unwrap();
        let mut all: Vec<_> = cards.iter().collect();
        all.sort_by(|a, b| Comparator::compare(&by, (&a.0, &a.1), (&b.0, &b.1)));
        all.into_iter().map(|(_, row)| row.id.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(sorted(Value::Null), ["c1", "c2", "c3"]);
    let by_name = json!([{"property": "name/surname"}, {"property": "name/given"}]);
    assert_eq!(sorted(by_name), ["c3", "c2", "c1"]);
    assert_eq!(sorted(json!([{"property": "created"}])), ["c3", "c2", "c1"]);
    assert_eq!(sorted(json!([{"property": "updated", "isAscending": false}])), ["c1", "c2", "c3"]);
    for (wrong, why) in [
        (json!([{"property": "color"}]), "unsupportedSort"),
        (json!([{"property": "created", "collation": "x"}]), "unsupportedSort"),
        (json!([{}]), "invalidArguments"),
        (json!({}), "invalidArguments"),
    ] {
        let refused = Comparator::parse(&wrong).unwrap_err();
        assert_eq!(refused.to_json()["type"], why, "{wrong}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z@./~\"]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let key = prop::sample::select(vec![
            "name",
            "email",
            "emails",
            "components",
            "kind",
            "value",
            "operator",
            "conditions",
            "text",
            "addressBookIds",
            "trustedSenders",
            "x/y",
            "replyTo",
            "AND",
            "id",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..5)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_taken_or_refused(given in any_json(), patch in any_json()) {
        let _filter = filter(&given);
        let _sort = Comparator::parse(&given);
        let (Some(given), Some(patch)) = (given.as_object(), patch.as_object()) else { return Ok(()) };
        for object_type in ObjectType::ALL {
            let kept = match create(object_type, given, &context()) {
                Ok(kept) => kept.json,
                Err(_) => defaults(object_type),
            };
            if let Ok(new) = update(object_type, &kept, ("x1", patch), &context()) {
                // What is kept is in order: a patch of nothing changes nothing.
                let again = update(object_type, &new.json, ("x1", &Map::new()), &context()).unwrap();
                prop_assert_eq!(again.json, new.json);
            }
        }
    }
}
