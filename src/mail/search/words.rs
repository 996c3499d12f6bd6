//! What a word is, and which words a query finds: the one definition, for the index and for what is
//! looked through directly.
//!
//! A word is a run of letters and digits (of Chinese and Japanese, one character), folded: lower case,
//! without accents, `ae`/`ä` alike (so are `oe`, `ue`, `ß`). Stems are German and English, both, since
//! nobody says which language a message is in. Invariant: folding never looks ahead, so that the start
//! of a word folds to the start of the folded word, and prefixes work.

use frostem::{Algorithm, Stemmer};
use std::ops::Range;
use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// Longest folded word in bytes; the rest of a longer one is not looked at.
const WORD_LEN_MAX: usize = 60;
/// Most words of a query; more are not looked at.
const QUERY_WORDS_MAX: usize = 32;
/// Shortest word, in characters, that also finds the words that begin with it.
const PREFIX_LEN_MIN: usize = 3;
/// The same of a query's last word: somebody may still be typing it.
const LAST_PREFIX_LEN_MIN: usize = 2;

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// As it is compared.
    pub(super) folded: String,
    /// Without accents only, where that differs: what English is stemmed from.
    plain: Option<String>,
    /// Where it stands in the text.
    pub(super) at: Range<usize>,
}

impl Word {
    /// Its German and its English stem.
    pub(super) fn stems(&self) -> [String; 2] {
        let english = Stemmer::new(Algorithm::English);
        let german = Stemmer::new(Algorithm::German);
        let plain = self.plain.as_deref().unwrap_or(&self.folded);
        [german.stem(&self.folded).into_owned(), english.stem(plain).into_owned()]
    }
}

/// The words of a text, in order.
pub(super) struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        loop {
            let rest = self.text.get(self.at..)?;
            let begins = rest.find(char::is_alphanumeric)?;
            let start = self.at.saturating_add(begins);
            let mut fold = Fold::default();
            let mut end = self.text.len();
            for (i, c) in self.text.get(start..)?.char_indices() {
                let alone = is_alone(c);
                if i > 0 && (alone || !goes_on(c)) {
                    end = start.saturating_add(i);
                    break;
                }
                if !is_invisible(c) {
                    fold.push(c);
                }
                if alone {
                    end = start.saturating_add(i).saturating_add(c.len_utf8());
                    break;
                }
            }
            self.at = end;
            if !fold.folded.is_empty() {
                let plain = (fold.plain != fold.folded).then_some(fold.plain);
                return Some(Word { folded: fold.folded, plain, at: start..end });
            }
        }
    }
}

fn goes_on(c: char) -> bool {
    c.is_alphanumeric() || is_invisible(c) || is_combining_mark(c)
}

/// Stands in the middle of words and shows nothing: the soft hyphen, joiners.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// Writing without spaces: each character is a word, and several are a phrase.
fn is_alone(c: char) -> bool {
    matches!(c,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[derive(Default)]
struct Fold {
    plain: String,
    folded: String,
}

impl Fold {
    fn push(&mut self, c: char) {
        if c.is_ascii() {
            return self.letter(c.to_ascii_lowercase());
        }
        for c in c.to_lowercase() {
            let spelt = match c {
                '\u{df}' => "ss",
                '\u{e6}' => "ae",
                '\u{153}' => "oe",
                '\u{f8}' => "o",
                '\u{142}' => "l",
                '\u{111}' | '\u{f0}' => "d",
                '\u{fe}' => "th",
                '\u{131}' => "i",
                _ => {
                    decompose_compatible(c, |c| {
                        if !is_combining_mark(c) {
                            c.to_lowercase().for_each(|c| self.letter(c));
                        }
                    });
                    continue;
                }
            };
            spelt.chars().for_each(|c| self.letter(c));
        }
    }

    fn letter(&mut self, c: char) {
        if !c.is_alphanumeric() {
            return;
        }
        if self.plain.len() < WORD_LEN_MAX {
            self.plain.push(c);
        }
        if self.folded.len() < WORD_LEN_MAX && !(c == 'e' && ends_an_umlaut(&self.folded)) {
            self.folded.push(c);
        }
    }
}

/// Whether an `e` here would only spell an umlaut out: Mueller, Goethe; but not treue, Quelle.
fn ends_an_umlaut(folded: &str) -> bool {
    let mut back = folded.chars().rev();
    match back.next() {
        Some('a' | 'o') => true,
        Some('u') => !matches!(back.next(), Some('a' | 'e' | 'i' | 'o' | 'u' | 'y' | 'q')),
        _ => false,
    }
}

/// What somebody looks for. All units must be there.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) units: Vec<Unit>,
}

#[derive(Clone, Debug)]
pub(super) enum Unit {
    /// A word in any of its forms; with `open`, also every word that begins with it.
    Word { word: Word, stems: [String; 2], open: bool },
    /// Words one behind the other, as written; with `open`, the last one may go on.
    Phrase { words: Vec<Word>, open: bool },
}

impl Query {
    /// RFC 8621 4.4.1: white space divides; what stands in quotes is a phrase, in which `\` escapes.
    /// What is no quote and has several words (`example.org`) is a phrase whose last word may go on.
    pub(super) fn parse(text: &str) -> Self {
        let mut query = Self::default();
        let mut left = QUERY_WORDS_MAX;
        let mut rest = text.trim();
        while !rest.is_empty() && left > 0 {
            let quoted = quoted(rest);
            let (words, after) = match &quoted {
                Some((phrase, after)) => (Words::of(phrase).take(left).collect(), *after),
                None => {
                    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                    let (chunk, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
                    (Words::of(chunk).take(left).collect::<Vec<_>>(), after)
                }
            };
            rest = after.trim_start();
            left = left.saturating_sub(words.len());
            let last = rest.is_empty();
            query.units.extend(Self::unit(words, quoted.is_none(), last));
        }
        query
    }

    fn unit(mut words: Vec<Word>, open: bool, last: bool) -> Option<Unit> {
        if words.len() != 1 || !open {
            return (!words.is_empty()).then_some(Unit::Phrase { words, open });
        }
        let word = words.pop()?;
        let least = if last { LAST_PREFIX_LEN_MIN } else { PREFIX_LEN_MIN };
        let open = word.folded.chars().nth(least.saturating_sub(1)).is_some();
        Some(Unit::Word { stems: word.stems(), word, open })
    }
}

/// The phrase that `text` begins with, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut phrase = String::new();
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if std::mem::take(&mut escaped) => phrase.push(c),
            '\\' => escaped = true,
            c if c == quote => {
                let after = text.get(i.saturating_add(1)..)?;
                // An apostrophe in the middle of a word ends nothing.
                if after.is_empty() || after.starts_with(char::is_whitespace) || quote == '"' {
                    return Some((phrase, after));
                }
                phrase.push(c);
            }
            c => phrase.push(c),
        }
    }
    None
}

impl Unit {
    /// Where in the text with these words the unit is found: each place once, in order.
    pub(super) fn places<'a>(
        &'a self,
        words: &'a [Word],
        stemmed: bool,
    ) -> impl Iterator<Item = Range<usize>> + 'a {
        (0..words.len()).filter_map(move |i| {
            let here = words.get(i..)?;
            let len = self.len_at(here, stemmed)?;
            let last = here.get(len.saturating_sub(1))?;
            Some(here.first()?.at.start..last.at.end)
        })
    }

    /// How many words, from the first one on, are what is looked for.
    fn len_at(&self, here: &[Word], stemmed: bool) -> Option<usize> {
        match self {
            Self::Word { word, stems, open } => {
                let first = here.first()?;
                let found = is_word(first, word, *open) || stemmed && has_stem(first, stems);
                found.then_some(1)
            }
            Self::Phrase { words, open } => {
                let here = here.get(..words.len())?;
                let last = words.len().saturating_sub(1);
                let mut pairs = here.iter().zip(words).enumerate();
                pairs.all(|(i, (a, b))| is_word(a, b, *open && i == last)).then_some(words.len())
            }
        }
    }
}

fn is_word(word: &Word, wanted: &Word, open: bool) -> bool {
    if open { word.folded.starts_with(&wanted.folded) } else { word.folded == wanted.folded }
}

fn has_stem(word: &Word, stems: &[String; 2]) -> bool {
    // Stemming leaves a word's first letter as it is.
    let first = word.folded.chars().next();
    let alike = stems.iter().any(|s| s.chars().next() == first);
    alike && word.stems().iter().any(|s| stems.contains(s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folded(text: &str) -> Vec<String> {
        Words::of(text).map(|w| w.folded).collect()
    }

    fn finds(text: &str, query: &str) -> bool {
        let words: Vec<Word> = Words::of(text).collect();
        let query = Query::parse(query);
        !query.units.is_empty()
            && query.units.iter().all(|u| u.places(&words, true).next().is_some())
    }

    #[test]
    fn words_are_folded_as_germans_spell_them() {
        assert_eq!(folded("Müller, Mueller & MULLER"), ["muller", "muller", "muller"]);
        assert_eq!(folded("Mu\u{308}ller"), ["muller"]);
        assert_eq!(folded("Straße Goethe Göthe"), ["strasse", "gothe", "gothe"]);
        assert_eq!(folded("treue Quelle neue Steuer"), ["treue", "quelle", "neue", "steuer"]);
        assert_eq!(folded("caf\u{e9} \u{fb01}n Łódź Ærø"), ["cafe", "fin", "lodz", "aro"]);
        assert_eq!(folded("Rech\u{ad}nung"), ["rechnung"]);
        assert_eq!(folded("東京タワーx1"), ["東", "京", "タ", "ワ", "ー", "x1"]);
        assert_eq!(
            folded("a.b@example.org; 1.234,56 €"),
            ["a", "b", "example", "org", "1", "234", "56"]
        );
        assert_eq!(folded(" \u{308}!? "), Vec::<String>::new());
        assert_eq!(folded(&"x".repeat(1_000)), ["x".repeat(60)]);
    }

    #[test]
    fn places_are_those_of_the_text() {
        let text = "Die Größe, größer";
        let found: Vec<&str> = Words::of(text).map(|w| text.get(w.at).unwrap()).collect();
        assert_eq!(found, ["Die", "Größe", "größer"]);
    }

    #[test]
    fn a_word_finds_its_forms_in_both_languages() {
        assert!(finds("Anbei die Rechnungen", "rechnung"));
        assert!(finds("Anbei die Rechnung", "Rechnungen"));
        assert!(finds("das Haus am See", "Häuser"));
        assert!(finds("We shipped your invoices", "invoice"));
        assert!(finds("the shoes arrived", "shoe"));
        assert!(finds("she was running late", "runs"));
        assert!(!finds("the business", "bus now"));
    }

    #[test]
    fn a_word_finds_what_begins_with_it() {
        assert!(finds("Rechnungsnummer 4711", "Rechnung"));
        assert!(finds("Rechnungsnummer 4711", "rechnung 47"));
        assert!(finds("Rechnungsnummer 4711", "re"));
        assert!(!finds("Rechnungsnummer 4711", "re 47"), "two letters only while they are typed");
        assert!(!finds("Rechnungsnummer 4711", "nummer"));
        assert!(finds("Mueller", "Mü"));
    }

    #[test]
    fn phrases_are_exact() {
        let text = "the quick brown foxes jump; don't panic";
        assert!(finds(text, "\"quick brown\""));
        assert!(finds(text, "'quick brown' panic"));
        assert!(!finds(text, "\"brown quick\""));
        assert!(!finds(text, "\"quick brown fox\""));
        assert!(finds(text, "quick.brown.fox"));
        assert!(finds(text, "don't"));
        assert!(finds(text, "'don't panic'"));
        assert!(finds(text, "\"quick"), "a quote that is not closed yet");
        assert!(!finds(text, "\"fox\""));
        assert!(finds("mail ada@example.org now", "ada@example.org"));
        assert!(finds("mail ada@example.org now", "example.or"));
        assert!(finds("say \"hi there\"", r#""\"hi there\"""#));
    }

    #[test]
    fn a_query_without_words_has_no_units() {
        assert!(Query::parse(" !? \"\" ").units.is_empty());
        let many = "x ".repeat(1_000);
        assert_eq!(Query::parse(&many).units.len(), QUERY_WORDS_MAX);
    }

    proptest! {
        #[test]
        fn the_start_of_a_word_folds_to_the_start_of_the_word(word in "[aeouqnäöüßé]{1,8}", cut in 1usize..8) {
            let whole = folded(&word);
            let start: String = word.chars().take(cut).collect();
            prop_assert!(whole[0].starts_with(&folded(&start)[0]), "{start} {word}");
        }

        #[test]
        fn any_text_and_query_can_be_read(text in "\\PC{0,60}", query in "\\PC{0,30}") {
            let words: Vec<Word> = Words::of(&text).collect();
            for word in &words {
                prop_assert!(text.get(word.at.clone()).is_some() && word.folded.len() <= WORD_LEN_MAX + 3);
                word.stems();
            }
            for unit in Query::parse(&query).units {
                unit.places(&words, true).for_each(|at| assert!(text.get(at).is_some()));
            }
        }

        #[test]
        fn stemming_keeps_the_first_letter(word in "[a-zäöüß]{1,12}") {
            for word in Words::of(&word) {
                for stem in word.stems() {
                    prop_assert_eq!(stem.chars().next(), word.folded.chars().next());
                }
            }
        }
    }
}
