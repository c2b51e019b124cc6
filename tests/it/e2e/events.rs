//! Lifecycle events as receivers get them: a webhook, a receiver that hangs, a topic of SNS.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use labctl::cloud::webhook::signature;
use labctl::sandbox::connector::Wire;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::fixture::shared;

const SECRET: &str = "a secret of the two of us";

/// A platform file with these receivers of the sandbox's events.
fn config_of(name: &str, events: &str) -> String {
    let file = shared().dir().join(format!("{name}.toml"));
    fs::write(&file, events).unwrap();
    file.to_str().unwrap().to_owned()
}

pub async fn webhooks(all: &[(&str, u16)]) -> String {
    let (cloud, mut text) = (shared().cloud().await, String::new());
    for (name, port) in all {
        let secret =
            cloud.secrets.create_secret().name(format!("labctl-test/{name}")).secret_string(json!({"secret": SECRET}).to_string()).send().await.unwrap();
        let arn = secret.arn().unwrap();
        text += &format!("[[profiles.sandbox.events.webhooks]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:{port}/hook\"\nsecret_arn = \"{arn}\"\n");
    }
    config_of(all[0].0, &text)
}

/// A request as it came in.
pub struct Came {
    head: String,
    body: String,
}

impl Came {
    pub fn header(&self, name: &str) -> &str {
        self.head.lines().find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name))).unwrap_or_else(|| panic!("{name}: {}", self.head)).1
    }
}

fn read(stream: &TcpStream) -> Came {
    let mut reader = BufReader::new(stream);
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).unwrap() > 2 {
        head += &std::mem::take(&mut line);
    }
    let came = Came { head, body: String::new() };
    let mut body = vec![0; came.header("content-length").parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    Came { body: String::from_utf8(body).unwrap(), ..came }
}

/// A receiver that answers as told, and with 204 from then on.
pub fn receiver(answers: &'static [&'static str]) -> (u16, Receiver<Came>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, (tell, told)) = (listener.local_addr().unwrap().port(), channel());
    std::thread::spawn(move || {
        for n in 0.. {
            let (mut stream, _) = listener.accept().unwrap();
            let came = read(&stream);
            let answer = answers.get(n).unwrap_or(&"204 No Content");
            write!(stream, "HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
            if tell.send(came).is_err() {
                return;
            }
        }
    });
    (port, told)
}

fn deliveries(tenant: &str) -> Vec<(String, String, i64)> {
    let mut events: Vec<Value> = serde_json::from_value(shared().json(&["events", "list", "--tenant", tenant])).unwrap();
    events.sort_by_key(|e| e["sequence"].as_i64());
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    events.iter().map(|e| (text(&e["type"]), text(&e["deliveries"][0]["status"]), e["deliveries"][0]["attempts"].as_i64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_signed_events_in_order_and_again_until_it_takes_them() {
    let world = shared();
    let (port, came) = receiver(&["503 Service Unavailable", "302 Found\r\nlocation: http://127.0.0.1:9/"]);
    let config = webhooks(&[("hooked", port)]).await;
    let spec = world.spec("hooked-lab", "labcloud", "trial");
    world.ok(&["tenant", "create", &spec, "--config", &config]);
    let row = |kind: &str, status: &str, attempts| (format!("onboarding.{kind}"), status.to_owned(), attempts);
    assert_eq!(deliveries("hooked-lab"), [row("started", "pending", 1), row("succeeded", "pending", 0)], "what follows waits");
    let listed = world.ok(&["events", "list", "--pending", "--tenant", "hooked-lab"]).out;
    assert!(listed.contains("the receiver answered 503"), "{listed}");

    let early = world.ok(&["events", "deliver", "--config", &config]);
    assert!(early.out.contains("delivered  0"), "it is not due yet\n{early}");
    let again = world.run(&["events", "deliver", "--all", "--config", &config, "-o", "json"]);
    assert_eq!((again.code, again.error()["code"].as_str()), (1, Some("undelivered")), "{again}");
    assert!(again.error()["causes"].to_string().contains("redirects are not followed"), "{again}");
    let done = world.json(&["events", "deliver", "--all", "--config", &config]);
    assert_eq!((&done["delivered"], &done["failed"]), (&json!(2), &json!(0)));
    assert_eq!(deliveries("hooked-lab"), [row("started", "delivered", 3), row("succeeded", "delivered", 1)]);

    let came: Vec<Came> = came.try_iter().collect();
    let types: Vec<_> = came.iter().map(|c| c.header("labctl-event-type")).collect();
    assert_eq!(types, ["onboarding.started", "onboarding.started", "onboarding.started", "onboarding.succeeded"]);
    assert_eq!(came[0].header("labctl-event-id"), came[2].header("labctl-event-id"), "the same event bears the same id");
    for one in &came {
        let signed = one.header("labctl-signature");
        let time: i64 = signed.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
        assert_eq!(signed, signature(&SecretString::from(SECRET), time, &one.body));
        assert!((chrono::Utc::now().timestamp() - time).abs() < 300);
        let event: Value = serde_json::from_str(&one.body).unwrap();
        assert_eq!((&event["specversion"], &event["subject"]), (&json!("1.0"), &json!("hooked-lab")));
        assert_eq!((event["id"].as_str().unwrap(), event["type"].as_str().unwrap()), (one.header("labctl-event-id"), one.header("labctl-event-type")));
        assert_eq!((&event["data"]["tier"], &event["data"]["who"]), (&json!("trial"), &json!("e2e")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_holds_nothing_up_and_changes_no_exit_code() {
    let world = shared();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let since = Instant::now();
        // Until the caller hangs up.
        while stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
        let _ = tell.send(since.elapsed());
    });
    let (other, came) = receiver(&[]);
    let config = webhooks(&[("hanging", port), ("healthy", other)]).await;
    let spec = world.spec("unheard-lab", "labcloud", "trial");
    world.ok(&["tenant", "create", &spec, "--config", &config]);
    let waited = told.recv_timeout(Duration::from_secs(60)).expect("it was called");
    assert!(waited < Duration::from_secs(30), "{waited:?}");
    assert_eq!(deliveries("unheard-lab").iter().map(|d| d.1.as_str()).collect::<Vec<_>>(), ["pending", "pending"]);
    // A second to each is short on a busy machine: the next attempts count as well.
    let told = (0..5).any(|attempt| {
        if attempt > 0 {
            world.run(&["events", "deliver", "--all", "--config", &config]);
        }
        came.try_iter().count() > 0
    });
    assert!(told, "another receiver is told although this one hangs");
    let text = fs::read_to_string(&config).unwrap();
    let only = config_of("only-healthy", &text[text.rfind("[[").unwrap()..]);
    assert_eq!(world.json(&["events", "deliver", "--all", "--config", &only])["failed"], 0);
    let healthy = world.json(&["events", "list", "--tenant", "unheard-lab"]);
    assert!(healthy.as_array().unwrap().iter().all(|e| e["deliveries"][1]["status"] == "delivered"), "and in the end of all: {healthy}");
    assert_eq!(world.json(&["tenant", "show", "unheard-lab"])["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_sns_passes_events_on_with_type_and_tenant_to_filter_by() {
    let world = shared();
    let cloud = world.cloud().await;
    let endpoint = world.open().await.endpoint_url;
    let wire = Wire::to(endpoint.rsplit(':').next().unwrap().parse().unwrap());
    let queue = wire.json("sqs", "AmazonSQS.CreateQueue", &json!({"QueueName": "lifecycle"})).await.unwrap().json()["QueueUrl"].as_str().unwrap().to_owned();
    let topic = cloud.sns.create_topic().name("lifecycle").send().await.unwrap().topic_arn.unwrap();
    let arn = topic.replace(":sns:", ":sqs:");
    cloud.sns.subscribe().topic_arn(&topic).protocol("sqs").endpoint(arn).send().await.unwrap();
    let config = config_of("topic", &format!("[profiles.sandbox.events]\nsns_topic_arn = \"{topic}\"\n"));
    let spec = world.spec("published-lab", "labcloud", "trial");
    world.ok(&["tenant", "create", &spec, "--config", &config]);
    let done = world.json(&["events", "deliver", "--all", "--config", &config]);
    assert_eq!(done["failed"], 0, "{done}");
    assert!(deliveries("published-lab").iter().all(|d| d.1 == "delivered"));

    let got = wire.json("sqs", "AmazonSQS.ReceiveMessage", &json!({"QueueUrl": queue, "MaxNumberOfMessages": 10})).await.unwrap().json();
    let mut types: Vec<String> = Vec::new();
    for message in got["Messages"].as_array().unwrap_or_else(|| panic!("{got}")) {
        let envelope: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
        let event: Value = serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
        let attribute = |name: &str| &envelope["MessageAttributes"][name]["Value"];
        assert_eq!((attribute("tenant"), attribute("type"), attribute("id")), (&json!("published-lab"), &event["type"], &event["id"]));
        types.push(event["type"].as_str().unwrap().to_owned());
    }
    types.sort();
    assert_eq!(types, ["onboarding.started", "onboarding.succeeded"]);
}
