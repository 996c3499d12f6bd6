//! Writes `configs/understudy.example.toml` from the documented types of [`super::file`].
//!
//! A test compares the committed file with this (`BLESS=1` rewrites it), so that the two cannot
//! drift apart.

use super::check::header;
use super::file::{File, KeyDoc, SectionDoc, Show, Times};

const HEAD: &str = "\
# Understudy: every setting, with its meaning.
#
# What stands here is the default, or an example where each appliance has its own. A line that
# starts with # and no space is a setting that is absent by default.
# `understudy config check FILE` says whether a file is right, and what to do if it is not.
#
# Made from the program (src/config/file.rs): change it there.
";

/// The example file.
#[must_use]
pub fn render() -> String {
    let mut text = HEAD.to_owned();
    keys(&mut text, File::KEYS, false);
    for section in File::SECTIONS {
        whole(&mut text, "", section);
    }
    text
}

fn whole(text: &mut String, outer: &str, section: &SectionDoc) {
    let name = format!("{outer}{}", section.name);
    head(text, &name, section);
    keys(text, section.keys, section.times == Times::Unusual);
    for inner in section.sections {
        whole(text, &format!("{name}."), inner);
    }
}

fn head(text: &mut String, name: &str, section: &SectionDoc) {
    text.push_str("\n\n");
    comment(text, section.doc);
    if section.times == Times::Many {
        text.push_str("# There may be several of these sections.\n");
    }
    if section.times == Times::Unusual {
        text.push('#');
    }
    text.push_str(&header(name, section.times));
    text.push('\n');
}

/// `absent` for keys of a section that is.
fn keys(text: &mut String, keys: &[KeyDoc], absent: bool) {
    for key in keys {
        text.push('\n');
        comment(text, key.doc);
        if absent || key.show == Show::Optional {
            text.push('#');
        }
        let value = (key.value)().map(|v| v.to_string()).unwrap_or_default();
        text.push_str(key.name);
        text.push_str(" = ");
        text.push_str(&value);
        text.push('\n');
    }
}

fn comment(text: &mut String, lines: &[&str]) {
    for line in lines {
        text.push('#');
        text.push_str(line);
        text.push('\n');
    }
}
