//! What the platform's database servers hold at most: `max_bytes` and `max_schemas` in `[profiles.<name>.platform.databases.<server>]`.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::nearest;

/// The keys. Others that begin like them are refused: a limit that is misspelt would never warn.
const KEYS: [&str; 2] = ["max_bytes", "max_schemas"];

/// A size such as `500GB` in bytes; none where it is no size. Units go by 1024, as PostgreSQL and RDS count storage.
pub fn bytes(text: &str) -> Option<i64> {
    const UNITS: [&[&str]; 4] = [&["kB", "KiB"], &["MB", "MiB"], &["GB", "GiB"], &["TB", "TiB"]];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let power = UNITS.iter().position(|names| names.contains(&unit.trim_start()))?;
    let number: i64 = number.parse().ok().filter(|n| *n > 0)?;
    number.checked_mul(1024_i64.pow(u32::try_from(power).ok()? + 1))
}

fn table<'a, 'i>(parent: &'a DeTable<'i>, key: &str) -> Option<&'a DeTable<'i>> {
    match parent.get(key)?.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// What is wrong with the limits of the servers under `platform.databases`: where, what, and what to do about it.
pub(super) fn check(profile: &DeTable<'_>) -> Vec<(Range<usize>, String, String)> {
    let mut wrong = Vec::new();
    let databases = table(profile, "platform").and_then(|platform| table(platform, "databases"));
    for server in databases.into_iter().flat_map(|all| all.keys().filter_map(|name| table(all, name.get_ref()))) {
        for (key, value) in server.iter().filter(|(key, _)| key.get_ref().starts_with("max_")) {
            let sound = match (key.get_ref().as_ref(), value.get_ref()) {
                ("max_bytes", DeValue::String(text)) => bytes(text).is_some(),
                ("max_schemas", DeValue::Integer(number)) => i64::from_str_radix(number.as_str(), number.radix()).is_ok_and(|n| n > 0),
                _ => false,
            };
            let told = match key.get_ref().as_ref() {
                _ if sound => continue,
                "max_bytes" => (value.span(), "not a size".to_owned(), "a whole number and kB, MB, GB or TB, in quotes: \"500GB\"".to_owned()),
                "max_schemas" => (value.span(), "not a number of schemas".to_owned(), "a whole number from 1 on, without quotes: 5000".to_owned()),
                other => {
                    let hint = nearest(other, KEYS).map_or_else(|| format!("possible: {}", KEYS.join(", ")), |meant| format!("did you mean `{meant}`?"));
                    (key.span(), format!("unknown limit `{other}` of a database server"), hint)
                }
            };
            wrong.push(told);
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_whole_number_with_a_unit() {
        let good = [("1kB", 1024), ("20 MiB", 20 << 20), ("500GB", 500 << 30), ("500GiB", 500 << 30), ("64TB", 64 << 40)];
        for (text, number) in good {
            assert_eq!(bytes(text), Some(number), "{text}");
        }
        for text in ["", "500", "GB", "0GB", "-1GB", "1.5TB", "500gb", "500 potatoes", "9999999999TB"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
