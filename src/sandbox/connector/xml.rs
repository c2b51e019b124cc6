//! Just enough of XML for the emulator's own regular output: elements by name, without attributes, never nested in themselves.

/// The text between the first `<name>` and its end.
pub fn text<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let start = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let end = start + xml[start..].find(&format!("</{name}>"))?;
    Some(&xml[start..end])
}

/// The same text with `change` done to the inside of each `<name>`.
pub fn each(xml: &str, name: &str, mut change: impl FnMut(&str) -> String) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut out = String::with_capacity(xml.len());
    let mut rest = xml;
    while let Some(start) = rest.find(&open).map(|i| i + open.len()) {
        let Some(end) = rest[start..].find(&close).map(|i| i + start) else { break };
        out.push_str(&rest[..start]);
        out.push_str(&change(&rest[start..end]));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The inside of an element with its child `name` set to `value`.
pub fn set(inside: &str, name: &str, value: &str) -> String {
    let element = format!("<{name}>{value}</{name}>");
    match text(inside, name) {
        Some(old) => inside.replacen(&format!("<{name}>{old}</{name}>"), &element, 1),
        None => format!("{inside}{element}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_changed_and_added() {
        let xml = "<L><I><N>a</N><P>false</P></I><I><N>b</N></I></L>";
        assert_eq!(text(xml, "N"), Some("a"));
        assert_eq!(text(xml, "Q"), None);
        let changed = each(xml, "I", |inside| set(inside, "P", "true"));
        assert_eq!(changed, "<L><I><N>a</N><P>true</P></I><I><N>b</N><P>true</P></I></L>");
    }
}
