//! `labctl tenant certificate`

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::cli::help::examples;
use crate::cli::output::{Row, Sheet, View};
use crate::cli::{Cli, CliError};
use crate::registry::Certificate;

/// Show the certificate of a purge: what was removed, when and by whom, and what remains until when
///
/// As JSON it is the document itself, whose SHA-256 stands in the audit trail.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For people", "labctl tenant certificate city-lab"),
    ("The document, into a file that must not exist", "labctl tenant certificate city-lab --out city-lab-certificate.json"),
    ("Its digest, as the audit trail has it", "labctl tenant certificate city-lab -o json | jq -cSj . | sha256sum"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// Which, where the id was made anew and purged again [default: the newest]
    #[arg(long)]
    number: Option<i32>,

    /// Write the JSON document into this file, which must not exist
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A certificate, for output: to programs the document.
#[derive(Serialize)]
#[serde(transparent)]
struct Shown {
    document: Value,
    #[serde(skip)]
    digest: String,
}

/// Objects of the document as lines of a table: the fields named.
macro_rules! lines {
    ($name:ident, $($column:literal),+) => {
        #[derive(Serialize)]
        #[serde(transparent)]
        struct $name<'a>(&'a Value);

        impl Row for $name<'_> {
            const COLUMNS: &'static [&'static str] = &[$($column),+];

            fn cells(&self) -> Vec<String> {
                Self::COLUMNS.iter().map(|column| plain(&self.0[*column])).collect()
            }
        }
    };
}

lines!(Removed, "kind", "id", "removed_at");
lines!(Asked, "service", "call", "listed", "result");
lines!(Remaining, "service", "what", "id", "until");

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn all<'a, T>(list: &'a Value, make: impl Fn(&'a Value) -> T) -> Vec<T> {
    list.as_array().into_iter().flatten().map(make).collect()
}

impl View for Shown {
    fn view(&self) -> Sheet {
        let d = &self.document;
        let (tenant, asked, done) = (&d["tenant"], &d["asked"], &d["carried_out"]);
        let said = |who: &Value| format!("{}@{}: {}", plain(&who["by"]), plain(&who["from"]), plain(&who["command"]));
        let (removed, census, remains) = (all(&d["removed"], Removed), all(&d["census"], Asked), all(&d["remains"], Remaining));
        Sheet::new()
            .field("certificate", format!("{} of tenant {}", plain(&d["certificate"]), plain(&tenant["id"])))
            .field("statement", plain(&d["statement"]))
            .field("issued_at", plain(&d["issued_at"]))
            .field("display_name", plain(&tenant["display_name"]))
            .field("stack", format!("{} {} ({})", plain(&tenant["stack"]), plain(&tenant["tier"]), plain(&tenant["isolation"])))
            .field("provisioned_at", plain(&tenant["provisioned_at"]))
            .field("deleted_at", plain(&d["deleted"]["at"]))
            .field("reason", plain(&d["deleted"]["reason"]))
            .field("asked", said(asked))
            .field("carried_out", said(done))
            .field("operation", format!("{}, begun {}, {} attempts", plain(&done["operation"]), plain(&done["began_at"]), plain(&done["attempts"])))
            .field("audit", format!("follows row {}, {}", plain(&d["audit"]["seq"]), plain(&d["audit"]["hash"])))
            .field("sha256", &self.digest)
            .rows(format!("{} resources removed", removed.len()), &removed)
            .rows("What every service was asked afterwards, and has of the tenant", &census)
            .rows(format!("{} things remain until their date", remains.len()), &remains)
    }
}

/// Runs it.
///
/// # Errors
/// 1 when there is no such tenant, no certificate of it, or the file exists.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let Certificate { document, digest, number, .. } = cli.registry().await?.certificate(&args.id, args.number).await?;
    let Some(path) = args.out else { return cli.out.object(&Shown { document, digest }) };
    write(&path, &document).map_err(|e| CliError::failed("unwritable", format!("cannot write the certificate to {}", path.display())).because(&e))?;
    cli.say.status(format!("Certificate {number} of tenant {} is in {} (SHA-256 {digest})", args.id, path.display()));
    Ok(())
}

fn write(path: &Path, document: &Value) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(format!("{document:#}\n").as_bytes())
}
