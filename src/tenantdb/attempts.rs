//! Statements that ought to be refused: run, undone whatever became of them, and answered one by one.
//!
//! A hundred of them take one round trip: the server runs them in a loop, each in a subtransaction that is rolled back even where it
//! succeeded, and the whole in a transaction that is rolled back too. So a wall that has a hole is found without anybody's data changing.

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgDatabaseError, PgSeverity};
use sqlx::{AssertSqlSafe, Row as _};

use super::connect::Connection;
use super::fault::fault;
use super::quote::{Literal, list};
use crate::engine::fault::Fault;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It went through, and was undone. So many rows were read or changed.
    Done(i64),
    /// The server's error.
    Failed {
        /// SQLSTATE.
        code: String,
        /// Its words.
        message: String,
    },
}

/// The SQLSTATE by which the loop itself undoes a statement that went through. Nobody else's.
const THROUGH: &str = "LC100";

/// `$1` is put in as a list of literals: the body of a `DO` has no parameters. Reads and writes, since a session may always choose so
/// itself; locks are not waited for, since a statement that waits for one has passed the wall already.
const LOOP: &str = "DECLARE attempt text; state text; words text; n bigint; outcomes jsonb := '[]';
BEGIN
    FOREACH attempt IN ARRAY ARRAY[$1]::text[] LOOP
        BEGIN
            EXECUTE attempt;
            GET DIAGNOSTICS n = ROW_COUNT;
            RAISE EXCEPTION USING ERRCODE = 'LC100', MESSAGE = n::text;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, words = MESSAGE_TEXT;
            outcomes := outcomes || jsonb_build_array(jsonb_build_array(state, words));
        END;
    END LOOP;
    PERFORM set_config('labctl.outcomes', outcomes::text, true);
END";

impl Connection {
    /// Tries each of these by itself; none has an effect. The answers are in the same order.
    ///
    /// # Errors
    /// When the loop itself could not be run: then nothing is known of any of them.
    pub async fn attempt_all(&mut self, statements: &[String]) -> Result<Vec<Outcome>, Fault> {
        const CALL: &str = "postgres:DO";
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let literals: Vec<Literal> = statements.iter().map(|s| Literal::new(s)).collect::<Result<_, _>>()?;
        let body = Literal::new(&LOOP.replace("$1", &list(literals)))?;
        let sql = format!("BEGIN READ WRITE; SET LOCAL lock_timeout = 200; DO {body}; SELECT current_setting('labctl.outcomes'); ROLLBACK");
        let link = self.link(CALL)?;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(link).await;
        let rows = self.ended(CALL, rows)?;
        let text: Option<String> = rows.first().and_then(|row| row.try_get(0).ok());
        let pairs: Option<Vec<(String, String)>> = text.and_then(|t| serde_json::from_str(&t).ok());
        let pairs = pairs.filter(|p| p.len() == statements.len());
        let pairs = pairs.ok_or_else(|| Fault::refused(CALL, "unexpected_answer", "the server did not answer every attempt"))?;
        Ok(pairs
            .into_iter()
            .map(|(code, message)| if code == THROUGH { Outcome::Done(message.parse().unwrap_or(0)) } else { Outcome::Failed { code, message } })
            .collect())
    }

    /// Tries one that PostgreSQL runs outside transactions only. It must be of a kind that fails even where it is allowed.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn attempt_alone(&mut self, statement: &str) -> Result<Outcome, Fault> {
        const CALL: &str = "postgres:attempt";
        self.execute("postgres:SET", "SET default_transaction_read_only = off".to_owned()).await?;
        let link = self.link(CALL)?;
        let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(link).await;
        let outcome = self.answered(CALL, done.map(drop))?;
        self.execute("postgres:RESET", "RESET default_transaction_read_only".to_owned()).await?;
        Ok(outcome)
    }

    /// Tries `COPY … TO STDOUT` or `COPY … FROM STDIN`. Nothing of what would come is read, and nothing sent: a connection that was let
    /// through is closed, and the server undoes it.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn attempt_copy(&mut self, statement: &str) -> Result<Outcome, Fault> {
        const CALL: &str = "postgres:COPY";
        let link = self.link(CALL)?;
        let done = sqlx::raw_sql(AssertSqlSafe(format!("BEGIN READ WRITE; {statement}"))).execute(link).await;
        match done {
            // The driver knows no COPY among statements; that the server would begin one is all that was asked.
            Err(sqlx::Error::Protocol(words)) if words.contains("CopyOutResponse") || words.contains("CopyInResponse") => Ok(Outcome::Done(0)),
            done => {
                let outcome = self.answered(CALL, done.map(drop))?;
                self.execute("postgres:ROLLBACK", "ROLLBACK".to_owned()).await?;
                Ok(outcome)
            }
        }
    }

    /// Tries `COPY … TO STDOUT`, and reads what comes: so many pieces, nearly always rows.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn attempt_copy_rows(&mut self, statement: &str) -> Result<Outcome, Fault> {
        const CALL: &str = "postgres:COPY";
        let link = self.link(CALL)?;
        let read = async {
            let mut pieces = link.copy_out_raw(statement).await?;
            let mut count = 0;
            while let Some(piece) = pieces.try_next().await? {
                count += i64::from(!piece.is_empty());
            }
            Ok(count)
        };
        match read.await {
            Ok(count) => self.ended(CALL, Ok(Outcome::Done(count))),
            Err(e) => self.answered(CALL, Err(e)),
        }
    }

    /// A server's error is an answer, and the connection is as good as before.
    fn answered(&mut self, call: &str, result: Result<(), sqlx::Error>) -> Result<Outcome, Fault> {
        match result {
            Err(sqlx::Error::Database(e)) if e.try_downcast_ref::<PgDatabaseError>().is_some_and(|p| !is_fatal(p)) => {
                self.ended(call, Ok(()))?;
                Ok(Outcome::Failed { code: e.code().unwrap_or_default().into_owned(), message: e.message().to_owned() })
            }
            Err(e) => Err(fault(call, e)),
            Ok(()) => self.ended(call, Ok(Outcome::Done(0))),
        }
    }
}

fn is_fatal(error: &PgDatabaseError) -> bool {
    !matches!(error.severity(), PgSeverity::Error)
}
