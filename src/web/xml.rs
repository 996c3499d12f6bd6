//! The little of XML that devices are told with: text that cannot leave its place.

/// Escapes `text` for content and attributes (XML 1.0 2.4). What no document may contain (2.2) becomes
/// U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The text of the first element `name` (any prefix) that has nothing but text; entities of XML itself
/// are resolved.
pub(super) fn text_of(document: &str, name: &str) -> Option<String> {
    let mut rest = document;
    while let Some((_, from)) = rest.split_once('<') {
        let (tag, after) = from.split_once('>')?;
        let local = tag.split([' ', '\t', '\r', '\n']).next().unwrap_or_default();
        let local = local.rsplit(':').next().unwrap_or_default();
        if local == name && !tag.ends_with('/') {
            let (text, _) = after.split_once('<')?;
            return Some(unescape(text.trim()));
        }
        rest = after;
    }
    None
}

fn unescape(text: &str) -> String {
    // Last: what it makes is no entity.
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_elements_text_is_found() {
        let document = "<?xml version=\"1.0\"?>\n<Autodiscover xmlns=\"x\"><Request>\
                        <a:EMailAddress x='1'> o&amp;#39;x&lt;@acme.example </a:EMailAddress></Request>";
        assert_eq!(text_of(document, "EMailAddress").as_deref(), Some("o&#39;x<@acme.example"));
        for document in ["", "<EMailAddress", "<EMailAddress/>", "<EMailAddress>x", "EMailAddress"]
        {
            assert_eq!(text_of(document, "EMailAddress"), None, "{document}");
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_one_text(text in "\\PC{0,40}") {
            let document = format!("<a><b>{}</b></a>", escape(&text));
            prop_assert_eq!(text_of(&document, "b"), Some(text.trim().to_owned()));
        }

        #[test]
        fn any_document_is_read_without_harm(document in "[<>/&;:a-cE \\n]{0,60}") {
            let _maybe = text_of(&document, "a");
        }
    }
}
