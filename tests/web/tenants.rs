//! Administrators of tenants: what they may, and that another tenant's does not exist for them.

use super::browser::Browser;
use crate::smtp::appliance::{ALICE, Appliance, BOB, PASSWORD};
use serde_json::{Value, json};

const EVE: &str = "eve@there.example";

fn sign_in<'a>(appliance: &'a Appliance, who: &str) -> Browser<'a> {
    let browser = Browser::at(appliance, appliance.https, who);
    let credentials = json!({"name": who, "password": PASSWORD});
    assert_eq!(browser.ask("POST", "/api/session", &credentials).0, 200);
    browser
}

fn ask(browser: &Browser<'_>, cmd: &str, args: &Value) -> (u16, Value) {
    browser.ask("POST", "/api/admin/ask", &json!({"cmd": cmd, "args": args}))
}

fn two_tenants() -> Appliance {
    let appliance = Appliance::start();
    appliance.tell(&["tenant", "create", "other"], "");
    appliance.tell(&["domain", "add", "other", "there.example"], "");
    appliance.tell(&["account", "create", EVE], "");
    appliance.tell(&["credential", "password", EVE], PASSWORD);
    appliance.tell(&["alias", "add", "info@there.example", EVE], "");
    appliance.tell(&["account", "administrator", BOB, "--on"], "");
    appliance
}

#[test]
fn an_administrator_sees_to_the_people_of_the_tenant() {
    let appliance = two_tenants();
    let bob = sign_in(&appliance, BOB);
    assert_eq!(bob.ask("GET", "/api/session", &Value::Null).1["administrator"], true);
    let carl = "carl@here.example";
    let done = (200, json!({"ok": "done"}));
    assert_eq!(ask(&bob, "account-create", &json!({"name": carl})), done);
    let password = json!({"account": carl, "password": PASSWORD});
    assert_eq!(ask(&bob, "credential-password", &password), done);
    let alias = json!({"alias": "post@here.example", "account": carl});
    assert_eq!(ask(&bob, "alias-add", &alias), done);
    let carls = sign_in(&appliance, carl);
    assert_eq!(ask(&carls, "account-list", &json!({})).0, 403);
    assert_eq!(ask(&bob, "account-administrator", &json!({"account": carl, "on": true})), done);
    let (code, list) = ask(&carls, "account-list", &json!({}));
    let rights: Vec<_> =
        list["ok"]["accounts"].as_array().unwrap().iter().map(|a| &a["administrator"]).collect();
    assert_eq!((code, rights), (200, vec![&json!(true), &json!(false), &json!(true)]), "{list}");
    // Nobody saws off the branch they sit on, whatever they call it.
    for (cmd, args) in [
        ("account-remove", json!({"name": carl})),
        ("account-remove", json!({"name": "Post@here.example"})),
        ("account-administrator", json!({"account": carl, "on": false})),
    ] {
        let (code, said) = ask(&carls, cmd, &args);
        assert_eq!((code, said["error"]["what"].is_string()), (200, true), "{cmd}");
    }
    assert_eq!(ask(&bob, "account-administrator", &json!({"account": carl, "on": false})), done);
    assert_eq!(ask(&carls, "account-list", &json!({})).0, 403);
    assert_eq!(ask(&bob, "account-remove", &json!({"name": carl})), done);
    for cmd in ["status", "tenant-list", "operator-list", "queue-list", "handover", "branches"] {
        let (code, said) = bob.ask("POST", "/api/admin/ask", &json!({"cmd": cmd}));
        assert_eq!((code, &said["error"]), (403, &json!("not-allowed")), "{cmd}");
    }
    // The appliance's own commands are not the tenant's to read.
    let (_, audit) = ask(&bob, "audit", &json!({}));
    let audit = audit["ok"]["audit"].as_array().unwrap();
    assert!(
        audit.iter().all(|line| line["by"] == format!("administrator {BOB}")
            || line["by"] == format!("administrator {carl}")),
        "{audit:?}"
    );
    assert_eq!(audit[0]["command"], "account-remove");
}

/// Word for word the same answer, but for the name.
#[test]
fn what_is_another_tenants_does_not_exist() {
    let appliance = two_tenants();
    let bob = sign_in(&appliance, BOB);
    let (theirs, nobodys) = ("there.example", "nowhere.example");
    for cmd in ["domain-list", "account-list", "alias-list"] {
        let (code, said) = ask(&bob, cmd, &json!({}));
        assert_eq!((code, said.to_string().contains(theirs)), (200, false), "{said}");
        let other = ask(&bob, cmd, &json!({"tenant": "other"}));
        let none = ask(&bob, cmd, &json!({"tenant": "nones"}));
        assert_eq!(other.1.to_string().replace("other", "nones"), none.1.to_string());
    }
    for (cmd, args) in [
        ("account-create", json!({"name": "new@D"})),
        ("account-create", json!({"name": "eve@D"})),
        ("account-remove", json!({"name": "eve@D"})),
        ("account-remove", json!({"name": "info@D"})),
        ("account-administrator", json!({"account": "eve@D", "on": true})),
        ("alias-add", json!({"alias": "new@D", "account": BOB})),
        ("alias-add", json!({"alias": "info@D", "account": BOB})),
        ("alias-add", json!({"alias": "new@here.example", "account": "eve@D"})),
        ("alias-remove", json!({"name": "info@D"})),
        ("alias-remove", json!({"name": "none@D"})),
        ("credential-list", json!({"name": "eve@D"})),
        ("credential-list", json!({"name": "postmaster@D"})),
        ("credential-password", json!({"account": "eve@D", "password": "a password of mine"})),
        ("credential-app-password", json!({"account": "eve@D", "label": "x"})),
        ("credential-revoke", json!({"account": "eve@D", "id": 0})),
        ("credential-totp-reset", json!({"name": "eve@D"})),
    ] {
        let to = |domain: &str| {
            let args = serde_json::from_str(&args.to_string().replace('D', domain)).unwrap();
            ask(&bob, cmd, &args)
        };
        let (other, none) = (to(theirs), to(nobodys));
        assert!(other.1["error"].is_object(), "{cmd}: {other:?}");
        assert_eq!(other.0, none.0, "{cmd}");
        assert_eq!(other.1.to_string().replace(theirs, nobodys), none.1.to_string(), "{cmd}");
    }
    // And Eve still has all of hers.
    let eve = sign_in(&appliance, EVE);
    assert_eq!(eve.ask("GET", "/api/session", &Value::Null).1["administrator"], false);
    // A password alone opens none of it, and a session without the right neither.
    assert_eq!(ask(&eve, "account-list", &json!({})).0, 403);
    let anybody = Browser::at(&appliance, appliance.https, "anybody");
    let basic = [
        "-u",
        &format!("{BOB}:{PASSWORD}"),
        "-H",
        "X-Understudy: 1",
        "-H",
        "Content-Type: application/json",
    ];
    let list = json!({"cmd": "account-list", "args": {}}).to_string();
    assert_eq!(anybody.send("POST", "/api/admin/ask", list.as_bytes(), &basic).0, 401);
    let _alice = sign_in(&appliance, ALICE);
}
