//! Data, on stdout: one value in any of five formats. Nothing else of labctl's goes to stdout.
//!
//! A type's `Serialize` is its shape in JSON; jsonl, yaml and csv are made from that same shape. Only the table is said by hand: [`Row`]
//! for what comes in lists, [`View`] for a single object.

mod table;
mod tree;

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

pub use table::Sheet;
use tree::Tree;

use super::error::CliError;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON value
    Json,
    /// One JSON object a line
    Jsonl,
    /// YAML
    Yaml,
    /// Comma-separated values with a heading; nested keys joined by dots
    Csv,
}

impl Format {
    /// Whether failures are told as JSON too.
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}

/// One line of a list, for people.
pub trait Row: Serialize {
    /// Headings of the columns, one word each.
    const COLUMNS: &'static [&'static str];

    /// The cells, as many as there are columns.
    fn cells(&self) -> Vec<String>;
}

/// One object, for people.
pub trait View: Serialize {
    /// What it looks like.
    fn view(&self) -> Sheet;
}

/// Where data goes. A reader that goes away (`| head`) ends the output quietly: the command's own success is what counts.
pub struct Output {
    format: Format,
    colour: bool,
    width: Option<u16>,
    sink: Mutex<Sink>,
}

enum Sink {
    Open(Box<dyn Write + Send>),
    Gone,
}

impl Output {
    /// To stdout. `width` is the terminal's, if it is one.
    pub(super) fn stdout(format: Format, colour: bool, width: Option<u16>) -> Self {
        Self { format, colour, width, sink: Mutex::new(Sink::Open(Box::new(io::stdout()))) }
    }

    /// To anywhere, as if it were a pipe.
    pub fn to(format: Format, sink: impl Write + Send + 'static) -> Self {
        Self { format, colour: false, width: None, sink: Mutex::new(Sink::Open(Box::new(sink))) }
    }

    /// The format asked for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Prints a list.
    ///
    /// # Errors
    /// When stdout cannot be written (a full disk).
    pub fn list<R: Row>(&self, rows: &[R]) -> Result<(), CliError> {
        match self.format {
            Format::Table => {
                let columns = R::COLUMNS.iter().map(|c| (*c).to_owned()).collect();
                self.sheet(&Sheet::list(columns, rows.iter().map(R::cells).collect()))
            }
            _ => self.shape(rows),
        }
    }

    /// Prints one object.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn object<V: View>(&self, value: &V) -> Result<(), CliError> {
        match self.format {
            Format::Table => self.sheet(&value.view()),
            _ => self.shape(value),
        }
    }

    /// Prints any value; where a table is asked for, one is made from its shape.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn value<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), CliError> {
        match self.format {
            Format::Table => self.sheet(&match Tree::of(value).map_err(unshapely)? {
                Tree::List(items) => {
                    let (columns, rows) = columns(&items);
                    Sheet::list(columns, rows)
                }
                one => one.flat().into_iter().fold(Sheet::new(), |sheet, (key, value)| sheet.field(key, value)),
            }),
            _ => self.shape(value),
        }
    }

    /// Prints text as it is, whatever the format: scripts, schemas, man pages.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn text(&self, text: impl AsRef<[u8]>) -> Result<(), CliError> {
        self.write(text.as_ref())
    }

    fn sheet(&self, sheet: &Sheet) -> Result<(), CliError> {
        self.write(sheet.render(self.colour, self.width).as_bytes())
    }

    fn shape<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), CliError> {
        let bytes = match self.format {
            // Indented in pipes too: what is seen is what a script gets.
            Format::Json | Format::Table => serde_json::to_vec_pretty(value).map(|mut bytes| {
                bytes.push(b'\n');
                bytes
            }),
            Format::Jsonl => Tree::of(value).map(lines),
            Format::Yaml => Tree::of(value).map(|tree| tree.yaml().into_bytes()),
            Format::Csv => return self.write(&comma_separated(&Tree::of(value).map_err(unshapely)?)?),
        };
        self.write(&bytes.map_err(unshapely)?)
    }

    fn write(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut sink = self.lock();
        let Sink::Open(open) = &mut *sink else { return Ok(()) };
        match open.write_all(bytes).and_then(|()| open.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                *sink = Sink::Gone;
                Ok(())
            }
            other => other.map_err(|error| CliError::failed("output", "cannot write to standard output").because(&error)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unshapely(error: serde_json::Error) -> CliError {
    CliError::bug("a value has no JSON form").because(&error)
}

fn lines(tree: Tree) -> Vec<u8> {
    let items = match tree {
        Tree::List(items) => items,
        one => vec![one],
    };
    items.iter().map(|item| item.json() + "\n").collect::<String>().into_bytes()
}

/// The columns of all items in the order they first come up, and each item's cells.
fn columns(items: &[Tree]) -> (Vec<String>, Vec<Vec<String>>) {
    let flat: Vec<_> = items.iter().map(Tree::flat).collect();
    let mut columns: Vec<String> = Vec::new();
    for (key, _) in flat.iter().flatten() {
        if !columns.contains(key) {
            columns.push(key.clone());
        }
    }
    let cell = |item: &[(String, String)], column: &str| item.iter().find(|(k, _)| k == column).map(|(_, v)| v.clone()).unwrap_or_default();
    let rows = flat.iter().map(|item| columns.iter().map(|c| cell(item, c)).collect()).collect();
    (columns, rows)
}

fn comma_separated(tree: &Tree) -> Result<Vec<u8>, CliError> {
    let (columns, rows) = match tree {
        Tree::List(items) => columns(items),
        one => columns(std::slice::from_ref(one)),
    };
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = std::iter::once(&columns).chain(&rows).try_for_each(|record| writer.write_record(record));
    written.map_err(|e| CliError::bug("a value has no CSV form").because(&e))?;
    writer.into_inner().map_err(|e| CliError::bug("a value has no CSV form").cause(e))
}

#[cfg(test)]
mod tests;
