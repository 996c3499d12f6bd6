//! `site.toml`: the one file by which staff tell a flashed appliance what it is.
//!
//! ```text
//! bytes ─ text ─► reader ─► networks, pair, settings ─► Site ─► files() ─► /run, /etc
//!         (BOM, CRLF, UTF-16)   (all errors, with lines)      └► applied() ─► /data/appliance
//! ```
//!
//! Invariants: a [`Site`] is right as a whole, and the understudy.toml that it makes passes that file's
//! own checks; no code of recovery is in it in clear. Pure but for the salt of that hash. Absent on
//! purpose: whether cards, disks and servers exist, which the machine finds out at its start.

mod agree;
mod code;
mod files;
mod keys;
mod make;
mod network;
mod pair;
mod reach;
mod reader;
mod settings;
mod text;

#[cfg(test)]
mod tests;

pub use agree::agree;
pub use code::{code_fits, new_code};
pub use files::{INVITATION_PATH, Invitation, Owner, SystemFile};
pub use keys::example;
pub use make::{Plan, PlanNode, Written, make};
pub use network::{Management, Network, Nic, Port};
pub use pair::{Floating, Invite, Node, Pair, Witness};

use crate::config::is_domain;
use crate::ops::status::Language;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reader::{Reader, shorten, title};
use std::fmt;

/// Longest site file, in bytes.
pub const FILE_LEN_MAX: usize = 256 * 1024;
/// Most keys of people who may log in, and most time servers.
const LINES_MAX: usize = 64;

/// How long a changed network is tried, in minutes: a start takes some of them, and people walk.
const TRIAL_LEAST: u16 = 3;
const TRIAL_DEFAULT: u16 = 10;
const TRIAL_MOST: u16 = 240;

/// What an appliance is, by its site file.
#[derive(Clone, Debug)]
pub struct Site {
    /// The appliance's own name: one label.
    pub name: String,
    /// Of screen and messages.
    pub language: Language,
    /// The name of the mail service, the same on both appliances of a pair.
    pub hostname: String,
    /// Argon2 hash of the code that opens the recovery menu, see [`code_fits`]; `None`: no menu.
    pub recovery_code_hash: Option<String>,
    /// Where mail is used.
    pub service: Network,
    /// The cable to the other appliance.
    pub crosslink: Option<Network>,
    /// Who may reach SSH, metrics and console, and where.
    pub management: Management,
    /// The pair's addresses; there whenever `pair` is.
    pub floating: Option<Floating>,
    /// The other appliance; `None` for an appliance alone.
    pub pair: Option<Pair>,
    /// The pair's third vote.
    pub witness: Option<Witness>,
    /// Where the mail lies.
    pub disk: DiskChoice,
    /// SSH keys of those who may log in, one line each.
    pub authorized_keys: Vec<String>,
    /// Time servers; empty: those of the image.
    pub ntp: Vec<String>,
    /// Minutes within which a changed network must be confirmed once it is in force.
    pub trial_minutes: u16,
    /// The understudy.toml that all of this makes; checked.
    pub understudy_toml: String,
    applied: String,
}

/// Where the mail lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskChoice {
    /// How it is encrypted when it is set up.
    pub encryption: Encryption,
    /// Two whole disks that hold the same; or none.
    pub mirror: Vec<String>,
    /// One other whole disk.
    pub device: Option<String>,
}

/// How the data disk is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// By TPM where there is one, else by key file.
    #[default]
    Auto,
    /// By TPM.
    Tpm2,
    /// By a file on the boot disk.
    KeyFile,
    /// By a passphrase, asked at every start.
    Passphrase,
    /// Not.
    None,
}

/// Something that is wrong in a site file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteError {
    /// Where, from 1; `None` where the file lacks something as a whole.
    pub line: Option<usize>,
    /// The language that the file asks for; English if that cannot be known.
    pub language: Language,
    en: String,
    de: String,
}

impl SiteError {
    /// What is wrong and what to do, with the line.
    #[must_use]
    pub fn words(&self, language: Language) -> String {
        match (language, self.line) {
            (Language::En, Some(line)) => format!("line {line}: {}", self.en),
            (Language::En, None) => self.en.clone(),
            (Language::De, Some(line)) => format!("Zeile {line}: {}", self.de),
            (Language::De, None) => self.de.clone(),
        }
    }
}

/// In the language of the file.
impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words(self.language))
    }
}

/// Reads a site file as any editor may have saved it. A recovery code in clear is hashed, which takes
/// tens of milliseconds.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn read(bytes: &[u8]) -> Result<Site, Vec<SiteError>> {
    if bytes.len() > FILE_LEN_MAX {
        return Err(vec![SiteError {
            line: None,
            language: Language::En,
            en: format!("the file is longer than {FILE_LEN_MAX} bytes: it is no site.toml"),
            de: format!("die Datei ist länger als {FILE_LEN_MAX} Bytes: das ist keine site.toml"),
        }]);
    }
    let text = text::decode(bytes);
    let mut r = Reader::new(&text);
    if !r.is_right() {
        return Err(r.into_errors());
    }
    let name = name(&mut r);
    let hostname = hostname(&mut r);
    let language = language(&mut r);
    let code = recovery_code(&mut r);
    let service = network::service(&mut r);
    let crosslink = network::crosslink(&mut r);
    let management = network::management(&mut r, &service);
    let floating = pair::floating(&mut r, &service);
    let pair = pair::pair(&mut r, &service, crosslink.as_ref());
    let witness = pair::witness(&mut r);
    let mut site = Site {
        name,
        language,
        hostname,
        recovery_code_hash: None,
        service,
        crosslink,
        management,
        floating,
        pair,
        witness,
        disk: disk(&mut r),
        authorized_keys: authorized_keys(&mut r),
        ntp: ntp(&mut r),
        trial_minutes: trial_minutes(&mut r),
        understudy_toml: String::new(),
        applied: String::new(),
    };
    network::distinct(&mut r, &site);
    pair::distinct(&mut r, &site);
    site.understudy_toml = settings::understudy_toml(&mut r, &site, &text);
    if !r.is_right() {
        return Err(r.into_errors());
    }
    let span = r.span("recovery_code");
    if let Some(code) = code {
        site.recovery_code_hash = code::hashed(&mut r, &code);
    }
    site.applied = code::without(&text, span, site.recovery_code_hash.as_deref());
    if r.is_right() { Ok(site) } else { Err(r.into_errors()) }
}

impl Site {
    /// The file as it is kept and put back in its place: the same text, with the hash of the recovery
    /// code instead of the code. Reading it gives the same site.
    #[must_use]
    pub fn applied(&self) -> String {
        self.applied.clone()
    }
}

fn name(r: &mut Reader<'_>) -> String {
    let Some(name) = r.needed("", "name") else { return String::new() };
    let label = is_domain(&name.value) && !name.value.contains('.');
    if !label {
        let shown = shorten(&name.value);
        r.error(
            name.line,
            format!("`name` is \"{shown}\": letters, digits and - only, as in \"mail-a\""),
            format!("`name` ist \"{shown}\": nur Buchstaben, Ziffern und -, etwa \"mail-a\""),
        );
    }
    name.value.to_ascii_lowercase()
}

fn hostname(r: &mut Reader<'_>) -> String {
    let Some(name) = r.needed("", "hostname") else { return String::new() };
    if !is_domain(&name.value) || !name.value.contains('.') {
        let shown = shorten(&name.value);
        r.error(
            name.line,
            format!("`hostname` is \"{shown}\": write a full name, as in \"mx.example.net\""),
            format!(
                "`hostname` ist \"{shown}\": richtig ist ein voller Name, etwa \"mx.example.net\""
            ),
        );
    }
    name.value.to_ascii_lowercase()
}

fn language(r: &mut Reader<'_>) -> Language {
    let Some(said) = r.text("", "language") else { return r.language() };
    match said.value.as_str() {
        "en" => Language::En,
        "de" => Language::De,
        other => {
            let shown = shorten(other);
            r.error(
                said.line,
                format!("`language` is \"{shown}\": it must be \"en\" or \"de\""),
                format!("`language` ist \"{shown}\": richtig ist \"en\" oder \"de\""),
            );
            Language::En
        }
    }
}

fn recovery_code(r: &mut Reader<'_>) -> Option<reader::At<String>> {
    let code = r.text("", "recovery_code")?;
    if let Some((en, de)) = code::fault(&code.value) {
        r.error(code.line, en, de);
    }
    Some(code)
}

fn trial_minutes(r: &mut Reader<'_>) -> u16 {
    r.number("", "trial_minutes", TRIAL_LEAST, TRIAL_MOST).unwrap_or(TRIAL_DEFAULT)
}

fn disk(r: &mut Reader<'_>) -> DiskChoice {
    let encryption = r.text("disk", "encryption").map(|said| match said.value.as_str() {
        "auto" => Encryption::Auto,
        "tpm2" => Encryption::Tpm2,
        "key-file" => Encryption::KeyFile,
        "passphrase" => Encryption::Passphrase,
        "none" => Encryption::None,
        other => {
            let (shown, all) = (shorten(other), "\"auto\", \"tpm2\", \"key-file\", \"passphrase\"");
            r.error(
                said.line,
                format!("[disk] `encryption` is \"{shown}\": it must be {all} or \"none\""),
                format!("[disk] `encryption` ist \"{shown}\": richtig ist {all} oder \"none\""),
            );
            Encryption::Auto
        }
    });
    let device = r.text("disk", "device");
    let mirror = r.texts("disk", "mirror");
    for (key, disk) in
        device.iter().map(|d| ("device", d)).chain(mirror.iter().map(|d| ("mirror", d)))
    {
        let path = disk.value.strip_prefix("/dev/").unwrap_or_default();
        if path.is_empty() || path.split('/').any(|p| p == "..") || path.contains(char::is_control)
        {
            let (title, shown) = (title("disk", key), shorten(&disk.value));
            r.error(
                disk.line,
                format!("{title} has \"{shown}\": write a whole disk, as in \"/dev/disk/by-id/nvme-...\""),
                format!("{title} hat \"{shown}\": richtig ist eine ganze Platte, etwa \"/dev/disk/by-id/nvme-...\""),
            );
        }
    }
    let twice = mirror.first().map(|d| &d.value) == mirror.get(1).map(|d| &d.value);
    if !r.is_absent("disk", "mirror") && (mirror.len() != 2 || twice) {
        r.error(
            r.line("disk", "mirror"),
            "[disk] `mirror` must name two different disks",
            "[disk] `mirror` muss zwei verschiedene Platten nennen",
        );
    }
    if device.is_some() && !mirror.is_empty() {
        r.error(
            r.line("disk", "device"),
            "[disk] has `device` and `mirror`: keep one of them",
            "[disk] hat `device` und `mirror`: nur eines davon behalten",
        );
    }
    DiskChoice {
        encryption: encryption.unwrap_or_default(),
        mirror: mirror.into_iter().map(|d| d.value).collect(),
        device: device.map(|d| d.value),
    }
}

fn authorized_keys(r: &mut Reader<'_>) -> Vec<String> {
    let keys = r.texts("ssh", "authorized_keys");
    for key in &keys {
        if !is_ssh_key(&key.value) {
            let shown = shorten(&key.value);
            r.error(
                key.line,
                format!(
                    "[ssh] `authorized_keys` has \"{shown}\", which is no public key: copy the one \
                     line of a .pub file, as in \"ssh-ed25519 AAAA... anna@office\""
                ),
                format!(
                    "[ssh] `authorized_keys` hat \"{shown}\", das ist kein öffentlicher Schlüssel: \
                     die eine Zeile einer .pub-Datei einsetzen, etwa \"ssh-ed25519 AAAA... anna@buero\""
                ),
            );
        }
    }
    at_most(r, "ssh", "authorized_keys", keys.len());
    keys.into_iter().map(|k| k.value.trim().to_owned()).collect()
}

/// RFC 4253 6.6: the key begins with the name of its kind, as the line does. No options before it.
fn is_ssh_key(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (Some(kind), Some(key)) = (words.next(), words.next()) else { return false };
    let known = kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
    let Ok(key) = STANDARD.decode(key) else { return false };
    let Some((len, rest)) = key.split_first_chunk::<4>() else { return false };
    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
    known && rest.get(..len) == Some(kind.as_bytes()) && !line.contains(char::is_control)
}

fn ntp(r: &mut Reader<'_>) -> Vec<String> {
    let servers = r.texts("ntp", "servers");
    for server in &servers {
        if !is_domain(&server.value) && server.value.parse::<std::net::IpAddr>().is_err() {
            let shown = shorten(&server.value);
            r.error(
                server.line,
                format!("[ntp] `servers` has \"{shown}\": write a name or an address"),
                format!("[ntp] `servers` hat \"{shown}\": richtig ist ein Name oder eine Adresse"),
            );
        }
    }
    at_most(r, "ntp", "servers", servers.len());
    servers.into_iter().map(|s| s.value).collect()
}

fn at_most(r: &mut Reader<'_>, section: &str, key: &str, count: usize) {
    if count > LINES_MAX {
        let shown = title(section, key);
        r.error(
            r.line(section, key),
            format!("{shown} names {count}: at most {LINES_MAX}"),
            format!("{shown} nennt {count}: höchstens {LINES_MAX}"),
        );
    }
}
