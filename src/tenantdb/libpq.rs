//! What PostgreSQL's own programs (psql, pg_dump) are told so that they reach a database just as labctl does: variables of libpq, and a
//! line of its password file.
//!
//! # Where the password goes
//! Into a file that `PGPASSFILE` names, mode 0600, for as long as the program runs. An argument can be read by every user of the machine.
//! A variable (`PGPASSWORD`) can be read by the same user only, but is handed on to whatever psql starts (a pager, an editor, `\!`), and
//! stands in the output of `ps e` and `env`, which find their way into logs.

use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};

use super::connect::{Databases, Login, Tls};
use super::tunnel;
use crate::engine::fault::Fault;

/// Variables of libpq that would lead a program elsewhere, or let it in otherwise, if they were inherited.
pub const FOREIGN: &[&str] = &[
    "PGHOSTADDR",
    "PGPASSWORD",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSYSCONFDIR",
    "PGOPTIONS",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLROOTCERT",
    "PGSSLNEGOTIATION",
    "PGCHANNELBINDING",
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGTARGETSESSIONATTRS",
    "PGLOADBALANCEHOSTS",
];

/// How a program of PostgreSQL's logs in.
pub struct Libpq {
    /// Its variables. None is secret. `PGPASSFILE` is to be added.
    pub variables: Vec<(&'static str, String)>,
    /// The one line of its password file.
    pub password_line: SecretString,
}

impl Databases {
    /// How a program logs in as `login`, through the profile's tunnels, with no less trust in certificates than labctl's own.
    ///
    /// # Errors
    /// Refused when an endpoint is none.
    pub fn libpq(&self, login: &Login, application: &str) -> Result<Libpq, Fault> {
        let settings = self.settings();
        let through = settings.tunnels.through(&login.endpoint);
        let bad = |address: &str| Fault::refused("postgres:connect", "invalid_endpoint", format!("`{address}` is not an endpoint; an endpoint is host:port"));
        let (name, _) = tunnel::split(&login.endpoint).ok_or_else(|| bad(&login.endpoint))?;
        let address = through.unwrap_or(&login.endpoint);
        let (reached, port) = tunnel::split(address).ok_or_else(|| bad(address))?;
        // libpq takes an address beside the name, so that even through a tunnel the certificate is held against the name.
        let by_address = through.is_some() && reached.parse::<IpAddr>().is_ok();
        let host = if by_address { name } else { reached };
        let mode = match settings.tls {
            Tls::VerifyFull if through.is_none() || by_address => "verify-full",
            Tls::VerifyFull | Tls::VerifyCa => "verify-ca",
            Tls::Require => "require",
            Tls::Prefer => "prefer",
            Tls::Off => "disable",
        };
        let mut variables = vec![
            ("PGHOST", host.to_owned()),
            ("PGPORT", port.to_string()),
            ("PGDATABASE", login.database.clone()),
            ("PGUSER", login.username.clone()),
            ("PGSSLMODE", mode.to_owned()),
            ("PGAPPNAME", application.to_owned()),
            ("PGGSSENCMODE", "disable".to_owned()),
            ("PGCONNECT_TIMEOUT", "10".to_owned()),
        ];
        variables.extend(by_address.then(|| ("PGHOSTADDR", reached.to_owned())));
        let authorities = match &settings.root_cert {
            Some(file) => Some(file.display().to_string()),
            // The system's, which libpq knows from version 16 on, and only where the name is checked too.
            None => (mode == "verify-full").then(|| "system".to_owned()),
        };
        variables.extend(authorities.map(|file| ("PGSSLROOTCERT", file)));
        let field = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
        let line = [host, &port.to_string(), &login.database, &login.username, login.password.expose_secret()].map(field).join(":");
        Ok(Libpq { variables, password_line: SecretString::from(line + "\n") })
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::Settings;
    use super::super::tunnel::Tunnels;
    use super::*;

    fn libpq(tls: Tls, tunnel: Option<&str>) -> (String, String) {
        let endpoint = "db.eu-west-1.rds.amazonaws.com:5432";
        let tunnels = Tunnels::new(tunnel.map(|to| (endpoint, to))).unwrap();
        let login =
            Login { endpoint: endpoint.into(), database: "shared".into(), username: "tenant_a_app".into(), password: SecretString::from("pa:ss\\word") };
        let told = Databases::new(Settings { tunnels, tls, root_cert: None }).libpq(&login, "labctl").unwrap();
        let of = |name: &str| told.variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str()).unwrap_or("-");
        let way = ["PGHOST", "PGHOSTADDR", "PGPORT", "PGSSLMODE", "PGSSLROOTCERT"].map(of).join(" ");
        assert!(!told.variables.iter().any(|(_, v)| v.contains("pa:ss")));
        (way, told.password_line.expose_secret().to_owned())
    }

    #[test]
    fn a_tunnel_does_not_lower_the_trust_where_libpq_can_check_the_name() {
        let rows = [
            (Tls::VerifyFull, None, "db.eu-west-1.rds.amazonaws.com - 5432 verify-full system"),
            (Tls::VerifyFull, Some("127.0.0.1:6000"), "db.eu-west-1.rds.amazonaws.com 127.0.0.1 6000 verify-full system"),
            (Tls::VerifyFull, Some("bastion:6000"), "bastion - 6000 verify-ca -"),
            (Tls::Require, Some("127.0.0.1:6000"), "db.eu-west-1.rds.amazonaws.com 127.0.0.1 6000 require -"),
            (Tls::Off, None, "db.eu-west-1.rds.amazonaws.com - 5432 disable -"),
        ];
        for (tls, tunnel, way) in rows {
            assert_eq!(libpq(tls, tunnel).0, way);
        }
    }

    #[test]
    fn the_password_files_line_names_what_libpq_looks_it_up_by() {
        assert_eq!(libpq(Tls::Off, Some("bastion:6000")).1, "bastion:6000:shared:tenant_a_app:pa\\:ss\\\\word\n");
        assert_eq!(libpq(Tls::Off, Some("127.0.0.1:6000")).1, "db.eu-west-1.rds.amazonaws.com:6000:shared:tenant_a_app:pa\\:ss\\\\word\n");
    }
}
