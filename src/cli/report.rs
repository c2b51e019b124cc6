//! How an error is told: for people on stderr, or as one JSON object for programs.

use std::fmt::Write as _;

use console::Style;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use serde::Serialize;

use super::error::CliError;

/// Reading width where there is no terminal to ask.
const WIDTH: usize = 100;

/// The text for people: what is wrong in files, then the error, its causes, what is left, what to do.
pub(super) fn human(error: &CliError, colour: bool, width: Option<usize>) -> String {
    let mut text = String::new();
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(width.unwrap_or(WIDTH).clamp(40, 140)).with_context_lines(1);
    for diagnostic in &error.diagnostics {
        // Rendering fails only where a span lies outside its text: the plain words will do then.
        let mut one = String::new();
        if handler.render_report(&mut one, diagnostic.as_ref()).is_err() {
            one = format!("  {diagnostic}\n");
        }
        // With colours there are control characters of our own; without, a file must not bring in any.
        let one = if colour { one } else { printable(&one) };
        text.push_str(one.trim_start_matches('\n'));
        text.push('\n');
    }
    let head = |word: &str, style: Style| style.force_styling(colour).apply_to(word).to_string();
    let red = || Style::new().red().bold();
    line(&mut text, &head("error:", red()), &error.message);
    match error.causes.as_slice() {
        [] => {}
        [one] => line(&mut text, "  because:", one),
        many => many.iter().enumerate().for_each(|(i, cause)| line(&mut text, &format!("  {}:", i + 1), cause)),
    }
    error.left.iter().for_each(|l| line(&mut text, &head("left:", Style::new().yellow().bold()), l));
    error.hints.iter().for_each(|h| line(&mut text, &head("hint:", Style::new().cyan().bold()), h));
    text
}

fn line(text: &mut String, head: &str, words: &str) {
    let indent = " ".repeat(console::measure_text_width(head) + 1);
    let words = printable(words.trim_end()).replace('\n', &format!("\n{indent}"));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{head} {words}");
}

/// Text from elsewhere without what could move the cursor or change colours. Line ends and tabs stay.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '?' } else { c }).collect()
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    message: &'a str,
    causes: Vec<String>,
    left: &'a [String],
    hint: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    diagnostics: Vec<Place>,
}

#[derive(Serialize)]
struct Place {
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    code: Option<String>,
    message: String,
    hint: Option<String>,
}

impl Place {
    fn of(diagnostic: &(dyn Diagnostic + Send + Sync)) -> Self {
        let span = diagnostic.labels().and_then(|mut l| l.find(|l| l.primary()).or_else(|| diagnostic.labels()?.next()));
        let found = span.and_then(|s| diagnostic.source_code()?.read_span(s.inner(), 0, 0).ok());
        Self {
            file: found.as_ref().and_then(|f| f.name().map(str::to_owned)),
            line: found.as_ref().map(|f| f.line() + 1),
            column: found.as_ref().map(|f| f.column() + 1),
            code: diagnostic.code().map(|c| c.to_string()),
            message: diagnostic.to_string(),
            hint: diagnostic.help().map(|h| h.to_string()),
        }
    }

    fn cause(&self) -> String {
        match (&self.file, self.line, self.column) {
            (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}: {}", self.message),
            _ => self.message.clone(),
        }
    }
}

/// `{"error": {"code", "message", "causes", "left", "hint"}}` on one line, with `diagnostics` where files are wrong.
pub(super) fn json(error: &CliError) -> String {
    let diagnostics: Vec<_> = error.diagnostics.iter().map(|d| Place::of(d.as_ref())).collect();
    let causes = error.causes.iter().cloned().chain(diagnostics.iter().map(Place::cause)).collect();
    let hint = (!error.hints.is_empty()).then(|| error.hints.join("\n"));
    let body = Body { code: &error.code, message: &error.message, causes, left: &error.left, hint, diagnostics };
    serde_json::to_string(&Envelope { error: body }).unwrap_or_else(|e| format!("{{\"error\":{{\"code\":\"bug\",\"message\":\"{e}\"}}}}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::error::Kind;
    use crate::config::{Environment, Flags, Settings};

    fn stopped() -> CliError {
        CliError::new(Kind::Stopped, "AccessDeniedException", "city-lab: 1 of 9 steps failed, 3 were not begun")
            .cause("city-lab/ecs_service/django: ecs:CreateService: not allowed (AccessDeniedException)")
            .cause("city-lab/ecs_service/celery: skipped\nbecause of django")
            .left("everything done so far; see `labctl tenant show city-lab`")
            .hint("mend the cause, then: labctl operation resume 12")
    }

    fn invalid() -> CliError {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("labctl.toml"), "[profiles.prod]\nregoin = \"x\"\nregion = \"eu-central-1\"\n\n[profiles.prod.registry]\nhost = 3\n")
            .unwrap();
        Settings::resolve(&Flags::default(), &Environment::fixed(dir.path(), &[("HOME", "/h")])).unwrap_err().into()
    }

    #[test]
    fn people_read_the_error_its_causes_what_is_left_and_what_to_do() {
        insta::assert_snapshot!(human(&stopped(), false, None));
    }

    #[test]
    fn people_see_the_lines_that_are_wrong() {
        insta::assert_snapshot!(human(&invalid(), false, None));
    }

    #[test]
    fn programs_get_one_object() {
        let value: serde_json::Value = serde_json::from_str(&json(&stopped())).unwrap();
        insta::assert_json_snapshot!(value);
    }

    #[test]
    fn programs_get_file_line_and_column() {
        let value: serde_json::Value = serde_json::from_str(&json(&invalid())).unwrap();
        insta::assert_json_snapshot!(value);
    }

    #[test]
    fn colours_come_only_when_asked_for() {
        assert!(!human(&invalid(), false, None).contains('\u{1b}'));
        assert!(human(&invalid(), true, None).contains('\u{1b}'));
    }

    #[test]
    fn a_message_cannot_move_the_cursor() {
        let error = CliError::failed("x", "evil \u{1b}[2J\r text").cause(Path::new("a\u{7}b").display());
        assert!(!human(&error, false, None).chars().any(|c| c.is_control() && c != '\n'));
    }
}
