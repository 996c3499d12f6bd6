//! Writes site files from a few answers: both of a pair, or the one of an appliance alone.
//!
//! Invariants: what is written passes [`super::read`], and the two of a pair [`super::agree`]; their
//! secret and codes are made here.

use super::code::new_code;
use super::keys::doc;
use super::{SiteError, agree, read};
use crate::base::secret::Secret;
use crate::config::{Cidr, PairSecret};
use crate::ops::status::Language;

/// The answers.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of the files and of the appliances.
    pub language: Language,
    /// The name of the mail service.
    pub hostname: String,
    /// One appliance, or the two of a pair.
    pub nodes: Vec<PlanNode>,
    /// VLAN of the service network.
    pub vlan: Option<u16>,
    /// Routers.
    pub gateway: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Pair: floating addresses.
    pub floating: Vec<String>,
    /// Pair: virtual router id.
    pub vrid: u16,
    /// SSH keys.
    pub authorized_keys: Vec<String>,
    /// Time servers.
    pub ntp: Vec<String>,
}

/// What is one appliance's own.
#[derive(Clone, Debug)]
pub struct PlanNode {
    /// Its name.
    pub name: String,
    /// Cards of the service network; more than one are a bond.
    pub cards: Vec<String>,
    /// Own addresses there, with prefix length.
    pub address: Vec<String>,
    /// Card and own address of the cross-link.
    pub crosslink: Option<(String, String)>,
}

/// A file that was made.
#[derive(Clone, Debug)]
pub struct Written {
    /// The appliance's name.
    pub name: String,
    /// Content; a secret, as it holds the recovery code and the pair's secret.
    pub text: Secret<String>,
    /// To be shown once.
    pub recovery_code: Secret<String>,
}

/// Makes the files.
///
/// # Errors
/// What is wrong with the answers, in the words of a site file.
pub fn make(plan: &Plan) -> Result<Vec<Written>, Vec<SiteError>> {
    let secret = PairSecret::random();
    let mut made = Vec::new();
    let mut sites = Vec::new();
    for (at, node) in plan.nodes.iter().enumerate() {
        let code = new_code();
        let text = Secret::new(text(plan, at, node, &secret, &code));
        sites.push(read(text.expose().as_bytes())?);
        made.push(Written { name: node.name.clone(), text, recovery_code: code });
    }
    if let [a, b] = sites.as_slice() {
        let differing = agree(a, b);
        if !differing.is_empty() {
            return Err(differing);
        }
    }
    Ok(made)
}

fn text(
    plan: &Plan,
    at: usize,
    node: &PlanNode,
    secret: &PairSecret,
    code: &Secret<String>,
) -> String {
    let mut file = File { language: plan.language, text: String::new() };
    file.text.push_str(match plan.language {
        Language::En => "# Made by `understudy site-config make`; `understudy site-config example` shows all keys.\n",
        Language::De => "# Von `understudy site-config make`; `understudy site-config example` zeigt alle Namen.\n",
    });
    let language = if plan.language == Language::De { "de" } else { "en" };
    file.key("", "name", &quoted(&node.name));
    file.key("", "language", &quoted(language));
    file.key("", "hostname", &quoted(&plan.hostname));
    file.key("", "recovery_code", &quoted(code.expose()));
    file.section("service");
    match node.cards.as_slice() {
        [one] => file.key("service", "interface", &quoted(one)),
        cards => file.key("service", "bond", &list(cards)),
    }
    if let Some(vlan) = plan.vlan {
        file.key("service", "vlan", &vlan.to_string());
    }
    file.key("service", "address", &list(&node.address));
    file.key("service", "gateway", &list(&plan.gateway));
    file.key("service", "dns", &list(&plan.dns));
    if let Some((card, address)) = &node.crosslink {
        file.section("crosslink");
        file.key("crosslink", "interface", &quoted(card));
        file.key("crosslink", "address", &list(std::slice::from_ref(address)));
    }
    if let Some(other) = plan.nodes.iter().enumerate().find(|(i, _)| *i != at).map(|(_, n)| n) {
        file.section("floating");
        file.key("floating", "address", &list(&plan.floating));
        file.key("floating", "vrid", &plan.vrid.to_string());
        file.section("pair");
        file.key("pair", "node", &quoted(if at == 0 { "a" } else { "b" }));
        let crosslink = other.crosslink.iter().map(|(_, address)| address);
        let peer: Vec<String> = crosslink.chain(&other.address).map(|a| bare(a)).collect();
        file.key("pair", "peer", &list(&peer));
        file.key("pair", "secret", &quoted(&secret.to_string()));
    }
    if !plan.authorized_keys.is_empty() {
        file.section("ssh");
        file.key("ssh", "authorized_keys", &list(&plan.authorized_keys));
    }
    if !plan.ntp.is_empty() {
        file.section("ntp");
        file.key("ntp", "servers", &list(&plan.ntp));
    }
    file.text
}

struct File {
    language: Language,
    text: String,
}

impl File {
    fn section(&mut self, name: &str) {
        self.text.push_str(&format!("\n[{name}]\n"));
    }

    fn key(&mut self, section: &str, key: &str, value: &str) {
        if value == "[]" {
            return;
        }
        if section.is_empty() {
            self.text.push('\n');
        }
        for line in doc(section, key, self.language).lines() {
            self.text.push_str(&format!("# {line}\n"));
        }
        self.text.push_str(&format!("{key} = {value}\n"));
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(texts: &[String]) -> String {
    toml::Value::from(texts.to_vec()).to_string()
}

/// An address without its prefix length.
fn bare(address: &str) -> String {
    Cidr::parse(address).map_or_else(|| address.to_owned(), |cidr| cidr.address.to_string())
}
