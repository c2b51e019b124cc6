//! What the two logins of a part, their secret, and whatever reads it are while credentials are rotated. Works on specs as a stack gives
//! them, in which `${…}` may still stand.

use serde_json::{Value, json};

/// Key of a secret with the password of the login to come.
const NEXT: &str = "next_password";
/// Environment variable of containers that read a rotated secret. Nothing reads it: it makes ECS start them anew, which is when they
/// read the secret.
const GENERATION: &str = "LABCTL_LOGIN_GENERATION";

/// What one of the two logins is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// The secret names it.
    InForce,
    /// The secret holds its password beside the one in force.
    ToCome,
    /// It still logs in with the password it had.
    OnTheWayOut,
    /// It cannot log in, and has no password. Sessions it has go on.
    Closed,
}

/// The name of a part's second login.
pub fn second_name(first: &str) -> String {
    format!("{first}_b")
}

/// The second login of a part: as the first (`spec`), whose member it is and as which it acts.
pub fn second(part: &str, spec: &Value, duty: Duty) -> Value {
    let mut second = spec.clone();
    second["name"] = json!(second_name(name(spec)));
    second["acts_as"] = json!(format!("${{postgres_role.{part}.name}}"));
    login(&mut second, duty);
    second
}

/// Makes a login's spec what its duty says.
pub fn login(spec: &mut Value, duty: Duty) {
    match duty {
        Duty::InForce => {}
        Duty::ToCome => spec["password_key"] = json!(NEXT),
        Duty::OnTheWayOut => spec["password_stays"] = json!(true),
        Duty::Closed => {
            spec["login"] = json!(false);
            spec["sessions_stay"] = json!(true);
            if let Some(fields) = spec.as_object_mut() {
                fields.remove("secret_arn");
            }
        }
    }
}

/// The name of the role that a spec is of.
pub fn name(spec: &Value) -> &str {
    spec["name"].as_str().unwrap_or_default()
}

/// Makes a secret's spec name this login; the password of the one to come is generated beside (`made`), or put in force.
pub fn secret(spec: &mut Value, username: &str, made: bool) {
    spec["values"]["username"] = json!(username);
    if !made {
        spec["promote"] = json!({"password": NEXT});
        return;
    }
    match spec["generate"].as_array_mut() {
        Some(keys) => keys.push(json!(NEXT)),
        None => spec["generate"] = json!([NEXT]),
    }
}

/// Makes a task definition another one with each generation of a secret its containers read.
pub fn reader(spec: &mut Value, part: &str, generation: u32) {
    let reads = format!("${{secret.{part}.arn}}");
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        let secrets = container["secrets"].as_object().into_iter().flat_map(|all| all.values());
        if generation == 0 || !secrets.filter_map(Value::as_str).any(|value| value.starts_with(&reads)) {
            continue;
        }
        let so_far = container["environment"][GENERATION].as_str().map(|text| format!("{text},")).unwrap_or_default();
        container["environment"][GENERATION] = json!(format!("{so_far}{part}={generation}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role() -> Value {
        json!({"name": "tenant_a_app", "login": true, "secret_arn": "${secret.app.arn}", "settings": {"search_path": "tenant_a"}})
    }

    #[test]
    fn the_second_login_acts_as_the_first_and_a_closed_one_has_no_password() {
        let second = second("app", &role(), Duty::ToCome);
        assert_eq!(
            second,
            json!({"name": "tenant_a_app_b", "login": true, "secret_arn": "${secret.app.arn}", "settings": {"search_path": "tenant_a"},
                   "acts_as": "${postgres_role.app.name}", "password_key": "next_password"})
        );
        let mut first = role();
        login(&mut first, Duty::Closed);
        assert_eq!(first, json!({"name": "tenant_a_app", "login": false, "sessions_stay": true, "settings": {"search_path": "tenant_a"}}));
    }

    #[test]
    fn only_containers_that_read_the_secret_are_started_anew() {
        let mut spec = json!({"containers": [
            {"secrets": {"PASSWORD": "${secret.app.arn}:password::"}, "environment": {}},
            {"secrets": {"KEY": "${secret.django.arn}:key::"}, "environment": {}},
        ]});
        let before = spec.clone();
        reader(&mut spec, "app", 0);
        assert_eq!(spec, before, "what was never rotated is as the stack says");
        reader(&mut spec, "app", 1);
        reader(&mut spec, "readonly", 4);
        assert_eq!(spec["containers"][0]["environment"], json!({"LABCTL_LOGIN_GENERATION": "app=1"}));
        assert_eq!(spec["containers"][1], before["containers"][1]);
    }
}
