//! Whether a server refuses logins without TLS, as far as its administrator may know. Asks the server's settings; never tries a login.
//!
//! On RDS it is the parameter `rds.force_ssl`. Elsewhere it is what `pg_hba.conf` says, which only a superuser reads, or who was given
//! `EXECUTE` on `pg_hba_file_rules()`. The file is read as it is now: a change that was not loaded yet counts already.

use serde::Serialize;

use super::connect::Connection;
use crate::engine::fault::{Class, Fault};

/// What becomes of a login without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// It is refused.
    Required,
    /// It is taken: TLS is the client's choice.
    Optional,
    /// The server speaks no TLS at all.
    None,
    /// The administrator may not see it.
    Unknown,
}

/// A line of `pg_hba.conf`.
struct Rule {
    /// `local`, `host`, `hostssl`, `hostnossl`, `hostgssenc` or `hostnogssenc`.
    kind: String,
    databases: Vec<String>,
    users: Vec<String>,
    /// An address, a host's name, `all`, `samehost` or `samenet`.
    address: String,
    netmask: String,
    method: String,
}

/// Asks a server what becomes of a login of these roles over a network without TLS.
///
/// # Errors
/// As the statements' faults, but for refusals.
pub async fn look(db: &mut Connection, roles: &[String]) -> Result<Tls, Fault> {
    type Row = (Option<String>, String, bool);
    let asked: Option<Row> = db
        .optional(
            "postgres:pg_settings",
            sqlx::query_as("SELECT current_setting('rds.force_ssl', true), current_setting('ssl'), has_function_privilege('pg_hba_file_rules()', 'EXECUTE')"),
        )
        .await?;
    match asked {
        Some((Some(forced), ..)) if matches!(forced.as_str(), "on" | "1" | "true") => return Ok(Tls::Required),
        Some((_, ssl, _)) if ssl == "off" => return Ok(Tls::None),
        Some((Some(_), ..)) => return Ok(Tls::Optional),
        Some((None, _, true)) => {}
        Some((None, _, false)) | None => return Ok(Tls::Unknown),
    }
    type Line = (Option<String>, Option<Vec<String>>, Option<Vec<String>>, Option<String>, Option<String>, Option<String>, Option<String>);
    let sql = "SELECT type, database, user_name, address, netmask, auth_method, error FROM pg_hba_file_rules() WITH ORDINALITY \
               ORDER BY ordinality";
    let lines: Vec<Line> = match db.all("postgres:pg_hba_file_rules", sqlx::query_as(sql)).await {
        Ok(lines) => lines,
        Err(fault) if fault.class == Class::Refused => return Ok(Tls::Unknown),
        Err(fault) => return Err(fault),
    };
    let rules = lines.into_iter().map(|(kind, databases, users, address, netmask, method, error)| {
        let rule = Rule {
            kind: kind?,
            databases: databases?,
            users: users?,
            address: address.unwrap_or_default(),
            netmask: netmask.unwrap_or_default(),
            method: method?,
        };
        error.is_none().then_some(rule)
    });
    // A file with an error in it is not what the server goes by.
    Ok(rules.collect::<Option<Vec<_>>>().map_or(Tls::Unknown, |rules| judge(&rules, roles)))
}

/// The first line that fits decides; no line that fits refuses.
fn judge(rules: &[Rule], roles: &[String]) -> Tls {
    let all = |names: &[String]| names.iter().any(|name| name == "all");
    let (mut closed_v4, mut closed_v6) = (false, false);
    for rule in rules.iter().filter(|r| matches!(r.kind.as_str(), "host" | "hostnossl" | "hostnogssenc")) {
        let v6 = rule.address.contains(':');
        let (everywhere, closed) = match rule.address.as_str() {
            "all" => (true, closed_v4 && closed_v6),
            "0.0.0.0" if rule.netmask == "0.0.0.0" => (true, closed_v4),
            "::" if rule.netmask == "::" => (true, closed_v6),
            // What never leaves the server's machine needs no TLS.
            "samehost" | "::1" => continue,
            address if address.starts_with("127.") => continue,
            // The name of a host may be of either family.
            address if address.starts_with(|c: char| c.is_ascii_digit()) || v6 => (false, if v6 { closed_v6 } else { closed_v4 }),
            _ => (false, closed_v4 && closed_v6),
        };
        if closed || rule.databases == ["replication"] {
            continue;
        }
        if rule.method != "reject" {
            // Groups (`+x`) and patterns (`/x`) may be about anybody.
            if rule.users.iter().any(|user| user == "all" || user.starts_with(['+', '/']) || roles.contains(user)) {
                return Tls::Optional;
            }
        } else if everywhere && all(&rule.databases) && all(&rule.users) {
            closed_v4 |= !v6;
            closed_v6 |= v6 || rule.address == "all";
        }
    }
    Tls::Required
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(line: &str) -> Rule {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, databases, users, address, method] = words[..] else { panic!("{line}") };
        let list = |names: &str| names.split(',').map(ToOwned::to_owned).collect();
        let (address, netmask) = match address.split_once('/') {
            Some((address, "0")) => (address, address),
            Some((address, _)) => (address, "255.0.0.0"),
            None => (address, ""),
        };
        Rule { kind: kind.into(), databases: list(databases), users: list(users), address: address.into(), netmask: netmask.into(), method: method.into() }
    }

    #[test]
    fn the_first_line_that_fits_a_plain_login_from_elsewhere_decides() {
        let table: [(&[&str], Tls); 16] = [
            (&[], Tls::Required),
            (&["hostssl all all all scram-sha-256"], Tls::Required),
            (&["host all all all scram-sha-256"], Tls::Optional),
            (&["hostnossl all all 10.0.0.0/8 scram-sha-256"], Tls::Optional),
            (&["hostnogssenc all all fd00::/8 md5"], Tls::Optional),
            (&["host all all .example.org scram-sha-256"], Tls::Optional),
            (&["local all all - trust", "host all all 127.0.0.1/32 scram-sha-256", "host all all ::1/128 scram-sha-256"], Tls::Required),
            (&["hostssl all all all scram-sha-256", "host all all 10.0.0.0/8 scram-sha-256"], Tls::Optional),
            (&["hostnossl all all all reject", "host all all all scram-sha-256"], Tls::Required),
            (&["hostnossl all all 0.0.0.0/0 reject", "hostnossl all all ::/0 reject", "host all all all scram-sha-256"], Tls::Required),
            (&["hostnossl all all 0.0.0.0/0 reject", "host all all 10.0.0.0/8 scram-sha-256"], Tls::Required),
            (&["hostnossl all all 0.0.0.0/0 reject", "host all all all scram-sha-256"], Tls::Optional),
            (&["hostnossl all all 10.0.0.0/8 reject", "host all all all scram-sha-256"], Tls::Optional),
            (&["hostnossl other all all reject", "host all all all scram-sha-256"], Tls::Optional),
            (&["host replication all all scram-sha-256", "host all backup 10.0.0.0/8 scram-sha-256"], Tls::Required),
            (&["host all backup,tenant_a_app 10.0.0.0/8 scram-sha-256"], Tls::Optional),
        ];
        for (lines, expected) in table {
            let rules: Vec<Rule> = lines.iter().map(|line| rule(line)).collect();
            assert_eq!(judge(&rules, &["tenant_a_app".to_owned()]), expected, "{lines:?}");
        }
        assert_eq!(judge(&[rule("host all +tenants 10.0.0.0/8 scram-sha-256")], &[]), Tls::Optional, "a group may be about anybody");
    }
}
