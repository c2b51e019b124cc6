//! `labctl tenant history`

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError};
use crate::engine::kind::Change;
use crate::plan::difference::difference;
use crate::registry::Revision;

/// Tell a tenant's history: every desired state it had, by whom, and what changed
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("All of it, the newest first", "labctl tenant history hospital-a"),
    ("The last change", "labctl tenant history hospital-a --limit 1"),
    ("Who changed the tier?", "labctl tenant history hospital-a -o json | jq '.[] | select(any(.changes[]; .field == \"tier\"))'"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// At most so many; 0 for all
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

/// A revision, and what it changed.
#[derive(Debug, Serialize)]
struct Told {
    revision: i32,
    parent: Option<i32>,
    at: DateTime<Utc>,
    who: String,
    host: String,
    command: String,
    note: Option<String>,
    changes: Vec<Change>,
}

impl Row for Told {
    const COLUMNS: &'static [&'static str] = &["revision", "at", "who", "command", "note", "changes"];

    fn cells(&self) -> Vec<String> {
        let changes = match self.parent {
            None => "the first".to_owned(),
            Some(_) => self.changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        };
        vec![
            self.revision.to_string(),
            self.at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            format!("{}@{}", self.who, self.host),
            self.command.clone(),
            self.note.clone().unwrap_or_else(|| "-".to_owned()),
            changes,
        ]
    }
}

/// Runs it.
///
/// # Errors
/// 1 when there is no such tenant.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let registry = cli.registry().await?;
    registry.tenant(&args.id).await?;
    let revisions = registry.revisions(&args.id).await?;
    let most = if args.limit == 0 { usize::MAX } else { args.limit };
    let told: Vec<Told> = revisions.iter().take(most).map(|r| told(r, revisions.iter().find(|p| Some(p.number) == r.parent))).collect();
    cli.out.list(&told)
}

fn told(r: &Revision, parent: Option<&Revision>) -> Told {
    Told {
        revision: r.number,
        parent: r.parent,
        at: r.created_at,
        who: r.who.clone(),
        host: r.host.clone(),
        command: r.command.clone(),
        note: r.note.clone(),
        changes: parent.map(|p| difference((&p.spec, &p.life), (&r.spec, &r.life))).unwrap_or_default(),
    }
}
