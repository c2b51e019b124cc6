//! IAM policy documents, evaluated: what a principal may do, as far as its policies alone can tell. Pure.
//!
//! For places that cannot be asked (an emulator evaluates nothing, and `iam:SimulatePrincipalPolicy` may be refused). Follows the order
//! of AWS: an explicit deny wins, then an allow of the principal's or of the resource's policy, else refused. What it does not understand
//! (an operator, a key it has no value for) makes the answer [`Decision::Unknown`], never "refused".

use std::collections::BTreeMap;

use serde_json::Value;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `s3:GetObject`.
    pub action: String,
    /// Its ARN.
    pub resource: String,
    /// Condition keys and their values. `aws:PrincipalTag/…` is known in full: one that is not here is not there.
    pub context: BTreeMap<String, String>,
}

/// What the policies say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, by this statement.
    Allowed(String),
    /// Not allowed, or denied.
    Refused(String),
    /// It depends on something that is not known here.
    Unknown(String),
}

/// A resource's own policy, and who asks.
#[derive(Debug, Clone, Copy)]
pub struct ResourcePolicy<'a> {
    /// The document.
    pub document: &'a Value,
    /// ARN of the role that asks.
    pub principal: &'a str,
}

/// Decides. `boundary` is the permissions boundary: the most the principal's own policies can give.
pub fn decide(policies: &[Value], boundary: Option<&Value>, resource: Option<ResourcePolicy<'_>>, request: &Request) -> Decision {
    let mut unknown = None;
    let own: Vec<Met> = policies.iter().flat_map(statements).map(|s| met(s, request)).collect();
    let edge: Vec<Met> = boundary.into_iter().flat_map(statements).map(|s| met(s, request)).collect();
    let theirs: Vec<Met> = resource.into_iter().flat_map(|r| statements(r.document).filter(move |s| names(s, r.principal))).map(|s| met(s, request)).collect();
    for met in own.iter().chain(&edge).chain(&theirs).filter(|m| m.deny) {
        match &met.matches {
            Matches::Yes => return Decision::Refused(format!("denied by {}", met.sid)),
            Matches::Unknown(why) => unknown = Some(format!("{}: {why}", met.sid)),
            Matches::No => {}
        }
    }
    let allows = |all: &[Met]| -> Allow {
        let allowing = || all.iter().filter(|m| !m.deny);
        if let Some(m) = allowing().find(|m| m.matches == Matches::Yes) {
            return Allow::Yes(m.sid.clone());
        }
        let open = allowing().find_map(|m| if let Matches::Unknown(why) = &m.matches { Some(format!("{}: {why}", m.sid)) } else { None });
        open.map_or(Allow::No, Allow::Unknown)
    };
    let by_own = match (allows(&own), boundary.map(|_| allows(&edge))) {
        (Allow::Yes(_), Some(Allow::No)) => Allow::No,
        (Allow::Yes(_), Some(Allow::Unknown(why))) => Allow::Unknown(why),
        (by, _) => by,
    };
    match (by_own, allows(&theirs), unknown) {
        (Allow::Yes(_), _, Some(why)) | (_, Allow::Yes(_), Some(why)) => Decision::Unknown(why),
        (Allow::Yes(sid), ..) | (_, Allow::Yes(sid), _) => Decision::Allowed(sid),
        (Allow::Unknown(why), ..) | (_, Allow::Unknown(why), _) => Decision::Unknown(why),
        _ => Decision::Refused("no statement allows it".to_owned()),
    }
}

/// Whether some statement allows it.
enum Allow {
    Yes(String),
    No,
    Unknown(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Matches {
    Yes,
    No,
    Unknown(String),
}

struct Met {
    sid: String,
    deny: bool,
    matches: Matches,
}

fn statements(document: &Value) -> impl Iterator<Item = &Value> {
    many(&document["Statement"]).into_iter()
}

/// One value is a list of one.
fn many(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

fn texts(value: &Value) -> Vec<String> {
    many(value).into_iter().map(|v| v.as_str().map_or_else(|| v.to_string(), ToOwned::to_owned)).collect()
}

/// Whether a resource's statement is about this principal by itself. The account's root only hands over to the principal's own policies.
fn names(statement: &Value, principal: &str) -> bool {
    if !statement["NotPrincipal"].is_null() {
        return !texts(&statement["NotPrincipal"]["AWS"]).iter().any(|p| p == principal);
    }
    match &statement["Principal"] {
        Value::String(s) => s == "*",
        by_sort => texts(&by_sort["AWS"]).iter().any(|p| p == "*" || p == principal),
    }
}

fn met(statement: &Value, request: &Request) -> Met {
    let sid = statement["Sid"].as_str().unwrap_or("a statement without Sid").to_owned();
    let deny = statement["Effect"] == "Deny";
    let lists = |key: &str| texts(&statement[key]);
    let action = |patterns: Vec<String>| {
        let asked = request.action.to_ascii_lowercase();
        patterns.iter().any(|p| glob(&literal(&p.to_ascii_lowercase()), &asked))
    };
    let acts = if statement["NotAction"].is_null() { action(lists("Action")) } else { !action(lists("NotAction")) };
    if !acts {
        return Met { sid, deny, matches: Matches::No };
    }
    let (patterns, inverted) = if statement["NotResource"].is_null() { (lists("Resource"), false) } else { (lists("NotResource"), true) };
    let mut reached = Matches::No;
    // A trust policy has no resource: it is about the role it belongs to.
    if patterns.is_empty() && !inverted {
        reached = Matches::Yes;
    }
    for pattern in &patterns {
        match resolve(pattern, request) {
            Ok(Some(tokens)) if glob(&tokens, &request.resource) => reached = Matches::Yes,
            Ok(_) => {}
            Err(why) if reached == Matches::No => reached = Matches::Unknown(why),
            Err(_) => {}
        }
    }
    if inverted {
        reached = match reached {
            Matches::Yes => Matches::No,
            Matches::No => Matches::Yes,
            unknown => unknown,
        };
    }
    if reached == Matches::No {
        return Met { sid, deny, matches: Matches::No };
    }
    let mut matches = reached;
    for (operator, keys) in statement["Condition"].as_object().into_iter().flatten() {
        for (key, wanted) in keys.as_object().into_iter().flatten() {
            match condition(operator, key, &texts(wanted), request) {
                Matches::No => return Met { sid, deny, matches: Matches::No },
                Matches::Yes => {}
                unknown => matches = unknown,
            }
        }
    }
    Met { sid, deny, matches }
}

fn condition(operator: &str, key: &str, wanted: &[String], request: &Request) -> Matches {
    let (operator, if_exists) = operator.strip_suffix("IfExists").map_or((operator, false), |o| (o, true));
    let found = request.context.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v.as_str());
    let known = found.is_some() || key.to_ascii_lowercase().starts_with("aws:principaltag/") || key.eq_ignore_ascii_case("s3:prefix");
    if !known {
        return Matches::Unknown(format!("it depends on {key}"));
    }
    if operator == "Null" {
        return yes(wanted.iter().any(|w| (w == "true") == found.is_none()));
    }
    let negative = matches!(operator, "StringNotEquals" | "StringNotLike" | "ArnNotLike" | "ArnNotEquals" | "StringNotEqualsIgnoreCase" | "NumericNotEquals");
    let Some(found) = found else { return yes(if_exists || negative) };
    let mut any = false;
    for wanted in wanted {
        let tokens = match resolve(wanted, request) {
            Ok(Some(tokens)) => tokens,
            Ok(None) => continue,
            Err(why) => return Matches::Unknown(why),
        };
        any |= match operator {
            "StringEquals" | "StringNotEquals" => plain(&tokens) == found,
            "StringEqualsIgnoreCase" | "StringNotEqualsIgnoreCase" | "Bool" => plain(&tokens).eq_ignore_ascii_case(found),
            "StringLike" | "StringNotLike" | "ArnLike" | "ArnEquals" | "ArnNotLike" | "ArnNotEquals" => glob(&tokens, found),
            numeric if numeric.starts_with("Numeric") => match compared(numeric, &plain(&tokens), found) {
                Some(holds) => holds,
                None => return Matches::Unknown(format!("{numeric} of {found} is not understood")),
            },
            other => return Matches::Unknown(format!("the operator {other} is not understood")),
        };
    }
    yes(any != negative)
}

/// Two numbers, compared; `None` where they are none.
fn compared(operator: &str, wanted: &str, found: &str) -> Option<bool> {
    let order = found.parse::<f64>().ok()?.partial_cmp(&wanted.parse().ok()?)?;
    Some(match operator {
        "NumericEquals" | "NumericNotEquals" => order.is_eq(),
        "NumericLessThan" => order.is_lt(),
        "NumericLessThanEquals" => order.is_le(),
        "NumericGreaterThan" => order.is_gt(),
        "NumericGreaterThanEquals" => order.is_ge(),
        _ => return None,
    })
}

fn yes(matches: bool) -> Matches {
    if matches { Matches::Yes } else { Matches::No }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    Any,
    One,
}

/// A pattern without variables.
fn literal(pattern: &str) -> Vec<Token> {
    pattern
        .chars()
        .map(|c| {
            if c == '*' {
                Token::Any
            } else if c == '?' {
                Token::One
            } else {
                Token::Char(c)
            }
        })
        .collect()
}

fn plain(tokens: &[Token]) -> String {
    tokens
        .iter()
        .map(|t| match t {
            Token::Char(c) => *c,
            Token::Any => '*',
            Token::One => '?',
        })
        .collect()
}

/// A pattern with its variables filled in; their values are no patterns. `None` where a variable has no value: AWS then lets nothing match.
fn resolve(pattern: &str, request: &Request) -> Result<Option<Vec<Token>>, String> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("${") {
        tokens.extend(literal(before));
        let Some((name, tail)) = after.split_once('}') else { return Err(format!("`{pattern}` has a variable without an end")) };
        match name {
            "*" | "?" | "$" => tokens.extend(name.chars().map(Token::Char)),
            _ => match request.context.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)) {
                Some((_, value)) => tokens.extend(value.chars().map(Token::Char)),
                None if name.to_ascii_lowercase().starts_with("aws:principaltag/") => return Ok(None),
                None => return Err(format!("it depends on ${{{name}}}")),
            },
        }
        rest = tail;
    }
    tokens.extend(literal(rest));
    Ok(Some(tokens))
}

/// `*` is any text, `?` any one character.
fn glob(pattern: &[Token], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(Token::Any) => {
                star = Some((p, t));
                p += 1;
            }
            Some(Token::One) => (p, t) = (p + 1, t + 1),
            Some(Token::Char(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|t| *t == Token::Any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(action: &str, resource: &str, context: &[(&str, &str)]) -> Request {
        let context = context.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Request { action: action.into(), resource: resource.into(), context }
    }

    fn allowed(decision: &Decision) -> Option<bool> {
        match decision {
            Decision::Allowed(_) => Some(true),
            Decision::Refused(_) => Some(false),
            Decision::Unknown(_) => None,
        }
    }

    fn prefix_policy() -> Value {
        json!({"Statement": [
            {"Sid": "Own", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::b/${aws:PrincipalTag/labctl:tenant}/*"},
            {"Sid": "List", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b",
             "Condition": {"StringLike": {"s3:prefix": ["${aws:PrincipalTag/labctl:tenant}/*"]}}},
        ]})
    }

    #[test]
    fn a_prefix_follows_the_tag_of_the_role() {
        type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], bool);
        const TAG: (&str, &str) = ("aws:PrincipalTag/labctl:tenant", "a");
        let rows: [Row; 7] = [
            ("s3:GetObject", "arn:aws:s3:::b/a/x", &[TAG], true),
            ("s3:getobject", "arn:aws:s3:::b/a/x", &[TAG], true),
            ("s3:GetObject", "arn:aws:s3:::b/b/x", &[TAG], false),
            ("s3:GetObject", "arn:aws:s3:::b/a/x", &[], false),
            ("s3:ListBucket", "arn:aws:s3:::b", &[TAG, ("s3:prefix", "a/")], true),
            ("s3:ListBucket", "arn:aws:s3:::b", &[TAG, ("s3:prefix", "b/")], false),
            ("s3:ListBucket", "arn:aws:s3:::b", &[TAG], false),
        ];
        for (action, resource, context, may) in rows {
            assert_eq!(allowed(&decide(&[prefix_policy()], None, None, &request(action, resource, context))), Some(may), "{action} {resource} {context:?}");
        }
        let star = [("aws:PrincipalTag/labctl:tenant", "*")];
        let decision = decide(&[prefix_policy()], None, None, &request("s3:GetObject", "arn:aws:s3:::b/b/x", &star));
        assert_eq!(allowed(&decision), Some(false), "a tag's value is no pattern");
    }

    #[test]
    fn deny_wins_a_boundary_bounds_and_the_unknown_is_never_a_refusal() {
        let everything = json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}});
        let ask = request("s3:GetObject", "arn:aws:s3:::b/b/x", &[]);
        let deny = json!({"Statement": [{"Effect": "Deny", "Action": "s3:*", "NotResource": "arn:aws:s3:::b/a/*"}]});
        let by_address =
            json!({"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}]});
        let rows = [
            (vec![everything.clone()], None, Some(true)),
            (vec![everything.clone(), deny.clone()], None, Some(false)),
            (vec![everything.clone()], Some(&deny), Some(false)),
            (vec![by_address.clone()], None, None),
            (vec![], None, Some(false)),
        ];
        for (policies, boundary, expected) in rows {
            assert_eq!(allowed(&decide(&policies, boundary, None, &ask)), expected, "{policies:?} {boundary:?}");
        }
    }

    #[test]
    fn numbers_are_compared_and_what_is_none_is_never_a_refusal() {
        type Row = (&'static str, &'static [(&'static str, &'static str)], Option<bool>);
        const TLS: &str = "s3:TlsVersion";
        let rows: [Row; 8] = [
            ("NumericLessThan", &[(TLS, "1.3")], Some(true)),
            ("NumericLessThan", &[(TLS, "1.2")], Some(true)),
            ("NumericLessThan", &[(TLS, "1.1")], Some(false)),
            ("NumericLessThanEquals", &[(TLS, "1.2")], Some(false)),
            ("NumericGreaterThan", &[(TLS, "1.3")], Some(false)),
            ("NumericNotEquals", &[(TLS, "1.2")], Some(true)),
            ("NumericLessThan", &[(TLS, "new")], None),
            ("NumericLessThan", &[], None),
        ];
        for (operator, context, expected) in rows {
            let document = json!({"Statement": [
                {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
                {"Effect": "Deny", "Action": "s3:*", "Resource": "*", "Condition": {operator: {TLS: "1.2"}}},
            ]});
            let ask = request("s3:GetObject", "arn:aws:s3:::b/b/x", context);
            assert_eq!(allowed(&decide(&[document], None, None, &ask)), expected, "{operator} {context:?}");
        }
    }

    #[test]
    fn a_resources_policy_lets_in_whom_it_names_and_the_root_hands_over_only() {
        let ask = request("kms:Decrypt", "arn:aws:kms:eu-west-1:1:key/k", &[]);
        let of = |principal: Value| json!({"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*"}]});
        let rows = [
            (json!("*"), true),
            (json!({"AWS": ["arn:aws:iam::1:role/a"]}), true),
            (json!({"AWS": "arn:aws:iam::1:root"}), false),
            (json!({"Service": "ecs-tasks.amazonaws.com"}), false),
        ];
        for (principal, may) in rows {
            let document = of(principal);
            let resource = ResourcePolicy { document: &document, principal: "arn:aws:iam::1:role/a" };
            assert_eq!(allowed(&decide(&[], None, Some(resource), &ask)), Some(may), "{document}");
        }
    }
}
