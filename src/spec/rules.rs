//! The rules single values must keep. Each says in words what is wrong, or nothing.

/// Longest tenant id, in characters.
pub const ID_MAX: usize = 40;
/// Longest display name, in bytes: it stands in the subject of invitations (Cognito: 140 characters, with some words around it).
pub const DISPLAY_NAME_MAX: usize = 100;
/// Longest external id, in bytes.
pub const EXTERNAL_ID_MAX: usize = 64;
/// Longest label of a host name (RFC 1035), in bytes.
pub const DNS_LABEL_MAX: usize = 63;
/// Longest e-mail address (RFC 5321, as Cognito takes it), in bytes.
pub const EMAIL_MAX: usize = 254;
/// Tags of an operator's own. AWS allows 50 on a resource; labctl sets up to 8 itself and leaves two free.
pub const TAGS_MAX: usize = 40;
/// Longest tag key (AWS), in characters.
pub const TAG_KEY_MAX: usize = 128;
/// Longest tag value (AWS), in characters.
pub const TAG_VALUE_MAX: usize = 256;
/// Tag keys labctl sets itself.
pub const OWN_TAGS: [&str; 5] = ["Tenant", "Product", "Environment", "Tier", "ManagedBy"];

/// Something is wrong: the message, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

fn wrong(message: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong { message: message.into(), hint: None })
}

fn wrong_with(message: impl Into<String>, hint: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong { message: message.into(), hint: Some(hint.into()) })
}

/// A slug: `[a-z][a-z0-9-]`, 2 to `max` characters, no `-` at the end, none doubled.
///
/// # Errors
/// What is wrong, and the nearest slug.
pub fn slug(what: &str, text: &str, max: usize) -> Result<(), Wrong> {
    let why = if text.len() < 2 {
        Some("is shorter than 2 characters".to_owned())
    } else if text.len() > max {
        Some(format!("is {} bytes long; the most is {max}", text.len()))
    } else if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        Some("must begin with a letter a–z".to_owned())
    } else if let Some(bad) = text.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-')) {
        Some(format!("may hold only a–z, 0–9 and `-`, not `{}`", bad.escape_default()))
    } else if text.ends_with('-') {
        Some("may not end in `-`".to_owned())
    } else if text.contains("--") {
        Some("may not hold `--`".to_owned())
    } else {
        None
    };
    let Some(why) = why else { return Ok(()) };
    let nearest = slugify(text, max);
    let hint = (nearest.len() >= 2 && text.len() <= max).then(|| format!("for instance `{nearest}`"));
    Err(Wrong { message: format!("{what} `{}` {why}", text.escape_debug()), hint })
}

/// The nearest slug to a text; empty where nothing of it can be kept.
pub fn slugify(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || (c.is_ascii_digit() && !out.is_empty()) {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.truncate(max);
    out.trim_end_matches('-').to_owned()
}

/// Text for people: something in it, no control characters, at most `max` bytes.
///
/// # Errors
/// What is wrong.
pub fn line(what: &str, text: &str, max: usize) -> Result<(), Wrong> {
    if text.trim().is_empty() {
        return wrong(format!("{what} is empty"));
    }
    if text.trim() != text {
        return wrong_with(format!("{what} begins or ends with a blank"), format!("write \"{}\"", text.trim()));
    }
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        return wrong(format!("{what} holds the control character {}", c.escape_default()));
    }
    if text.len() > max {
        return wrong(format!("{what} is {} bytes long; the most is {max}", text.len()));
    }
    Ok(())
}

/// Whether mail could go there: one `@`, a local part, a domain with a dot.
///
/// # Errors
/// What is wrong.
pub fn email(text: &str) -> Result<(), Wrong> {
    let example = "an address such as `admin@city-lab.example`";
    if text.len() > EMAIL_MAX {
        return wrong(format!("the e-mail address is {} bytes long; the most is {EMAIL_MAX}", text.len()));
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic() || "<>()[],;:\\\"".contains(*c)) {
        return wrong_with(format!("the e-mail address holds `{}`", bad.escape_default()), example);
    }
    let mut parts = text.split('@');
    let (Some(local), Some(domain), None) = (parts.next(), parts.next(), parts.next()) else {
        return wrong_with(format!("`{text}` is not an e-mail address: it needs exactly one `@`"), example);
    };
    if local.is_empty() || local.len() > 64 || local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return wrong_with(format!("`{text}` is not an e-mail address: the part before `@` is not one"), example);
    }
    let label = |l: &str| {
        !l.is_empty() && l.len() <= DNS_LABEL_MAX && !l.starts_with('-') && !l.ends_with('-') && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    if !domain.contains('.') || !domain.split('.').all(label) {
        return wrong_with(format!("`{text}` is not an e-mail address: `{domain}` is not a domain"), example);
    }
    Ok(())
}

/// A tag's key.
///
/// # Errors
/// What is wrong.
pub fn tag_key(key: &str) -> Result<(), Wrong> {
    if key.is_empty() {
        return wrong("a tag's key is empty");
    }
    let lower = key.to_ascii_lowercase();
    for prefix in ["aws:", "labctl:"] {
        if lower.starts_with(prefix) {
            return wrong_with(
                format!("the tag `{}` begins with `{prefix}`, which is reserved", key.escape_debug()),
                format!("for instance `{}`", &key[prefix.len()..]),
            );
        }
    }
    if OWN_TAGS.iter().any(|own| own.eq_ignore_ascii_case(key)) {
        return wrong_with(format!("the tag `{key}` is one labctl sets itself"), format!("leave it out; labctl sets {}", OWN_TAGS.join(", ")));
    }
    let length = key.chars().count();
    if length > TAG_KEY_MAX {
        return wrong(format!("a tag's key is {length} characters long; AWS allows {TAG_KEY_MAX}"));
    }
    tag_characters("key", key)
}

/// A tag's value.
///
/// # Errors
/// What is wrong.
pub fn tag_value(key: &str, value: &str) -> Result<(), Wrong> {
    let length = value.chars().count();
    if length > TAG_VALUE_MAX {
        return wrong(format!("the value of the tag `{key}` is {length} characters long; AWS allows {TAG_VALUE_MAX}"));
    }
    tag_characters("value", value)
}

fn tag_characters(what: &str, text: &str) -> Result<(), Wrong> {
    match text.chars().find(|c| !(c.is_alphanumeric() || *c == ' ' || "_.:/=+-@".contains(*c))) {
        Some(bad) => wrong_with(format!("a tag's {what} may not hold `{}`", bad.escape_default()), "AWS allows letters, digits, blanks and _ . : / = + - @"),
        None => Ok(()),
    }
}

/// An `https://` address.
///
/// # Errors
/// What is wrong.
pub fn https(what: &str, text: &str) -> Result<(), Wrong> {
    match text.strip_prefix("https://") {
        Some(rest) if rest.split('/').next().is_some_and(|host| host.contains('.')) && rest.chars().all(|c| c.is_ascii_graphic()) => Ok(()),
        Some(_) => wrong(format!("{what} `{}` is not a complete address", text.escape_debug())),
        None => wrong_with(format!("{what} must begin with `https://`"), "for instance `https://login.example.org/metadata.xml`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_keep_the_rule() {
        for good in ["ab", "a1", "city-lab", &"a".repeat(ID_MAX)] {
            assert_eq!(slug("id", good, ID_MAX), Ok(()), "{good}");
        }
        for bad in ["", "a", "1a", "A-b", "a_b", "a-", "a--b", "-a", "ä-b", "a b", &"a".repeat(ID_MAX + 1)] {
            assert!(slug("id", bad, ID_MAX).is_err(), "{bad}");
        }
        assert_eq!(slug("id", "City Lab_", ID_MAX).unwrap_err().hint.as_deref(), Some("for instance `city-lab`"));
    }

    #[test]
    fn addresses_must_be_plausible() {
        for good in ["a@b.c", "first.last+tag@mail.hospital-a.example"] {
            assert_eq!(email(good), Ok(()), "{good}");
        }
        for bad in ["", "a", "a@b", "@b.c", "a@@b.c", "a b@c.d", "a@-b.c", "a@b..c", "Ana <a@b.c>", "a@b.c\n"] {
            assert!(email(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reserved_and_overlong_tags_are_refused() {
        assert_eq!(tag_key("CostCenter"), Ok(()));
        for bad in ["aws:x", "AWS:x", "labctl:tenant", "Tier", "", "a#b", &"k".repeat(129)] {
            assert!(tag_key(bad).is_err(), "{bad}");
        }
        assert_eq!(tag_value("k", &"é".repeat(256)), Ok(()));
        assert!(tag_value("k", &"é".repeat(257)).is_err());
    }
}
