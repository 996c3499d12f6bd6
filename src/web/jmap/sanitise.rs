//! HTML of a message made harmless: an allow-list of elements, attributes and styles.
//!
//! Invariants: no script, no form, no frame, no SVG or MathML, no style sheet, no `url()`; the only thing left
//! that a browser fetches by itself is `src` of an `img`, which the app's frame allows after consent alone (its
//! own policy, so that it does not depend on this). Images may be parts of the message (`cid:`), remote, or
//! small pictures in `data:`. The app cleans it again (DOMPurify). Deliberately absent: style sheets of mail;
//! inline styles carry what mail programs agree on.

use ammonia::{Builder, UrlRelative};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Properties of inline styles that stay; none of them can fetch anything or leave its place.
const STYLES: [&str; 53] = [
    "background-color",
    "border",
    "border-bottom",
    "border-collapse",
    "border-color",
    "border-left",
    "border-radius",
    "border-right",
    "border-spacing",
    "border-style",
    "border-top",
    "border-width",
    "clear",
    "color",
    "direction",
    "display",
    "float",
    "font",
    "font-family",
    "font-size",
    "font-style",
    "font-variant",
    "font-weight",
    "height",
    "letter-spacing",
    "line-height",
    "list-style-type",
    "margin",
    "margin-bottom",
    "margin-left",
    "margin-right",
    "margin-top",
    "max-height",
    "max-width",
    "min-width",
    "opacity",
    "overflow-wrap",
    "padding",
    "padding-bottom",
    "padding-left",
    "padding-right",
    "padding-top",
    "table-layout",
    "text-align",
    "text-decoration",
    "text-indent",
    "text-transform",
    "unicode-bidi",
    "vertical-align",
    "white-space",
    "width",
    "word-break",
    "word-wrap",
];

/// How the address of a picture may begin.
const PICTURES: [&str; 7] = [
    "cid:",
    "https:",
    "http:",
    "data:image/png;",
    "data:image/jpeg;",
    "data:image/gif;",
    "data:image/webp;",
];

/// Attributes that any element may have.
const GENERIC: [&str; 14] = [
    "align",
    "bgcolor",
    "border",
    "cellpadding",
    "cellspacing",
    "color",
    "dir",
    "height",
    "lang",
    "style",
    "title",
    "valign",
    "width",
    "role",
];

static CLEANER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::default();
    let more =
        ["font", "center", "big", "tt", "u", "s", "strike", "address", "figure", "figcaption"];
    let attributes: HashMap<&str, HashSet<&str>> = HashMap::from([
        ("a", HashSet::from(["href", "name"])),
        ("img", HashSet::from(["alt", "src"])),
        ("font", HashSet::from(["face", "size"])),
        ("table", HashSet::from(["summary"])),
        ("td", HashSet::from(["colspan", "rowspan", "headers", "scope", "nowrap"])),
        ("th", HashSet::from(["colspan", "rowspan", "headers", "scope", "nowrap"])),
        ("col", HashSet::from(["span"])),
        ("colgroup", HashSet::from(["span"])),
        ("ol", HashSet::from(["start", "type"])),
        ("ul", HashSet::from(["type"])),
        ("li", HashSet::from(["value"])),
        ("blockquote", HashSet::from(["type"])),
    ]);
    builder
        .add_tags(more)
        .rm_tags(["map", "area"])
        .clean_content_tags(HashSet::from([
            "script",
            "style",
            "title",
            "head",
            "svg",
            "math",
            "template",
            "noscript",
            "iframe",
            "object",
            "embed",
            "select",
            "textarea",
            "xmp",
            "noembed",
            "noframes",
            "plaintext",
        ]))
        .generic_attributes(HashSet::from(GENERIC))
        .tag_attributes(attributes)
        .url_schemes(HashSet::from(["http", "https", "mailto", "tel", "cid", "data"]))
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank")
        .strip_comments(true)
        .filter_style_properties(HashSet::from(STYLES))
        .attribute_filter(attribute);
    builder
});

/// What an attribute's value becomes.
fn attribute<'v>(element: &str, name: &str, value: &'v str) -> Option<Cow<'v, str>> {
    let lower = value.trim().to_ascii_lowercase();
    let begins = |all: &[&str]| all.iter().any(|scheme| lower.starts_with(scheme));
    let harmless = match (element, name) {
        ("img", "src") => begins(&PICTURES),
        (_, "src") => false,
        (_, "href") => begins(&["http:", "https:", "mailto:", "tel:"]),
        // Nothing of a style is an address or an expression; an escape could hide one.
        (_, "style") => {
            let hides =
                ["url", "image", "expression", "\\", "/*", "@", "behavior", "-moz-binding", "var("];
            !hides.iter().any(|s| lower.contains(s))
        }
        _ => true,
    };
    harmless.then_some(Cow::Borrowed(value))
}

/// The part of a page that a message may show.
#[must_use]
pub(super) fn sanitise(html: &str) -> String {
    CLEANER.clean(html).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What published attacks do; none of it may be left in any form.
    #[test]
    fn nothing_runs_and_nothing_but_pictures_is_fetched() {
        for hostile in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<svg onload=alert(1)><script>alert(1)</script></svg>",
            "<svg><style><img src=x onerror=alert(1)></style></svg>",
            "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
            "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
            "<form action=https://evil.example><input name=p><button>go</button></form>",
            "<iframe src=https://evil.example></iframe><object data=x></object><embed src=x>",
            "<a href=\"javascript:alert(1)\">x</a><a href=\" \u{1}java\tscript:alert(1)\">x</a>",
            "<a href=\"data:text/html,<script>alert(1)</script>\">x</a>",
            "<img src=\"data:image/svg+xml;base64,PHN2Zz4=\">",
            "<div style=\"background:url(https://evil.example/x)\">x</div>",
            "<div style=\"background-color:red;b\\61ckground:u\\72l(//evil.example)\">x</div>",
            "<div style=\"position:fixed;top:0\">x</div>",
            "<style>@import 'https://evil.example/x.css';</style><link rel=stylesheet href=//evil.example>",
            "<video poster=https://evil.example/p><source src=https://evil.example/v></video>",
            "<table background=https://evil.example/b><tr><td background=//evil.example>x</td></tr></table>",
            "<meta http-equiv=refresh content=0;url=https://evil.example><base href=https://evil.example>",
            "<xmp><p title=\"</xmp><svg/onload=alert(1)>\"></xmp>",
            "<img srcset=\"https://evil.example/1 1x\" src=cid:a>",
        ] {
            let clean = sanitise(hostile).to_ascii_lowercase();
            for left in [
                "<script",
                "onerror",
                "onload",
                "<svg",
                "<math",
                "<form",
                "<input",
                "<iframe",
                "<object",
                "<embed",
                "javascript",
                "evil.example",
                "data:",
                "url(",
                "<style",
                "<link",
                "<meta",
                "<base",
                "position",
                "srcset",
            ] {
                // Text that was text before stays text.
                let tags: String =
                    clean.split('<').skip(1).filter_map(|t| t.split('>').next()).collect();
                let there =
                    if left.starts_with('<') { clean.contains(left) } else { tags.contains(left) };
                assert!(!there, "{hostile} gives {clean}");
            }
        }
    }

    #[test]
    fn what_people_write_stays() {
        let mail = "<p style=\"color:red;font-size:12px\">Hallo <b>Welt</b></p><img src=\"cid:a@b\" alt=\"x\" width=\"10\"><a href=\"https://example.org/\">da</a>";
        let clean = sanitise(mail);
        assert!(clean.contains("color:red") && clean.contains("<b>Welt</b>"), "{clean}");
        assert!(clean.contains("src=\"cid:a@b\"") && clean.contains("width=\"10\""), "{clean}");
        assert!(clean.contains("target=\"_blank\"") && clean.contains("noopener"), "{clean}");
        assert!(
            sanitise("<img src=\"https://example.org/a.png\">")
                .contains("https://example.org/a.png")
        );
        assert!(sanitise("<img src=\"data:image/png;base64,AAAA\">").contains("data:image/png"));
    }

    proptest! {
        /// Cleaning what is clean changes nothing: a second parser sees the same page.
        #[test]
        fn it_is_stable(html in "(<(p|b|svg|math|style|img|a|table|td|noscript|xmp|/p|/svg|/style)[ a-z=\"']{0,6}>|[a-z&;<>\"' ]{0,5}){0,12}") {
            let once = sanitise(&html);
            prop_assert_eq!(sanitise(&once), once);
        }
    }
}
