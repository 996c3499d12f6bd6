//! One tenant's index on disk, and the only file that names tantivy.
//!
//! A document is a message at a place (mailbox and UID), whose content never changes. Its words carry
//! the account's number before them, so that a search touches what is the account's and nothing else.
//! What is indexed ([`Marks`]) is the payload of the commit: index and marks are one. Invariants:
//! whatever goes wrong in here, a panic of tantivy's included, is an [`IndexError`]; all checksums are
//! verified before an index is first used in a process. Deliberately absent: ranking, stored texts.

use super::document::Document;
use super::words::{Query, Unit, Word, Words};
use super::{PARTS, Part, Place};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use tantivy::directory::MmapDirectory;
use tantivy::index::{InvertedIndexReader, SegmentReader};
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::postings::{Postings, SegmentPostings};
use tantivy::schema::{
    BytesOptions, FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{TextAnalyzer, Token, TokenStream, Tokenizer};
use tantivy::{
    DocId, DocSet, IndexReader, IndexSettings, ReloadPolicy, Searcher, TERMINATED, TantivyDocument,
    TantivyError, Term,
};
use understudy_proto::id::{AccountId, EmailId, MailboxId, ModSeq, Uid};

/// What lies in an index, and how words are made: one of another format is built anew.
const FORMAT: u32 = 1;
/// What one writer may hold in memory, in bytes. There is one writer at a time.
const WRITER_BYTES: usize = 30 << 20;
/// Share of deleted documents at which a segment is written anew.
const DELETED_SHARE_MAX: f32 = 0.3;
/// Positions between two texts that do not continue each other.
const GAP: usize = 100;
/// The name of [`Lines`] in the schema.
const TOKENIZER: &str = "words";

/// What went wrong with an index. It is a cache: whoever meets one of these does without.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error("the search index: {0}")]
    Tantivy(#[from] TantivyError),
    #[error("the search index cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("the search index is damaged: {0}")]
    Damaged(String),
    #[error("the search index made a thread panic")]
    Panicked,
    #[error(transparent)]
    Mail(#[from] crate::mail::MailError),
}

/// Runs what calls into the index: a panic over damaged files is an error like any other.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(IndexError::Panicked))
}

/// How far an account is indexed: all that changed up to `modseq` of the messages from `below` on.
/// Messages with smaller ids wait; they are taken from the newest to the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) modseq: ModSeq,
    pub(super) below: EmailId,
}

pub(super) type Marks = BTreeMap<AccountId, Mark>;

fn encode(marks: &Marks) -> String {
    let rows: Vec<(u32, u64, u64)> =
        marks.iter().map(|(a, m)| (a.0, m.modseq.0, m.below.0)).collect();
    let json = serde_json::json!([FORMAT, rows]).to_string();
    // The file around it is not covered by a checksum.
    format!("{:08x}{json}", crc32c::crc32c(json.as_bytes()))
}

/// `None`: of another format, or not to be read.
fn decode(payload: &str) -> Option<Marks> {
    let (sum, json) = payload.split_at_checked(8)?;
    if u32::from_str_radix(sum, 16).ok()? != crc32c::crc32c(json.as_bytes()) {
        return None;
    }
    let (format, rows): (u32, Vec<(u32, u64, u64)>) = serde_json::from_str(json).ok()?;
    let mark = |(a, m, b)| (AccountId(a), Mark { modseq: ModSeq(m), below: EmailId(b) });
    (format == FORMAT).then(|| rows.into_iter().map(mark).collect())
}

#[derive(Clone)]
struct Fields {
    account: Field,
    key: Field,
    place: Field,
    email: Field,
    words: [Field; super::FIELDS],
    stems: [Field; super::FIELDS],
}

fn schema() -> (Schema, Fields) {
    let text = |option| {
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(TOKENIZER)
            .set_index_option(option)
            .set_fieldnorms(false);
        TextOptions::default().set_indexing_options(indexing)
    };
    let mut builder = Schema::builder();
    let account = builder.add_u64_field("account", INDEXED);
    let key = builder.add_bytes_field("key", BytesOptions::default().set_indexed());
    let place = builder.add_u64_field("place", FAST);
    let email = builder.add_u64_field("email", FAST);
    let words = PARTS.map(|part| {
        builder.add_text_field(part.name(), text(IndexRecordOption::WithFreqsAndPositions))
    });
    let stems = PARTS.map(|part| {
        builder.add_text_field(&format!("{} stems", part.name()), text(IndexRecordOption::Basic))
    });
    (builder.build(), Fields { account, key, place, email, words, stems })
}

fn key(account: AccountId, (mailbox, uid): Place) -> [u8; 12] {
    let mut key = [0; 12];
    let numbers = [account.0, mailbox.0, uid.0];
    for (to, from) in key.chunks_mut(4).zip(numbers) {
        to.copy_from_slice(&from.to_be_bytes());
    }
    key
}

fn pack((mailbox, uid): Place) -> u64 {
    u64::from(mailbox.0) << 32 | u64::from(uid.0)
}

fn unpack(place: u64) -> Place {
    let [a, b, c, d, e, f, g, h] = place.to_be_bytes();
    (MailboxId(u32::from_be_bytes([a, b, c, d])), Uid(u32::from_be_bytes([e, f, g, h])))
}

/// What stands before the words of an account.
fn prefix(account: AccountId) -> String {
    format!("{:x} ", account.0)
}

/// An index that is open.
pub(super) struct Index {
    index: tantivy::Index,
    reader: IndexReader,
    fields: Fields,
}

impl Index {
    /// Opens what lies in `dir`; `None` where nothing does. `verify`: all of it is read first.
    pub(super) fn open(dir: &Path, verify: bool) -> Result<Option<(Self, Marks)>, IndexError> {
        if !dir.is_dir() {
            return Ok(None);
        }
        let directory = MmapDirectory::open(dir).map_err(TantivyError::from)?;
        if !tantivy::Index::exists(&directory).map_err(TantivyError::from)? {
            return Ok(None);
        }
        let this = Self::with(tantivy::Index::open(directory)?)?;
        if verify {
            let damaged = this.index.validate_checksum()?;
            if let Some(file) = damaged.iter().next() {
                return Err(IndexError::Damaged(file.display().to_string()));
            }
        }
        let metas = this.index.load_metas()?;
        let marks = match metas.payload.as_deref() {
            // Made, and nothing was committed yet.
            None if metas.segments.is_empty() => Some(Marks::new()),
            None => None,
            Some(payload) => decode(payload),
        };
        match marks {
            Some(marks) if metas.schema == schema().0 => Ok(Some((this, marks))),
            _ => Err(IndexError::Damaged("it has another format".into())),
        }
    }

    /// Makes an empty one.
    pub(super) fn create(dir: &Path) -> Result<Self, IndexError> {
        std::fs::create_dir_all(dir)?;
        let directory = MmapDirectory::open(dir).map_err(TantivyError::from)?;
        let settings =
            IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
        let builder = tantivy::Index::builder().schema(schema().0).settings(settings);
        Self::with(builder.open_or_create(directory)?)
    }

    fn with(index: tantivy::Index) -> Result<Self, IndexError> {
        index.tokenizers().register(TOKENIZER, TextAnalyzer::from(Lines));
        // It is loaded when we say so: then and only then it is what its marks say.
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self { index, reader, fields: schema().1 })
    }

    /// What is committed, as it is now.
    pub(super) fn snapshot(&self, marks: Marks) -> Result<Snapshot, IndexError> {
        self.reader.reload()?;
        let (searcher, fields) = (self.reader.searcher(), self.fields.clone());
        Ok(Snapshot { searcher, fields, durable: marks.clone(), marks })
    }

    pub(super) fn writer(&self) -> Result<Writer, IndexError> {
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .memory_budget_per_thread(WRITER_BYTES)
            .num_merge_threads(1)
            .build();
        let writer = self.index.writer_with_options(options)?;
        let mut policy = LogMergePolicy::default();
        policy.set_del_docs_ratio_before_merge(DELETED_SHARE_MAX);
        writer.set_merge_policy(Box::new(policy));
        Ok(Writer { writer, fields: self.fields.clone() })
    }
}

/// Writes an index. Dropped without a commit, it leaves what was committed before.
pub(super) struct Writer {
    writer: tantivy::IndexWriter,
    fields: Fields,
}

impl Writer {
    pub(super) fn add(
        &self,
        account: AccountId,
        place: Place,
        email: EmailId,
        document: &Document,
    ) -> Result<(), IndexError> {
        let fields = &self.fields;
        let mut out = TantivyDocument::default();
        out.add_u64(fields.account, u64::from(account.0));
        out.add_bytes(fields.key, &key(account, place));
        out.add_u64(fields.place, pack(place));
        out.add_u64(fields.email, email.0);
        let prefix = prefix(account);
        let columns = PARTS.into_iter().zip(fields.words.into_iter().zip(fields.stems));
        for (part, (to_words, to_stems)) in columns {
            let texts = document.texts(part);
            if texts.is_empty() {
                continue;
            }
            // What the tokenizer reads: the prefix, then a word a line; an empty one is a gap.
            let (mut words, mut stems) = (prefix.clone(), prefix.clone());
            let mut seen = std::collections::BTreeSet::new();
            for text in texts {
                for word in Words::of(text) {
                    words.push('\n');
                    words.push_str(&word.folded);
                    if part.is_stemmed() {
                        seen.extend(word.stems());
                    }
                }
                words.push('\n');
            }
            out.add_text(to_words, words);
            for stem in seen {
                stems.push('\n');
                stems.push_str(&stem);
            }
            if part.is_stemmed() {
                out.add_text(to_stems, stems);
            }
        }
        self.writer.add_document(out)?;
        Ok(())
    }

    pub(super) fn remove(&self, account: AccountId, place: Place) {
        self.writer.delete_term(Term::from_field_bytes(self.fields.key, &key(account, place)));
    }

    pub(super) fn remove_account(&self, account: AccountId) {
        let number = u64::from(account.0);
        self.writer.delete_term(Term::from_field_u64(self.fields.account, number));
    }

    /// Makes all of it durable together with `marks`.
    pub(super) fn commit(&mut self, marks: &Marks) -> Result<(), IndexError> {
        let mut prepared = self.writer.prepare_commit()?;
        prepared.set_payload(&encode(marks));
        prepared.commit()?;
        Ok(())
    }

    /// Waits for the merges that commits began. What was not committed is given up.
    pub(super) fn close(self) -> Result<(), IndexError> {
        Ok(self.writer.wait_merging_threads()?)
    }
}

/// An index as of one commit, and what that commit holds.
pub(super) struct Snapshot {
    searcher: Searcher,
    fields: Fields,
    /// How far the accounts are indexed.
    pub(super) marks: Marks,
    /// How far the commit says that they are: never more.
    pub(super) durable: Marks,
}

impl Snapshot {
    /// The same index; what changed since is nothing that it holds.
    pub(super) fn with_marks(&self, marks: Marks) -> Self {
        let (searcher, fields) = (self.searcher.clone(), self.fields.clone());
        Self { searcher, fields, marks, durable: self.durable.clone() }
    }

    /// How many documents it has.
    #[cfg(test)]
    pub(super) fn documents(&self) -> usize {
        usize::try_from(self.searcher.num_docs()).unwrap_or(usize::MAX)
    }

    /// Whether the message at a place is indexed.
    pub(super) fn has(&self, account: AccountId, place: Place) -> Result<bool, IndexError> {
        let term = Term::from_field_bytes(self.fields.key, &key(account, place));
        for segment in self.searcher.segment_readers() {
            let index = segment.inverted_index(self.fields.key)?;
            let postings = index.read_postings(&term, IndexRecordOption::Basic)?;
            let Some(mut postings) = postings else { continue };
            while postings.doc() != TERMINATED {
                if !segment.is_deleted(postings.doc()) {
                    return Ok(true);
                }
                postings.advance();
            }
        }
        Ok(false)
    }

    /// The account's messages in which all units are, each in any of `parts`.
    pub(super) fn find(
        &self,
        account: AccountId,
        parts: &[Part],
        query: &Query,
    ) -> Result<Vec<(Place, EmailId)>, IndexError> {
        let mut found = Vec::new();
        if query.units.is_empty() {
            return Ok(found);
        }
        let prefix = prefix(account);
        for segment in self.searcher.segment_readers() {
            let mut all: Option<Bits> = None;
            for unit in &query.units {
                let mut bits = Bits::new(segment.max_doc());
                for part in parts {
                    self.unit(segment, &prefix, *part, unit, &mut bits)?;
                }
                if let Some(all) = &all {
                    bits.and(all);
                }
                let none = bits.is_empty();
                all = Some(bits);
                if none {
                    break;
                }
            }
            let Some(all) = all else { continue };
            let places = segment.fast_fields().u64("place")?;
            let emails = segment.fast_fields().u64("email")?;
            for doc in all.docs().filter(|doc| !segment.is_deleted(*doc)) {
                if let (Some(place), Some(email)) = (places.first(doc), emails.first(doc)) {
                    found.push((unpack(place), EmailId(email)));
                }
            }
        }
        Ok(found)
    }

    fn unit(
        &self,
        segment: &SegmentReader,
        prefix: &str,
        part: Part,
        unit: &Unit,
        bits: &mut Bits,
    ) -> Result<(), IndexError> {
        let (Some(words), Some(stems_of)) =
            (self.fields.words.get(part as usize), self.fields.stems.get(part as usize))
        else {
            return Ok(());
        };
        let index = segment.inverted_index(*words)?;
        match unit {
            Unit::Word { word, stems, open } => {
                terms(&index, prefix, word, *open, IndexRecordOption::Basic, &mut |postings| {
                    bits.add(postings);
                })?;
                if part.is_stemmed() {
                    let index = segment.inverted_index(*stems_of)?;
                    for stem in stems {
                        let term = format!("{prefix}{stem}");
                        if let Some(info) = index.terms().get(term)? {
                            bits.add(
                                &mut index
                                    .read_postings_from_terminfo(&info, IndexRecordOption::Basic)?,
                            );
                        }
                    }
                }
                Ok(())
            }
            Unit::Phrase { words, open } => {
                phrase(&index, prefix, words, *open, segment.max_doc(), bits)
            }
        }
    }
}

/// Shows the postings of a word, or with `open` those of all words that begin with it.
fn terms(
    index: &InvertedIndexReader,
    prefix: &str,
    word: &Word,
    open: bool,
    option: IndexRecordOption,
    show: &mut dyn FnMut(&mut SegmentPostings),
) -> Result<(), IndexError> {
    let first = format!("{prefix}{}", word.folded);
    if !open {
        if let Some(info) = index.terms().get(&first)? {
            show(&mut index.read_postings_from_terminfo(&info, option)?);
        }
        return Ok(());
    }
    let mut stream = index.terms().range().ge(&first).into_stream()?;
    while stream.advance() && stream.key().starts_with(first.as_bytes()) {
        show(&mut index.read_postings_from_terminfo(stream.value(), option)?);
    }
    Ok(())
}

/// Documents with the words one behind the other.
fn phrase(
    index: &InvertedIndexReader,
    prefix: &str,
    words: &[Word],
    open: bool,
    max_doc: DocId,
    bits: &mut Bits,
) -> Result<(), IndexError> {
    let last = words.len().saturating_sub(1);
    let mut all: Option<Bits> = None;
    // What an open word may be is looked at below, only where the others are.
    for word in words.iter().take(if open && last > 0 { last } else { words.len() }) {
        let mut has = Bits::new(max_doc);
        terms(index, prefix, word, open && last == 0, IndexRecordOption::Basic, &mut |postings| {
            has.add(postings);
        })?;
        if let Some(all) = &all {
            has.and(all);
        }
        all = Some(has);
    }
    let Some(all) = all.filter(|all| !all.is_empty()) else { return Ok(()) };
    let few: Vec<DocId> = all.docs().collect();
    // Where the words so far end, in the documents that have all of them.
    let mut ends: BTreeMap<DocId, Vec<u32>> = BTreeMap::new();
    let option = IndexRecordOption::WithFreqsAndPositions;
    let mut at = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let mut here: BTreeMap<DocId, Vec<u32>> = BTreeMap::new();
        terms(index, prefix, word, open && i == last, option, &mut |postings| {
            let mut look = |postings: &mut SegmentPostings| {
                let doc = postings.doc();
                postings.positions(&mut at);
                let before = ends.get(&doc);
                let follows = |p: &&u32| {
                    i == 0
                        || before.is_some_and(|b| {
                            p.checked_sub(1).is_some_and(|p| b.binary_search(&p).is_ok())
                        })
                };
                let mut found = at.iter().filter(follows).copied().peekable();
                if found.peek().is_some() {
                    here.entry(doc).or_default().extend(found);
                }
            };
            // By the shorter of the two lists.
            if postings.doc_freq() as usize <= few.len() {
                while postings.doc() != TERMINATED {
                    if all.has(postings.doc()) {
                        look(postings);
                    }
                    postings.advance();
                }
                return;
            }
            for doc in &few {
                if postings.doc() < *doc && postings.seek(*doc) == TERMINATED {
                    break;
                }
                if postings.doc() == *doc {
                    look(postings);
                }
            }
        })?;
        here.values_mut().for_each(|at| at.sort_unstable());
        ends = here;
    }
    ends.into_keys().for_each(|doc| bits.set(doc));
    Ok(())
}

/// Documents of a segment.
struct Bits(Vec<u64>);

impl Bits {
    fn new(max_doc: DocId) -> Self {
        Self(vec![0; usize::try_from(max_doc.div_ceil(64)).unwrap_or(0)])
    }

    fn set(&mut self, doc: DocId) {
        if let Some(word) = usize::try_from(doc / 64).ok().and_then(|at| self.0.get_mut(at)) {
            *word |= 1 << (doc % 64);
        }
    }

    fn has(&self, doc: DocId) -> bool {
        let word = usize::try_from(doc / 64).ok().and_then(|at| self.0.get(at));
        word.is_some_and(|word| word >> (doc % 64) & 1 == 1)
    }

    fn add(&mut self, postings: &mut SegmentPostings) {
        let mut doc = postings.doc();
        while doc != TERMINATED {
            self.set(doc);
            doc = postings.advance();
        }
    }

    fn and(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a &= b);
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn docs(&self) -> impl Iterator<Item = DocId> + '_ {
        (0_u32..).zip(&self.0).flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (bit < 64).then(|| at.saturating_mul(64).saturating_add(bit))
            })
        })
    }
}

/// Splits what [`Writer::add`] writes.
#[derive(Clone)]
struct Lines;

struct LineStream<'a> {
    lines: std::str::Split<'a, char>,
    prefix: &'a str,
    token: Token,
    next: usize,
}

impl Tokenizer for Lines {
    type TokenStream<'a> = LineStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> LineStream<'a> {
        let mut lines = text.split('\n');
        let prefix = lines.next().unwrap_or_default();
        LineStream { lines, prefix, token: Token::default(), next: 0 }
    }
}

impl TokenStream for LineStream<'_> {
    fn advance(&mut self) -> bool {
        for line in self.lines.by_ref() {
            if line.is_empty() {
                self.next = self.next.saturating_add(GAP);
                continue;
            }
            self.token.text.clear();
            self.token.text.push_str(self.prefix);
            self.token.text.push_str(line);
            self.token.position = self.next;
            self.next = self.next.saturating_add(1);
            return true;
        }
        false
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_and_flips_are_seen() {
        let mark = Mark { modseq: ModSeq(7), below: EmailId(u64::MAX) };
        let marks = Marks::from([(AccountId(1), mark), (AccountId(9), mark)]);
        let payload = encode(&marks);
        assert_eq!(decode(&payload), Some(marks));
        for i in 0..payload.len() {
            let mut bytes = payload.clone().into_bytes();
            bytes[i] ^= 1;
            assert_eq!(decode(&String::from_utf8(bytes).unwrap()), None, "{i}");
        }
    }

    #[test]
    fn places_and_bits_are_what_was_put_in() {
        let place = (MailboxId(7), Uid(u32::MAX));
        assert_eq!(unpack(pack(place)), place);
        let mut bits = Bits::new(200);
        for doc in [0, 63, 64, 199] {
            bits.set(doc);
        }
        assert_eq!(bits.docs().collect::<Vec<_>>(), [0, 63, 64, 199]);
        assert!(bits.has(63) && bits.has(64) && !bits.has(65) && !bits.has(1_000));
        let mut other = Bits::new(200);
        other.set(64);
        bits.and(&other);
        assert_eq!(bits.docs().collect::<Vec<_>>(), [64]);
        assert!(!bits.is_empty() && Bits::new(0).is_empty());
    }
}
