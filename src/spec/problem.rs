//! What is wrong with something an operator wrote: where, what, and what to write instead. Knows nothing of specs or stacks.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, MietteError, MietteSpanContents, Severity, SourceCode, SourceSpan, SpanContents};
use serde::Serialize;

/// A file's text under the name the operator knows it by.
#[derive(Debug)]
pub struct Source {
    name: String,
    text: String,
    /// What is shown of it: the same, byte for byte, but for values that look like secrets.
    shown: String,
}

impl Source {
    /// Puts a source together.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        Arc::new(Self { name: name.into(), shown: text.clone(), text })
    }

    /// The same for a text in which an operator may have put a secret, although it has no place there: its value is never shown.
    pub fn guarded(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        Arc::new(Self { name: name.into(), shown: without_secrets(&text), text })
    }

    /// The name it was given, usually a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text as it may be shown.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Line and column of a byte offset, both counted from 1, the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Stars for the values of keys that are called like secrets, to the end of the line, or of the string where that spans lines.
fn without_secrets(text: &str) -> String {
    const SECRET: [&str; 5] = ["secret", "password", "passwd", "token", "credential"];
    let mut out = String::with_capacity(text.len());
    let mut until: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        let lower = line.to_ascii_lowercase();
        let begin = match until {
            Some(_) => Some(0),
            None => lower.match_indices(['=', ':']).map(|(at, _)| at).find(|at| {
                let key = lower[..*at].trim_end().trim_end_matches(['"', '\'']);
                let key = key.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).next().unwrap_or_default();
                !key.ends_with("_arn") && SECRET.iter().any(|word| key.contains(word))
            }),
        };
        let Some(begin) = begin.map(|at| if until.is_some() { at } else { at + 1 }) else {
            out.push_str(line);
            continue;
        };
        out.push_str(&line[..begin]);
        // Byte for byte, so that every place still points where it did.
        out.extend(line[begin..].bytes().map(|byte| if byte.is_ascii_whitespace() { char::from(byte) } else { '*' }));
        until = match until {
            Some(quotes) => (!line.contains(quotes)).then_some(quotes),
            None => ["\"\"\"", "'''"].into_iter().find(|quotes| line[begin..].matches(quotes).count() == 1),
        };
    }
    out
}

impl SourceCode for Source {
    fn read_span<'a>(&'a self, span: &SourceSpan, before: usize, after: usize) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.shown.read_span(span, before, after)?;
        Ok(Box::new(MietteSpanContents::new_named(self.name.clone(), inner.data(), *inner.span(), inner.line(), inner.column(), inner.line_count())))
    }
}

/// Where something was said.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a text, at these bytes.
    Text {
        /// The text.
        source: Arc<Source>,
        /// The bytes.
        span: Range<usize>,
    },
    /// On the command line, by this flag.
    Flag(String),
    /// In a file or folder that could not be read as text.
    File(String),
}

impl Place {
    /// The beginning of a text.
    pub fn start_of(source: &Arc<Source>) -> Self {
        Self::Text { source: Arc::clone(source), span: 0..0 }
    }

    /// The same text, other bytes. What is not in a text stays as it is.
    #[must_use]
    pub fn at(&self, span: Range<usize>) -> Self {
        match self {
            Self::Text { source, .. } => Self::Text { source: Arc::clone(source), span },
            other => other.clone(),
        }
    }

    fn order(&self) -> (&str, usize) {
        match self {
            Self::Text { source, span } => (source.name(), span.start),
            Self::Flag(name) | Self::File(name) => (name, 0),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { source, span } => {
                let (line, column) = source.position(span.start);
                write!(f, "{}:{line}:{column}", source.name())
            }
            Self::Flag(name) | Self::File(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Problem {
    code: &'static str,
    message: String,
    label: Option<String>,
    hint: Option<String>,
    place: Place,
    severity: Severity,
    related: Vec<Problem>,
}

impl Problem {
    /// A problem at a place. `code` is stable (`spec::unknown_key`), for programs; `message` is for people.
    pub fn new(code: &'static str, place: &Place, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), label: None, hint: None, place: place.clone(), severity: Severity::Error, related: Vec::new() }
    }

    /// With these words at the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// With a suggestion.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With a suggestion, where there is one.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// With a second place that has to do with it.
    #[must_use]
    pub fn also(mut self, place: &Place, message: impl Into<String>) -> Self {
        let mut note = Self::new(self.code, place, message).label("there");
        note.severity = Severity::Advice;
        self.related.push(note);
        self
    }

    /// Its stable code.
    pub fn code_str(&self) -> &'static str {
        self.code
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The same without source text, for `-o json`.
    pub fn plain(&self) -> Plain {
        let (file, line, column, flag) = match &self.place {
            Place::Text { source, span } => {
                let (line, column) = source.position(span.start);
                (Some(source.name().to_owned()), Some(line), Some(column), None)
            }
            Place::File(name) => (Some(name.clone()), None, None, None),
            Place::Flag(name) => (None, None, None, Some(name.clone())),
        };
        Plain { file, line, column, flag, code: self.code, message: self.message.clone(), hint: self.hint.clone() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Text { .. } => f.write_str(&self.message),
            Place::Flag(name) | Place::File(name) => write!(f, "{name}: {}", self.message),
        }
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.hint.as_ref().map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        match &self.place {
            Place::Text { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        match &self.place {
            Place::Text { span, .. } => {
                let label = self.label.clone().unwrap_or_else(|| "here".to_owned());
                Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(Some(label), span.clone()))))
            }
            _ => None,
        }
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        if self.related.is_empty() {
            return None;
        }
        Some(Box::new(self.related.iter().map(|p| p as &dyn Diagnostic)))
    }
}

/// A problem as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plain {
    /// The file, as it was named to labctl.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The flag, where it was said on the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Everything that is wrong, at once, in the order of files and lines.
#[derive(Debug, Clone)]
pub struct Invalid {
    /// At least one.
    pub errors: Vec<Problem>,
}

impl Invalid {
    /// Sorts the problems by place. `Ok(value)` where there are none.
    ///
    /// # Errors
    /// The problems, if any.
    pub fn unless_empty<T>(value: T, mut errors: Vec<Problem>) -> Result<T, Self> {
        if errors.is_empty() {
            return Ok(value);
        }
        errors.sort_by(|a, b| a.place.order().cmp(&b.place.order()));
        Err(Self { errors })
    }

    /// All of them as data, for `-o json`.
    pub fn plain(&self) -> Vec<Plain> {
        self.errors.iter().map(Problem::plain).collect()
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.as_slice() {
            [one] => write!(f, "{one}"),
            many => write!(f, "{} errors", many.len()),
        }
    }
}

impl std::error::Error for Invalid {}

impl Diagnostic for Invalid {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.errors.iter().map(|p| p as &dyn Diagnostic)))
    }
}

/// The candidate most like `word`, if one is like it at all.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&word, c), c))
        .filter(|(distance, c)| *distance <= (c.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// `did you mean …?`, or the list of what is possible.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match closest(word, candidates.clone()) {
        Some(best) => format!("did you mean `{best}`?"),
        None => format!("possible here: {}", listed(candidates)),
    }
}

/// `a, b, c` with backticks.
pub fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<_> = words.into_iter().map(|w| format!("`{w}`")).collect();
    if all.is_empty() { "nothing, there are none".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("x", "a = 1\nü = é2\n");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(source.text().find('2').unwrap()), (2, 6));
        assert_eq!(source.position(10_000), (3, 1));
    }

    #[test]
    fn what_looks_like_a_secret_is_not_shown_and_nothing_moves() {
        let text = "client_secret: 'pä55'\nclient_secret_arn = 'arn'\nx = { api_token = 'a' }\npassword = \"\"\"one\ntwo\"\"\"\ny = 1\n";
        let shown = without_secrets(text);
        assert_eq!(shown.len(), text.len());
        assert_eq!(shown, "client_secret: *******\nclient_secret_arn = 'arn'\nx = { api_token = *** *\npassword = ******\n******\ny = 1\n");
    }

    #[test]
    fn a_word_is_suggested_only_when_it_is_like_what_was_written() {
        assert_eq!(closest("enterprize", ["trial", "enterprise"]), Some("enterprise"));
        assert_eq!(closest("Trial", ["trial", "enterprise"]), Some("trial"));
        assert_eq!(closest("gold", ["trial", "enterprise"]), None);
    }
}
