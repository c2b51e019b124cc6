//! Questions to the operator: only where somebody can answer, and every one of them has a flag that answers it beforehand.

use console::Term;
use dialoguer::{Confirm, Input, Select};

use super::error::{CliError, Kind};

/// Whether and how to ask.
#[derive(Debug, Clone, Copy)]
pub struct Prompt {
    /// stdin and stderr are terminals, and neither `--no-input` nor CI forbids it.
    pub(super) can_ask: bool,
    /// `--yes`.
    pub(super) yes: bool,
}

impl Prompt {
    /// Whether there is somebody to ask.
    pub fn can_ask(&self) -> bool {
        self.can_ask
    }

    /// The answer given by a flag, else asked for. `check` says what is wrong with an answer: a wrong flag is refused, a wrong answer asked again.
    ///
    /// # Errors
    /// Usage, naming the flag, when there is no answer and nobody to ask, or when the flag's answer is wrong; interrupted.
    pub fn text(
        &self,
        flag: &str,
        question: &str,
        given: Option<String>,
        default: Option<&str>,
        check: impl Fn(&str) -> Result<(), String> + Clone,
    ) -> Result<String, CliError> {
        if let Some(given) = given {
            return check(&given).map(|()| given).map_err(|wrong| CliError::usage(format!("{flag}: {wrong}")));
        }
        self.must_ask(flag, question)?;
        let mut input = Input::<String>::new().with_prompt(question).validate_with(|answer: &String| check(answer));
        if let Some(default) = default {
            input = input.default(default.to_owned());
        }
        input.interact_text().map_err(no_answer)
    }

    /// One of several: given by a flag, else chosen from a list.
    ///
    /// # Errors
    /// As [`Prompt::text`].
    pub fn choice(&self, flag: &str, question: &str, given: Option<String>, options: &[String]) -> Result<String, CliError> {
        if let Some(given) = given {
            return match options.contains(&given) {
                true => Ok(given),
                false => Err(CliError::usage(format!("{flag}: `{given}` is not one of {}", options.join(", ")))),
            };
        }
        self.must_ask(flag, question)?;
        let chosen = Select::new().with_prompt(question).items(options).default(0).interact().map_err(no_answer)?;
        options.get(chosen).cloned().ok_or_else(|| CliError::bug("a choice that was not offered"))
    }

    /// Goes on only after a yes: `--yes`, or the answer on the terminal. No is the default.
    ///
    /// # Errors
    /// Usage, naming `--yes`, when nobody can be asked; `cancelled` after a no.
    pub fn confirm(&self, question: &str) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        if !self.can_ask {
            let what = question.trim_end_matches(" Go on?");
            return Err(CliError::usage(format!("--yes is missing, and there is nobody to ask: {what}")).hint("give --yes, or run this on a terminal"));
        }
        match Confirm::new().with_prompt(question).default(false).interact().map_err(no_answer)? {
            true => Ok(()),
            false => Err(cancelled()),
        }
    }

    /// Goes on only after `expected` was typed in full, by hand or with `flag`: for what cannot be undone. `--yes` is not enough.
    ///
    /// # Errors
    /// Usage, naming `flag`, when it is missing and nobody can be asked, or says something else; `cancelled` after another answer.
    pub fn confirm_by_typing(&self, flag: &str, question: &str, given: Option<&str>, expected: &str) -> Result<(), CliError> {
        if let Some(given) = given {
            let wrong = || CliError::usage(format!("{flag}: `{given}` is not `{expected}`; nothing was changed"));
            return if given == expected { Ok(()) } else { Err(wrong()) };
        }
        let asked = self.must_ask(&format!("{flag} {expected}"), question);
        asked.map_err(|missing| if self.yes { missing.cause("--yes is not enough for this: what is meant must be named") } else { missing })?;
        let prompt = format!("{question} Type {expected} to go on");
        let typed = Input::<String>::new().with_prompt(prompt).allow_empty(true).interact_text().map_err(no_answer)?;
        if typed == expected { Ok(()) } else { Err(cancelled().cause(format!("`{typed}` is not `{expected}`"))) }
    }

    fn must_ask(&self, flag: &str, question: &str) -> Result<(), CliError> {
        if self.can_ask {
            return Ok(());
        }
        let question = question.trim_end_matches(['?', ':']);
        Err(CliError::usage(format!("{flag} is missing ({question}), and there is nobody to ask")).hint(format!("give {flag}, or run this on a terminal")))
    }
}

fn cancelled() -> CliError {
    CliError::failed("cancelled", "cancelled; nothing was changed")
}

fn no_answer(error: dialoguer::Error) -> CliError {
    let dialoguer::Error::IO(error) = error;
    // A question cut off leaves the cursor hidden and its line open.
    let _ = Term::stderr().show_cursor();
    let _ = Term::stderr().write_line("");
    match error.kind() {
        std::io::ErrorKind::Interrupted => CliError::new(Kind::Interrupted, "interrupted", "interrupted; nothing was changed"),
        _ => CliError::failed("no_answer", "the answer could not be read").because(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Prompt = Prompt { can_ask: false, yes: false };

    #[test]
    fn a_missing_answer_names_its_flag() {
        let error = NOBODY.text("--id", "Tenant id", None, None, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind.exit_code(), 64);
        assert_eq!(error.message, "--id is missing (Tenant id), and there is nobody to ask");
        assert!(NOBODY.confirm("Delete?").unwrap_err().message.starts_with("--yes is missing"));
    }

    #[test]
    fn a_given_answer_is_checked() {
        let check = |answer: &str| if answer == "ok" { Ok(()) } else { Err("not ok".to_owned()) };
        assert_eq!(NOBODY.text("--id", "Id", Some("ok".into()), None, check).unwrap(), "ok");
        assert_eq!(NOBODY.text("--id", "Id", Some("x".into()), None, check).unwrap_err().message, "--id: not ok");
        assert!(NOBODY.choice("--tier", "Tier", Some("gold".into()), &["trial".into()]).unwrap_err().message.contains("not one of trial"));
    }

    #[test]
    fn yes_confirms_but_does_not_type() {
        let yes = Prompt { can_ask: false, yes: true };
        assert!(yes.confirm("Go on?").is_ok());
        let missing = yes.confirm_by_typing("--confirm", "Purge?", None, "city-lab").unwrap_err();
        assert_eq!(missing.kind.exit_code(), 64);
        assert!(missing.causes.iter().any(|c| c.contains("--yes is not enough")), "{missing:?}");
        assert!(yes.confirm_by_typing("--confirm", "Purge?", Some("city-lab"), "city-lab").is_ok());
        assert_eq!(yes.confirm_by_typing("--confirm", "Purge?", Some("x"), "city-lab").unwrap_err().kind.exit_code(), 64);
    }
}
