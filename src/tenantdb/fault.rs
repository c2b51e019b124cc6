//! `sqlx::Error` → [`Fault`]: whether a statement took effect, decided here and nowhere else.
//!
//! A server's error is a definite answer: the statement, and the transaction it was in, did nothing. Only a connection that broke while
//! a statement was under way leaves its outcome open. `DETAIL` is left out of messages, because it may quote a row.

use std::io::ErrorKind;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

use crate::engine::fault::{Class, Fault, Left};

/// SQLSTATE of a database that does not exist.
pub const NO_DATABASE: &str = "3D000";

/// SQLSTATEs by which a server says "not these credentials".
pub const NO_LOGIN: &[&str] = &["28000", "28P01"];

/// SQLSTATEs of "a thing of that name exists": database, schema, role.
const EXISTS: &[&str] = &["42P04", "42P06", "42710"];

/// A setting that means nothing to the server: a session that has it was begun by the very packet labctl sent. A pooler in between refuses the
/// packet or leaves the setting out, and hands sessions round: roles that are set, locks that are held and statements that are prepared
/// would be somebody else's.
pub(super) const MARK: &str = "labctl.session";

/// Turns a failed statement into a [`Fault`]. `call` is `postgres:STATEMENT`.
pub fn fault(call: &str, error: sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(e) => answer(call, e.as_ref()),
        sqlx::Error::Io(e) if matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
            unreachable(call, &e.to_string())
        }
        sqlx::Error::Io(e) => Fault::unknown(call, "broken_connection", e.to_string()),
        sqlx::Error::Tls(e) => untrusted(call, &e.to_string()),
        sqlx::Error::Configuration(e) => Fault::refused(call, "invalid_login", e.to_string()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) | sqlx::Error::RowNotFound => {
            Fault::refused(call, "unexpected_answer", error.to_string())
        }
        other => Fault::unknown(call, "broken_connection", other.to_string()),
    }
}

/// The fault of an attempt to connect: whatever went wrong, nothing was asked of the server yet.
pub fn connecting(call: &str, error: sqlx::Error) -> Fault {
    match error {
        // How rustls says that it does not trust a certificate.
        sqlx::Error::Io(e) if e.kind() == ErrorKind::InvalidData => untrusted(call, &e.to_string()),
        sqlx::Error::Io(e) => unreachable(call, &e.to_string()),
        other => {
            let mut fault = fault(call, other);
            if fault.class == Class::Unknown {
                fault.class = Class::Busy;
                fault.left = Left::Nothing;
            }
            fault
        }
    }
}

/// The same fault, but for "exists already" in answer to a create: somebody was faster, perhaps we ourselves with a lost reply, so
/// that only the next look can tell whose it is.
pub fn creating(mut fault: Fault) -> Fault {
    if EXISTS.contains(&fault.code.as_str()) {
        fault.class = Class::Unknown;
        fault.left = Left::Unknown("the thing of that name".to_owned());
    }
    fault
}

fn untrusted(call: &str, message: &str) -> Fault {
    Fault::refused(call, "tls", message)
        .hint("the server's certificate could not be verified: give the profile the certificate authority's file (for RDS the region's bundle)")
}

fn unreachable(call: &str, message: &str) -> Fault {
    Fault::busy(call, "unreachable", message).hint("is the server up, and does the profile's tunnel to it stand?")
}

fn answer(call: &str, error: &(dyn DatabaseError + 'static)) -> Fault {
    let code = error.code().map(|c| c.into_owned()).unwrap_or_default();
    let mut message = error.message().to_owned();
    if code == "2BP01"
        && let Some(detail) = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::detail)
    {
        message = format!("{message}: {}", detail.replace('\n', "; "));
    }
    classify(call, &code, message)
}

/// Whether a refusal is a pooler's (PgBouncer's, RDS Proxy's), or shows that one is there: [`MARK`] has not come through, or a statement that
/// was prepared is not, or is already.
fn is_pooler(code: &str, message: &str) -> bool {
    match code {
        "08P01" => message.contains("startup parameter"),
        "0A000" => message.contains("RDS Proxy"),
        "42704" => message.contains(MARK),
        "26000" | "42P05" => true,
        _ => false,
    }
}

fn classify(call: &str, code: &str, message: String) -> Fault {
    match code {
        _ if is_pooler(code, &message) => Fault::refused(call, "pooled", format!("there is a connection pooler before the server: {message}"))
            .hint("labctl needs sessions of its own: name the server itself in the platform, or lead its endpoint there with a tunnel of the profile"),
        "42501" => Fault::refused(call, code, message).hint(
            "the administrator of this server lacks a privilege: it must own the database or hold CREATE on it, have CREATEROLE and CREATEDB, \
                   and from PostgreSQL 16 on ADMIN OPTION for roles it did not make",
        ),
        "28000" | "28P01" => Fault::refused(call, code, message).hint("the server did not accept this role and password: compare them with the secret"),
        NO_DATABASE => Fault::refused(call, code, message),
        "53100" => Fault::refused(call, code, message).hint("the server's disk is full: enlarge its storage, then resume"),
        "2BP01" => Fault::refused(call, code, message).hint("other things still depend on it: delete those first"),
        // Serialization, deadlock, lock time-out, cancelled, in use, still starting, became a replica, server's limits on connections,
        // memory and locks: the statement did nothing, and later it may.
        "40001" | "40P01" | "55P03" | "57014" | "55006" | "57P03" | "25006" | "08001" | "08004" => Fault::busy(call, code, message),
        _ if code.starts_with("53") => Fault::busy(call, code, message),
        // Two transactions changed one catalog row (say, the privileges of one database); PostgreSQL has no code of its own for it.
        "XX000" if message.contains("concurrently") => Fault::busy(call, code, message),
        "57P01" | "57P02" | "57P04" | "57P05" | "25P03" | "40003" => Fault::unknown(call, code, message),
        _ if code.starts_with("08") => Fault::unknown(call, code, message),
        _ => Fault::refused(call, code, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sqlstate_decides_what_a_failed_statement_left() {
        let rows = [
            ("42501", Class::Refused),
            ("42P07", Class::Refused),
            ("23505", Class::Refused),
            ("55P03", Class::Busy),
            ("40001", Class::Busy),
            ("40P01", Class::Busy),
            ("57014", Class::Busy),
            ("53300", Class::Busy),
            ("53100", Class::Refused),
            ("57P03", Class::Busy),
            ("57P01", Class::Unknown),
            ("08006", Class::Unknown),
            ("XX000", Class::Refused),
            ("26000", Class::Refused),
        ];
        for (code, class) in rows {
            let fault = classify("postgres:CREATE SCHEMA", code, "words".into());
            assert_eq!(fault.class, class, "{code}");
            assert_eq!(fault.left == Left::Nothing, class != Class::Unknown, "{code}");
        }
        assert_eq!(classify("postgres:GRANT", "XX000", "tuple concurrently updated".into()).class, Class::Busy);
        assert!(classify("postgres:GRANT", "42501", "no".into()).hint.is_some());
    }

    #[test]
    fn a_pooler_is_told_by_what_it_refuses_and_by_what_does_not_come_through() {
        for (code, words) in [
            ("08P01", "unsupported startup parameter in options: labctl.session"),
            ("0A000", "Feature not supported: RDS Proxy currently doesn\u{2019}t support command-line options."),
            ("42704", "unrecognized configuration parameter \"labctl.session\""),
            ("26000", "prepared statement \"sqlx_s_1\" does not exist"),
        ] {
            let fault = classify("postgres:connect", code, words.into());
            assert_eq!((fault.class, fault.code.as_str(), fault.left), (Class::Refused, "pooled", Left::Nothing), "{words}");
        }
        assert_eq!(classify("postgres:SET", "42704", "unrecognized configuration parameter \"other\"".into()).code, "42704");
    }

    #[test]
    fn a_refused_connection_made_nothing_and_a_broken_one_may_have() {
        let io = |kind: ErrorKind| sqlx::Error::Io(kind.into());
        assert_eq!(fault("postgres:COMMIT", io(ErrorKind::ConnectionRefused)).class, Class::Busy);
        assert_eq!(fault("postgres:COMMIT", io(ErrorKind::UnexpectedEof)).class, Class::Unknown);
        assert_eq!(connecting("postgres:connect", io(ErrorKind::UnexpectedEof)).class, Class::Busy);
    }

    #[test]
    fn exists_already_is_an_open_question_only_for_a_create() {
        let exists = classify("postgres:CREATE ROLE", "42710", "role exists".into());
        assert_eq!(exists.class, Class::Refused);
        assert_eq!(creating(exists).class, Class::Unknown);
    }
}
