//! The understudy.toml that a site file makes, with `[settings]` merged in.
//!
//! Invariants: what site.toml says elsewhere cannot be said a second time in `[settings]`; the result
//! has passed the checks of `config`, whose findings are told with the line of the site file.

use super::Site;
use super::files::Layout;
use super::keys::SETTINGS;
use super::reader::Reader;
use crate::config::{self, ConfigError, Problem};
use std::net::{IpAddr, SocketAddr};
use toml::{Table, Value};

/// Where the mail lies.
const DATA_DIR: &str = "/data/understudy";
/// Where the two appliances talk to each other.
const PAIR_PORT: u16 = 7400;
/// Health and metrics.
const METRICS_PORT: u16 = 9100;
/// The operators' console.
const CONSOLE_PORT: u16 = 9443;
/// IPv4 and IPv6 groups with the same word move as one.
const SYNC: &str = "floating";

const HEAD: &str = "# Made from site.toml at each start: change it there.\n\n";

/// The text of understudy.toml. Where something was wrong before, only `[settings]` are checked.
pub(super) fn understudy_toml(r: &mut Reader<'_>, site: &Site, text: &str) -> String {
    let settings = settings(text);
    let mut table = if r.is_right() { generated(site) } else { any() };
    merge(r, &mut table, settings, &mut vec![SETTINGS.to_owned()]);
    let made = toml::to_string(&table).unwrap_or_default();
    match config::parse(&made) {
        Ok(_) => {}
        Err(ConfigError::Invalid { problems, .. }) => {
            for problem in problems {
                say(r, &made, &problem);
            }
        }
        Err(other) => r.error(r.line(SETTINGS, ""), other.to_string(), other.to_string()),
    }
    format!("{HEAD}{made}")
}

/// `[settings]`; the file as a whole has been parsed before.
fn settings(text: &str) -> Table {
    let file: Table = toml::from_str(text).unwrap_or_default();
    file.get(SETTINGS).and_then(Value::as_table).cloned().unwrap_or_default()
}

/// A file that is right, so that the settings alone are judged.
fn any() -> Table {
    Table::from_iter([("hostname".to_owned(), "mx.example.net".into())])
}

fn generated(site: &Site) -> Table {
    let layout = Layout::of(site);
    let mut table = Table::new();
    table.insert("data_dir".to_owned(), DATA_DIR.into());
    table.insert("hostname".to_owned(), site.hostname.clone().into());
    let floating = site.floating.as_ref().map_or(&[][..], |f| &f.addresses);
    let listen = if floating.is_empty() { &site.service.addresses[..] } else { floating };
    let addresses = listen.iter().map(|a| a.address.to_string()).collect();
    table.insert("listen".to_owned(), section([("addresses", texts(addresses))]));
    let management = site.management.network.as_ref().unwrap_or(&site.service);
    if let Some(own) = management.addresses.first() {
        let address = SocketAddr::new(own.address, METRICS_PORT).to_string();
        table.insert("management".to_owned(), section([("address", address.into())]));
    }
    let console = management.addresses.iter();
    let console = console.map(|a| SocketAddr::new(a.address, CONSOLE_PORT).to_string()).collect();
    table.insert("console".to_owned(), section([("address", texts(console))]));
    if let Some(pair) = &site.pair {
        let at = |ip: IpAddr| SocketAddr::new(ip, PAIR_PORT).to_string();
        let own = pair.paths.iter().map(|(own, _)| at(*own)).collect();
        let peer = pair.paths.iter().map(|(_, peer)| at(*peer)).collect();
        let mut pair =
            Table::from_iter([("listen".to_owned(), texts(own)), ("peer".to_owned(), texts(peer))]);
        if let Some(witness) = &site.witness {
            let address = witness.address.to_string();
            let witness =
                section([("address", address.into()), ("pin", witness.pin.clone().into())]);
            pair.insert("witness".to_owned(), witness);
        }
        table.insert("pair".to_owned(), pair.into());
    }
    if let Some(floating) = &site.floating {
        let of = |ipv6: bool| {
            let of_family = floating.addresses.iter().filter(move |a| a.address.is_ipv6() == ipv6);
            of_family.map(|a| format!("{}/{}", a.address, a.prefix)).collect::<Vec<_>>()
        };
        let both = !of(false).is_empty() && !of(true).is_empty();
        let groups = [of(false), of(true)].into_iter().filter(|group| !group.is_empty());
        let groups = groups.map(|group| {
            let mut router = Table::from_iter([
                ("interface".to_owned(), layout.service().into()),
                ("vrid".to_owned(), i64::from(floating.vrid).into()),
                ("address".to_owned(), texts(group)),
            ]);
            if both {
                router.insert("sync".to_owned(), SYNC.into());
            }
            Value::Table(router)
        });
        table.insert("vrrp".to_owned(), Value::Array(groups.collect()));
    }
    table
}

fn section<const N: usize>(keys: [(&str, Value); N]) -> Value {
    Value::Table(keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn texts(texts: Vec<String>) -> Value {
    Value::Array(texts.into_iter().map(Value::String).collect())
}

/// Puts `more` into `table`; lists of sections grow, nothing is said twice. `path` is where `more`
/// stands in the site file.
fn merge(r: &mut Reader<'_>, table: &mut Table, more: Table, path: &mut Vec<String>) {
    for (key, value) in more {
        path.push(key.clone());
        match (table.get_mut(&key), value) {
            (None, value) => {
                table.insert(key, value);
            }
            (Some(Value::Table(inner)), Value::Table(value)) => merge(r, inner, value, path),
            (Some(Value::Array(items)), Value::Array(value))
                if items.iter().chain(&value).all(Value::is_table) =>
            {
                items.extend(value);
            }
            (Some(_), _) => {
                let shown = path.join(".");
                r.error(
                    r.line_of_path(path),
                    format!(
                        "`{shown}` is made from the rest of this file: take it out of [settings]"
                    ),
                    format!(
                        "`{shown}` entsteht aus dem Rest dieser Datei: aus [settings] herausnehmen"
                    ),
                );
            }
        }
        path.pop();
    }
}

/// Tells a problem of the made file with the line of the site file that it came from.
fn say(r: &mut Reader<'_>, made: &str, problem: &Problem) {
    let mut path = vec![SETTINGS.to_owned()];
    if let Some((line, _)) = problem.place {
        path.extend(path_of(made, line));
    }
    let (line, text) = (r.line_of_path(&path), &problem.text);
    r.error(line, format!("in [settings]: {text}"), format!("in [settings]: {text}"));
}

/// The sections and the key that a line of the made file belongs to.
fn path_of(made: &str, line: usize) -> Vec<String> {
    let mut path = Vec::new();
    for (at, text) in made.lines().enumerate().take(line) {
        if let Some(header) = text.strip_prefix('[') {
            let header = header.trim_matches(['[', ']']);
            path = header.split('.').map(str::to_owned).collect();
        } else if at + 1 == line
            && let Some((key, _)) = text.split_once(" =")
        {
            path.push(key.to_owned());
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_traced_back() {
        let made = "a = 1\n\n[pair]\nlisten = []\n\n[pair.witness]\npin = \"\"\n";
        assert_eq!(path_of(made, 1), ["a"]);
        assert_eq!(path_of(made, 4), ["pair", "listen"]);
        assert_eq!(path_of(made, 6), ["pair", "witness"]);
        assert_eq!(path_of(made, 7), ["pair", "witness", "pin"]);
    }
}
