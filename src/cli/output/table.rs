//! Tables for people: no borders, so that lines can be copied, cut and grepped; headings stand out on a terminal.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use console::Style;

use super::super::report::printable;

/// What one object looks like to people: fields, tables and lines of text, one below the other.
#[derive(Debug, Clone, Default)]
pub struct Sheet {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Fields(Vec<(String, String)>),
    Table { title: Option<String>, columns: Vec<String>, rows: Vec<Vec<String>> },
    Text(String),
}

impl Sheet {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one line `name  value`. Fields that follow each other are aligned.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        let field = (name.into(), value.to_string());
        match self.parts.last_mut() {
            Some(Part::Fields(fields)) => fields.push(field),
            _ => self.parts.push(Part::Fields(vec![field])),
        }
        self
    }

    /// With one line, if there is a value.
    #[must_use]
    pub fn maybe(self, name: impl Into<String>, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// With a table of rows, if there are any.
    #[must_use]
    pub fn rows<'a, R: super::Row + 'a>(mut self, title: impl Into<String>, rows: impl IntoIterator<Item = &'a R>) -> Self {
        let rows: Vec<_> = rows.into_iter().map(R::cells).collect();
        if !rows.is_empty() {
            self.parts.push(Part::Table { title: Some(title.into()), columns: R::COLUMNS.iter().map(|c| (*c).to_owned()).collect(), rows });
        }
        self
    }

    /// With lines of text.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Text(text.into()));
        self
    }

    /// A list alone.
    pub(super) fn list(columns: Vec<String>, rows: Vec<Vec<String>>) -> Self {
        Self { parts: vec![Part::Table { title: None, columns, rows }] }
    }

    /// As text. `width` is the terminal's; without one, nothing is wrapped.
    pub(in crate::cli) fn render(&self, colour: bool, width: Option<u16>) -> String {
        let heading = Style::new().bold().force_styling(colour);
        let blocks = self.parts.iter().filter_map(|part| match part {
            Part::Fields(fields) => Some(layout(fields.iter().map(|(k, v)| vec![k.clone(), v.clone()]), None, width)),
            Part::Table { rows, .. } if rows.is_empty() => None,
            Part::Table { title, columns, rows } => {
                let text = layout(rows.iter().cloned(), Some(columns), width);
                let (head, body) = text.split_once('\n').unwrap_or((&text, ""));
                let title = title.as_ref().map(|t| format!("{}\n", heading.apply_to(t))).unwrap_or_default();
                Some(format!("{title}{}\n{body}", heading.apply_to(head)))
            }
            Part::Text(text) => Some(printable(text.trim_end())),
        });
        blocks.map(|block| block.trim_end().to_owned() + "\n").collect::<Vec<_>>().join("\n")
    }
}

fn layout(rows: impl Iterator<Item = Vec<String>>, columns: Option<&Vec<String>>, width: Option<u16>) -> String {
    let rows: Vec<Vec<String>> = rows.map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(columns) = columns {
        // Headings in capitals stand out where there is no bold; and being one word each they never wrap, so that they are one line.
        table.set_header(columns.iter().map(|c| c.to_uppercase().replace(' ', "_")));
    }
    let prose = width.and_then(|width| wrapped(&rows, columns, usize::from(width)));
    match (width, &prose) {
        (Some(width), Some(_)) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        _ => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    let numeric = |i: usize| columns.is_some() && rows.iter().all(|r| r.get(i).is_some_and(|c| c.is_empty() || c.parse::<f64>().is_ok()));
    let right: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).filter(|i| numeric(*i)).collect();
    table.add_rows(rows);
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if prose.as_ref().is_some_and(|prose| !prose.contains(&i)) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        if right.contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The columns to wrap in a terminal of that width: those of prose. `None` where wrapping gains nothing. Ids and ARNs are never cut in
/// two: a line that is too long is left to the terminal, and can still be copied.
fn wrapped(rows: &[Vec<String>], columns: Option<&Vec<String>>, width: usize) -> Option<Vec<usize>> {
    /// Narrower than this, prose is easier to read where the terminal breaks it.
    const READABLE: usize = 24;
    let count = rows.first().map_or(0, Vec::len);
    let widest = |i: usize| {
        let cells = rows.iter().filter_map(|r| r.get(i)).map(|c| console::measure_text_width(c)).max().unwrap_or(0);
        cells.max(columns.and_then(|c| c.get(i)).map_or(0, String::len)) + 2
    };
    let is_prose = |i: usize| {
        let cells = || rows.iter().filter_map(|r| r.get(i));
        cells().any(|c| c.split_whitespace().count() > 4)
    };
    if (0..count).map(widest).sum::<usize>() <= width {
        return None;
    }
    let prose: Vec<usize> = (0..count).filter(|i| is_prose(*i)).collect();
    let fixed: usize = (0..count).filter(|i| !prose.contains(i)).map(widest).sum();
    (!prose.is_empty() && fixed + READABLE * prose.len() <= width).then_some(prose)
}
