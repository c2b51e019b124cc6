//! One list and one object in every format; pipes that close.

use std::sync::Arc;

use super::*;

#[derive(Serialize)]
struct Tenant {
    id: &'static str,
    display_name: &'static str,
    tier: &'static str,
    limits: Limits,
    resources: Vec<Resource>,
}

#[derive(Serialize)]
struct Limits {
    users: u32,
    price: f64,
}

#[derive(Serialize)]
struct Resource {
    address: &'static str,
    status: &'static str,
}

impl Row for Tenant {
    const COLUMNS: &'static [&'static str] = &["id", "name", "tier", "users"];
    fn cells(&self) -> Vec<String> {
        vec![self.id.into(), self.display_name.into(), self.tier.into(), self.limits.users.to_string()]
    }
}

impl Row for Resource {
    const COLUMNS: &'static [&'static str] = &["address", "status"];
    fn cells(&self) -> Vec<String> {
        vec![self.address.into(), self.status.into()]
    }
}

impl View for Tenant {
    fn view(&self) -> Sheet {
        Sheet::new().field("id", self.id).field("name", self.display_name).maybe("sso", None::<&str>).rows("resources", &self.resources).text("done")
    }
}

fn tenants() -> Vec<Tenant> {
    vec![
        Tenant {
            id: "city-lab",
            display_name: "City Lab, \"Ost\"",
            tier: "trial",
            limits: Limits { users: 5, price: 299.5 },
            resources: vec![Resource { address: "city-lab/s3_prefix/data", status: "ready" }],
        },
        Tenant { id: "no", display_name: "Núria\u{1b}[31m\nLab", tier: "standard", limits: Limits { users: 100, price: 1.0 }, resources: vec![] },
    ]
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn printed(format: Format, print: impl Fn(&Output) -> Result<(), CliError>) -> String {
    let memory = Memory::default();
    print(&Output::to(format, memory.clone())).unwrap();
    String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
}

const ALL: [Format; 5] = [Format::Table, Format::Json, Format::Jsonl, Format::Yaml, Format::Csv];

fn in_every_format(print: impl Fn(&Output) -> Result<(), CliError>) -> String {
    ALL.iter().map(|f| format!("--- {f:?}\n{}", printed(*f, &print))).collect()
}

#[test]
fn a_list_in_every_format() {
    insta::assert_snapshot!(in_every_format(|o| o.list(&tenants())));
}

#[test]
fn an_object_in_every_format() {
    insta::assert_snapshot!(in_every_format(|o| o.object(&tenants()[0])));
}

#[test]
fn any_value_makes_a_table_of_its_shape() {
    let value = serde_json::json!([{"a": {"b": 1}, "c": "x"}, {"d": true}]);
    insta::assert_snapshot!(printed(Format::Table, |o| o.value(&value)), @"
    A.B  C  D
      1  x
            true
    ");
    insta::assert_snapshot!(printed(Format::Table, |o| o.value(&value[0])), @"
    a.b  1
    c    x
    ");
}

#[test]
fn an_empty_list_is_empty_in_every_format() {
    let none: Vec<Tenant> = vec![];
    let texts = ALL.map(|f| printed(f, |o| o.list(&none)));
    assert_eq!(texts, ["", "[]\n", "", "[]\n", ""]);
}

#[test]
fn json_lines_keep_the_order_of_fields() {
    let text = printed(Format::Jsonl, |o| o.list(&tenants()));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with(r#"{"id":"city-lab","display_name":"#), "{}", lines[0]);
}

#[test]
fn a_terminal_gets_bold_headings_and_its_own_width() {
    let list = Sheet::list(vec!["id".into(), "what is it".into()], vec![vec!["a".into(), "long words that must be wrapped".into()]]);
    let text = list.render(true, Some(30));
    assert!(text.starts_with("\u{1b}[1mID"), "{text:?}");
    assert!(text.lines().skip(1).all(|l| console::measure_text_width(l) <= 30), "{text}");
}

#[test]
fn an_id_is_never_cut_in_two() {
    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:mate-hospital-a-production/app-Qvgtkg";
    let list = Sheet::list(vec!["resource".into(), "id".into()], vec![vec!["secret/app".into(), arn.into()]]);
    assert!(list.render(false, Some(80)).contains(arn));
}

struct Closed(io::ErrorKind);

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_but_a_full_disk_is() {
    let output = Output::to(Format::Json, Closed(io::ErrorKind::BrokenPipe));
    assert!(output.list(&tenants()).is_ok() && output.text("more").is_ok());
    let error = Output::to(Format::Json, Closed(io::ErrorKind::StorageFull)).list(&tenants()).unwrap_err();
    assert_eq!(error.code, "output");
}
