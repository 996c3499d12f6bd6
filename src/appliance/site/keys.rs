//! What may be written in `site.toml`, key by key, in both languages, and the example made of it.
//!
//! Invariants: the reader, the check for unknown keys and the example know the same keys, because
//! this is the only list. A test compares the committed examples (`BLESS=1` rewrites them).

use crate::ops::status::Language;

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text in quotes.
    Text,
    /// A list of texts; one alone may do without brackets.
    Texts,
    /// A whole number.
    Number,
}

/// A key.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// How the example shows it.
    pub(super) example: &'static str,
    /// Whether the example shows it as a comment.
    optional: bool,
    en: &'static str,
    de: &'static str,
}

/// A section; the first has no name.
pub(super) struct Section {
    pub(super) name: &'static str,
    /// Whether the example shows it as a comment.
    optional: bool,
    en: &'static str,
    de: &'static str,
    pub(super) keys: &'static [Key],
}

/// The section of further settings, whose keys are those of understudy.toml.
pub(super) const SETTINGS: &str = "settings";

macro_rules! key {
    ($name:literal $kind:ident $example:literal, $en:literal, $de:literal) => {
        Key { name: $name, kind: Kind::$kind, example: $example, optional: false, en: $en, de: $de }
    };
    (optional $name:literal $kind:ident $example:literal, $en:literal, $de:literal) => {
        Key { name: $name, kind: Kind::$kind, example: $example, optional: true, en: $en, de: $de }
    };
}

/// All of the file.
pub(super) const SECTIONS: &[Section] = &[
    Section { name: "", optional: false, en: "", de: "", keys: TOP },
    Section {
        name: "service",
        optional: false,
        en: "The network in which people use their mail.",
        de: "Das Netz, in dem die Leute ihre Mail benutzen.",
        keys: SERVICE,
    },
    Section {
        name: "crosslink",
        optional: false,
        en: "Pair: the cable from one appliance to the other. Without one, leave the section out.",
        de: "Paar: das Kabel von einem Gerät zum anderen. Ohne Kabel den Abschnitt weglassen.",
        keys: CROSSLINK,
    },
    Section {
        name: "floating",
        optional: false,
        en: "Pair: the addresses that people and other mail systems use. The same on both.",
        de: "Paar: die Adressen, die Leute und andere Mailsysteme benutzen. Auf beiden gleich.",
        keys: FLOATING,
    },
    Section {
        name: "pair",
        optional: false,
        en: "The other appliance. Without one, leave out [pair], [floating] and [crosslink].",
        de: "Das andere Gerät. Ohne es [pair], [floating] und [crosslink] weglassen.",
        keys: PAIR,
    },
    Section {
        name: "management",
        optional: true,
        en: "Who may reach SSH (22), health and metrics (9100) and the web console (9443), and where.\n\
             Without this section: the networks of [service], on its addresses.",
        de: "Wer SSH (22), Zustand und Messwerte (9100) und die Weboberfläche (9443) erreicht, und wo.\n\
             Ohne diesen Abschnitt: die Netze von [service], auf deren Adressen.",
        keys: MANAGEMENT,
    },
    Section {
        name: "witness",
        optional: true,
        en: "A third machine that decides who serves when the two cannot hear each other.",
        de: "Eine dritte Maschine, die entscheidet, wer dient, wenn die beiden sich nicht hören.",
        keys: WITNESS,
    },
    Section {
        name: "disk",
        optional: true,
        en: "The disk with the mail. Without this section: the rest of the disk that was flashed.",
        de: "Die Platte mit der Mail. Ohne diesen Abschnitt: der Rest der bespielten Platte.",
        keys: DISK,
    },
    Section {
        name: "ssh",
        optional: true,
        en: "Without this section nobody can log in.",
        de: "Ohne diesen Abschnitt kann sich niemand anmelden.",
        keys: SSH,
    },
    Section {
        name: "ntp",
        optional: true,
        en: "Where the time comes from. Without this section the machine's own clock is all there is.",
        de: "Woher die Zeit kommt. Ohne diesen Abschnitt gilt allein die Uhr der Maschine.",
        keys: NTP,
    },
    Section {
        name: SETTINGS,
        optional: true,
        en: "Further settings, as `understudy config example` shows them: [smtp] is [settings.smtp] here.",
        de: "Weitere Einstellungen, wie `understudy config example` sie zeigt: [smtp] heißt hier\n\
             [settings.smtp].",
        keys: &[],
    },
];

const TOP: &[Key] = &[
    key!("name" Text "\"mail-a\"",
        "The name of this appliance; each has its own.",
        "Der Name dieses Geräts; jedes hat seinen eigenen."),
    key!("language" Text "\"en\"",
        "The language of screen and messages: \"en\" or \"de\".",
        "Die Sprache von Bildschirm und Meldungen: \"en\" oder \"de\"."),
    key!("hostname" Text "\"mx.example.net\"",
        "The name that mail clients and other mail systems use. The same on both appliances.",
        "Der Name, den Mailprogramme und andere Mailsysteme benutzen. Auf beiden Geräten gleich."),
    key!("recovery_code" Text "\"4821-9937-0142-5586\"",
        "Opens the recovery menu of the screen; without it there is none. The appliance keeps only a\n\
         hash, and writes that here: note the code somewhere else.",
        "Öffnet das Wartungsmenü am Bildschirm; ohne ihn gibt es keines. Das Gerät behält nur\n\
         eine Prüfsumme und schreibt sie hierher: den Code anderswo notieren."),
    key!(optional "trial_minutes" Number "10",
        "A network that is changed later is tried for so many minutes, 3 to 240. Without somebody's\n\
         `understudy site-config confirm` the former one comes back.",
        "Ein später geändertes Netz läuft so viele Minuten auf Probe, 3 bis 240. Ohne jemandes\n\
         `understudy site-config confirm` kommt das frühere zurück."),
];

const SERVICE: &[Key] = &[
    key!("interface" Text "\"enp1s0\"",
        "Network card: its name, which the screen shows, or its MAC address, which is printed on it\n\
         (\"52:54:00:12:34:56\").",
        "Netzwerkkarte: ihr Name, den der Bildschirm zeigt, oder ihre MAC-Adresse, die aufgedruckt ist\n\
         (\"52:54:00:12:34:56\")."),
    key!(optional "bond" Texts "[\"enp1s0\", \"enp2s0\"]",
        "Instead of `interface`: several cards that work as one.",
        "Statt `interface`: mehrere Karten, die wie eine arbeiten."),
    key!(optional "bond_mode" Text "\"active-backup\"",
        "\"active-backup\" with any switch, \"802.3ad\" with a switch that is set up for LACP.",
        "\"active-backup\" an jedem Switch, \"802.3ad\" an einem Switch mit eingerichtetem LACP."),
    key!(optional "vlan" Number "20",
        "VLAN number, where the switch port is tagged.",
        "VLAN-Nummer, wenn der Switch-Port \"tagged\" ist."),
    key!("address" Texts "[\"10.0.0.1/24\"]",
        "This appliance's own addresses, with prefix length; IPv4, IPv6 or both.",
        "Die eigenen Adressen dieses Geräts mit Präfixlänge; IPv4, IPv6 oder beides."),
    key!("gateway" Texts "[\"10.0.0.254\"]",
        "The router; one of each family.",
        "Der Router; einer je Protokoll."),
    key!("dns" Texts "[\"10.0.0.53\"]",
        "Name servers, at most three.",
        "Nameserver, höchstens drei."),
];

const CROSSLINK: &[Key] = &[
    key!("interface" Text "\"enp2s0\"",
        "As in [service]; `bond`, `bond_mode` and `vlan` are possible here too.",
        "Wie in [service]; auch `bond`, `bond_mode` und `vlan` gehen hier."),
    key!(optional "bond" Texts "[\"enp2s0\", \"enp3s0\"]",
        "As in [service].",
        "Wie in [service]."),
    key!(optional "bond_mode" Text "\"active-backup\"",
        "As in [service].",
        "Wie in [service]."),
    key!(optional "vlan" Number "30",
        "As in [service].",
        "Wie in [service]."),
    key!("address" Texts "[\"10.0.1.1/30\"]",
        "Own address on the cable; its network is used nowhere else.",
        "Eigene Adresse auf dem Kabel; dessen Netz gibt es sonst nirgends."),
];

const FLOATING: &[Key] = &[
    key!("address" Texts "[\"10.0.0.100\"]",
        "In the network of [service]; no machine has them.",
        "Im Netz von [service]; keine Maschine hat sie."),
    key!("vrid" Number "51",
        "Number of the virtual router (VRRP), 1 to 255: one that nobody else in the network has.",
        "Nummer des virtuellen Routers (VRRP), 1 bis 255: eine, die sonst niemand im Netz hat."),
];

const PAIR: &[Key] = &[
    key!("node" Text "\"a\"",
        "\"a\" on one appliance, \"b\" on the other.",
        "\"a\" auf dem einen Gerät, \"b\" auf dem anderen."),
    key!("peer" Texts "[\"10.0.1.2\", \"10.0.0.2\"]",
        "The other one's own addresses: on the cable, and in the network of [service].",
        "Die eigenen Adressen des anderen: auf dem Kabel und im Netz von [service]."),
    key!("secret" Text "\"pair-AAAAAAAAAAAAAAAAAAAAAAAAAABgexr_\"",
        "The same in both files, made by `understudy site-config make`. It is good once, for 30 days;\n\
         after that the two know each other by keys of their own.",
        "In beiden Dateien gleich, von `understudy site-config make` erzeugt. Es gilt einmal, 30 Tage\n\
         lang; danach kennen sich die beiden an eigenen Schlüsseln."),
    key!(optional "token" Text "\"understudy-...\"",
        "Instead of `secret`, for an appliance that replaces a dead one: what `understudy pair token`\n\
         prints on the other. It is good once, for 24 hours.",
        "Statt `secret`, für den Ersatz eines toten Geräts: was `understudy pair token` auf dem\n\
         anderen ausgibt. Es gilt einmal, 24 Stunden lang."),
];

const MANAGEMENT: &[Key] = &[
    key!("from" Texts "[\"10.9.0.0/16\"]",
        "Networks that may; without it, those of the addresses.",
        "Netze, die dürfen; ohne diese Zeile die der Adressen."),
    key!(optional "interface" Text "\"enp3s0\"",
        "A network of its own: as in [service], with `address`.",
        "Ein eigenes Netz: wie in [service], mit `address`."),
    key!(optional "bond" Texts "[\"enp3s0\", \"enp4s0\"]",
        "As in [service].",
        "Wie in [service]."),
    key!(optional "bond_mode" Text "\"active-backup\"",
        "As in [service].",
        "Wie in [service]."),
    key!(optional "vlan" Number "40",
        "As in [service]; alone, a VLAN on the cards of [service].",
        "Wie in [service]; allein ein VLAN auf den Karten von [service]."),
    key!(optional "address" Texts "[\"10.9.0.1/24\"]",
        "Own addresses there.",
        "Eigene Adressen darin."),
    key!(optional "gateway" Texts "[\"10.9.0.254\"]",
        "The router to the networks of `from`; the way to the rest is that of [service].",
        "Der Router zu den Netzen von `from`; zu allem anderen geht es über [service]."),
];

const WITNESS: &[Key] = &[
    key!("address" Text "\"192.0.2.7:7401\"",
        "Its address and port.",
        "Ihre Adresse und ihr Port."),
    key!("pin" Text "\"0000000000000000000000000000000000000000000000000000000000000000\"",
        "The pin of its key: `understudy witness init` prints it there.",
        "Die Kennung ihres Schlüssels: `understudy witness init` gibt sie dort aus."),
];

const DISK: &[Key] = &[
    key!("encryption" Text "\"auto\"",
        "\"auto\": by TPM where there is one, else by a key file on the boot disk. Also \"tpm2\",\n\
         \"key-file\", \"passphrase\" (asked at every start, at the screen) or \"none\". Counts when the\n\
         disk is set up, never later.",
        "\"auto\": mit TPM, wo es eines gibt, sonst mit Schlüsseldatei auf der Bootplatte. Auch \"tpm2\",\n\
         \"key-file\", \"passphrase\" (bei jedem Start am Bildschirm gefragt) oder \"none\". Gilt, wenn die\n\
         Platte eingerichtet wird, später nie."),
    key!(optional "device" Text "\"/dev/disk/by-id/...\"",
        "Another disk, all of it. It must be empty.",
        "Eine andere Platte, ganz. Sie muss leer sein."),
    key!(optional "mirror" Texts "[\"/dev/disk/by-id/...\", \"/dev/disk/by-id/...\"]",
        "Two other disks, all of them, that hold the same (RAID 1). They must be empty.",
        "Zwei andere Platten, ganz, die dasselbe halten (RAID 1). Sie müssen leer sein."),
];

const SSH: &[Key] = &[key!("authorized_keys" Texts "[\"ssh-ed25519 AAAA... anna@office\"]",
    "Public keys of those who may log in, as user `operator`.",
    "Öffentliche Schlüssel derer, die sich anmelden dürfen, als Benutzer `operator`.")];

const NTP: &[Key] = &[key!("servers" Texts "[\"ntp.example.net\"]",
    "Names or addresses.",
    "Namen oder Adressen.")];

/// The section called `name`.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|s| s.name == name)
}

const HEAD_EN: &str = "\
# site.toml: what this appliance is. It lies on the partition UNDERSTUDY of the boot disk.
#
# A line that starts with # and no space is a setting that may be left out.
# `understudy site-config make` asks and writes both files of a pair; `understudy site-config check`
# says what is wrong with them.
#
# This example is made from the program (src/appliance/site/keys.rs): change it there.
";
const HEAD_DE: &str = "\
# site.toml: was dieses Gerät ist. Die Datei liegt auf der Partition UNDERSTUDY der Bootplatte.
#
# Eine Zeile, die mit # ohne Leerzeichen anfängt, ist eine Einstellung, die fehlen darf.
# `understudy site-config make` fragt und schreibt beide Dateien eines Paares;
# `understudy site-config check` sagt, was an ihnen falsch ist.
#
# Dieses Beispiel entsteht aus dem Programm (src/appliance/site/keys.rs): dort ändern.
";

/// The documented example.
#[must_use]
pub fn example(language: Language) -> String {
    let mut text = pick(language, HEAD_EN, HEAD_DE).to_owned();
    for section in SECTIONS {
        let mark = if section.optional { "#" } else { "" };
        if !section.name.is_empty() {
            text.push_str("\n\n");
            comment(&mut text, pick(language, section.en, section.de));
            text.push_str(&format!("{mark}[{}]\n", section.name));
        }
        for key in section.keys {
            text.push('\n');
            comment(&mut text, pick(language, key.en, key.de));
            let mark = if key.optional { "#" } else { mark };
            let value = match (key.name, language) {
                ("language", Language::De) => "\"de\"",
                _ => key.example,
            };
            text.push_str(&format!("{mark}{} = {value}\n", key.name));
        }
    }
    text
}

/// The comment above `key` in `section`.
pub(super) fn doc(section: &str, key: &str, language: Language) -> &'static str {
    let found = self::section(section).and_then(|s| s.keys.iter().find(|k| k.name == key));
    found.map_or("", |k| pick(language, k.en, k.de))
}

fn pick(language: Language, en: &'static str, de: &'static str) -> &'static str {
    match language {
        Language::En => en,
        Language::De => de,
    }
}

fn comment(text: &mut String, doc: &str) {
    for line in doc.lines() {
        text.push_str(&format!("# {line}\n"));
    }
}
