//! `labctl audit verify`

use crate::cli::help::examples;
use crate::cli::output::{Sheet, View};
use crate::cli::{Cli, CliError};
use crate::registry::audit::AuditReport;

/// Verify that no row of the audit trail was changed, removed or put in
///
/// Each row holds the hash of the one before; all of them are computed anew. Whoever owns the database could still write the whole chain
/// anew, or cut off its end: keep the head's hash somewhere else, and give it with --head the next time.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Verify all of it", "labctl audit verify"),
    ("Keep the head", "labctl audit verify -o json | jq -r .head > head.txt"),
    ("Is what was kept still in the chain?", "labctl audit verify --head $(cat head.txt)"),
]))]
pub struct Args {
    /// A head's hash, kept from earlier
    #[arg(long, value_name = "HASH", value_parser = hash)]
    head: Option<String>,
}

fn hash(text: &str) -> Result<String, String> {
    let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if hex { Ok(text.to_lowercase()) } else { Err("a hash is 64 hexadecimal digits".to_owned()) }
}

impl View for AuditReport {
    fn view(&self) -> Sheet {
        let time = |at: &chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        Sheet::new()
            .field("rows_right", self.rows)
            .maybe("from", self.from.as_ref().map(time))
            .maybe("to", self.to.as_ref().map(time))
            .field("head", &self.head)
            .maybe("kept_head_is_row", self.kept)
            .maybe("first_wrong_row", self.broken.as_ref().map(|b| b.seq))
            .maybe("why", self.broken.as_ref().map(|b| &b.why))
    }
}

/// Runs it.
///
/// # Errors
/// 1 when a row is wrong or missing, or the kept hash is not in the chain.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let report = cli.registry().await?.verify_audit_with(args.head.as_deref()).await?;
    cli.out.object(&report)?;
    if let Some(broken) = &report.broken {
        let told = CliError::failed("audit_broken", format!("the audit trail is broken at row {}: {}", broken.seq, broken.why));
        return Err(told.hint("compare with a backup of the registry; rows before that one are as they were written"));
    }
    match args.head {
        // The head of an empty trail is the hash every chain begins with.
        Some(head) if report.kept.is_none() && head != "0".repeat(64) => {
            let told = CliError::failed(
                "audit_head_missing",
                "the hash kept from earlier is not in the audit trail: its end was cut off, or all of it was written anew",
            );
            Err(told.hint("compare with a backup of the registry"))
        }
        _ => Ok(()),
    }
}
