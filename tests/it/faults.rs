//! Faults of AWS calls, for tests: an HTTP client that lets the n-th call of an operation fail in a chosen way, passes the others on,
//! and keeps a list of all calls. In process it is the SDK's own client; [`proxy`] puts it in front of the real binary.
//!
//! "After the effect" means that the emulator has done what it was asked, and the reply is lost or spoilt.

#[path = "faults/proxy.rs"]
pub mod proxy;
#[path = "faults/speech.rs"]
pub mod speech;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

use speech::Speech;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It takes this long, and goes well.
    Latency(Duration),
    /// "Not now"; nothing is done.
    Throttle,
    /// An error of the service's own; nothing is done.
    ErrorBefore,
    /// An error of the service's own, and yet it is done.
    ErrorAfter,
    /// It is done, and no answer comes.
    Timeout,
    /// It is done, and the connection breaks instead of an answer.
    Reset,
    /// It is done, and the answer cannot be read.
    Malformed,
    /// It is refused with this code of the service's.
    Refusal(&'static str),
}

impl Fault {
    /// Whether it comes after the effect.
    pub fn is_after(self) -> bool {
        matches!(self, Self::ErrorAfter | Self::Timeout | Self::Reset | Self::Malformed)
    }
}

/// A call that came by.
#[derive(Debug, Clone)]
pub struct Heard {
    /// `cognito-idp:CreateUserPool`, `s3:CreateBucket`.
    pub call: String,
    /// Headers that say something of the thing, and the body.
    pub said: String,
    /// What became of it, where that was not left to the service.
    pub fault: Option<Fault>,
    /// The HTTP status the service answered a call with that met a fault, whatever the caller heard; none where it was not asked, or did
    /// not answer.
    pub answered: Option<u16>,
}

impl Heard {
    /// Whether a fault that is to come after the effect came after one: to a look, that it was answered is enough.
    pub fn took_effect(&self) -> bool {
        self.answered.is_some_and(|status| (200..300).contains(&status) || speech::reads(&self.call))
    }
}

#[derive(Debug)]
struct Planned {
    call: String,
    first: u32,
    last: u32,
    fault: Fault,
}

#[derive(Debug, Default)]
struct Book {
    counts: BTreeMap<String, u32>,
    heard: Vec<Heard>,
    planned: Vec<Planned>,
    only_reads: bool,
}

/// The client. Clones share plan and list.
#[derive(Debug, Clone)]
pub struct Faults {
    next: SharedHttpConnector,
    book: Arc<Mutex<Book>>,
}

impl Faults {
    /// In front of what answers; without any fault so far.
    pub fn before(next: SharedHttpConnector) -> Self {
        Self { next, book: Arc::default() }
    }

    /// As an SDK's client.
    pub fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// Call number `nth` of this operation, and `times - 1` after it, fail so.
    pub fn plan(&self, call: &str, nth: u32, times: u32, fault: Fault) {
        let last = nth.saturating_add(times - 1);
        self.book.lock().unwrap().planned.push(Planned { call: call.to_owned(), first: nth, last, fault });
    }

    /// Every call of this operation fails so, however often it is made.
    pub fn always(&self, call: &str, fault: Fault) {
        self.plan(call, 1, u32::MAX, fault);
    }

    /// Whether nothing but reading is let through from here on: what else is called is listed, and refused.
    pub fn only_reads(&self, only: bool) {
        self.book.lock().unwrap().only_reads = only;
    }

    /// As at the beginning: nothing planned, nothing heard.
    pub fn forget(&self) {
        *self.book.lock().unwrap() = Book::default();
    }

    /// No more faults; the list stays.
    pub fn clear(&self) {
        self.book.lock().unwrap().planned.clear();
    }

    /// The calls so far, in order.
    pub fn heard(&self) -> Vec<Heard> {
        self.book.lock().unwrap().heard.clone()
    }

    /// The calls so far that change something.
    pub fn writes(&self) -> Vec<Heard> {
        self.heard().into_iter().filter(|h| !speech::reads(&h.call)).collect()
    }

    /// The calls that met a fault. One that is to come after the effect and came without it was another fault than the test's: it fails.
    pub fn struck(&self) -> Vec<Heard> {
        let struck: Vec<Heard> = self.heard().into_iter().filter(|h| h.fault.is_some()).collect();
        for heard in struck.iter().filter(|h| h.fault.is_some_and(Fault::is_after)) {
            let answered = heard.answered.map_or("did not answer".to_owned(), |status| format!("answered {status}"));
            assert!(heard.took_effect(), "{} did not take effect before {:?}: the service {answered}", heard.call, heard.fault);
        }
        struck
    }

    /// Notes what the service answered to call number `at` of the list.
    fn note_answer(&self, at: usize, status: u16) {
        // Forgotten since, where a call outlives its test's part.
        if let Some(heard) = self.book.lock().unwrap().heard.get_mut(at) {
            heard.answered = Some(status);
        }
    }

    /// Notes a call, and says its number in the list and what is to become of it.
    fn note(&self, call: &str, said: String) -> (usize, Option<Fault>) {
        let mut book = self.book.lock().unwrap();
        let nth = *book.counts.entry(call.to_owned()).and_modify(|n| *n += 1).or_insert(1);
        let planned = book.planned.iter().find(|p| p.call == call && (p.first..=p.last).contains(&nth)).map(|p| p.fault);
        let fault = if book.only_reads && !speech::reads(call) { Some(Fault::Refusal("AccessDeniedException")) } else { planned };
        book.heard.push(Heard { call: call.to_owned(), said, fault, answered: None });
        (book.heard.len() - 1, fault)
    }
}

impl HttpClient for Faults {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Faults {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let speech = Speech::of(&request);
            match this.note(&speech.call, speech.said.clone()) {
                (_, None) => this.next.call(request).await,
                (at, Some(fault)) => this.strike(at, fault, &speech, request).await,
            }
        })
    }
}

impl Faults {
    async fn strike(&self, at: usize, fault: Fault, speech: &Speech, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        match fault {
            Fault::Latency(pause) => {
                tokio::time::sleep(pause).await;
                return self.next.call(request).await;
            }
            Fault::Throttle => return Ok(speech.throttle()),
            Fault::ErrorBefore => return Ok(speech.internal()),
            Fault::Refusal(code) => return Ok(speech.refusal(code)),
            Fault::ErrorAfter | Fault::Timeout | Fault::Reset | Fault::Malformed => {}
        }
        // Read to its end: only then is the effect certain. That there was one is asked by `struck`, in the test's own task: a panic
        // here would be one of the proxy's, which nobody hears.
        let reply = speech::read(self.next.call(request).await?).await?;
        self.note_answer(at, reply.0.status().as_u16());
        Ok(match fault {
            Fault::Timeout => return Err(ConnectorError::timeout("no answer, by a test".into())),
            Fault::Reset => return Err(ConnectorError::io("connection reset by peer, by a test".into())),
            Fault::Malformed => speech::spoilt(reply.0),
            _ => speech.internal(),
        })
    }
}

/// A response with this body.
fn respond(status: u16, headers: &[(&'static str, String)], body: Vec<u8>) -> HttpResponse {
    let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.clone());
    }
    response
}

/// What stands behind a proxy in its own test: it answers with this status, or not at all.
#[derive(Debug, Clone)]
struct Answers(Option<u16>);

impl HttpConnector for Answers {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let gone = || ConnectorError::io("nobody is there, by a test".into());
        HttpConnectorFuture::ready(self.0.map(|status| respond(status, &[], b"{}".to_vec())).ok_or_else(gone))
    }
}

/// Every "after the effect" of the tests with the real binary rests on this: the proxy's own tasks cannot fail a test.
#[tokio::test]
async fn a_fault_after_an_effect_fails_the_test_where_there_was_no_effect() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    for fault in [Fault::ErrorAfter, Fault::Timeout, Fault::Reset, Fault::Malformed] {
        let rows = [
            ("CreateThing", Some(200), true),
            ("CreateThing", Some(400), false),
            ("CreateThing", Some(500), false),
            ("CreateThing", None, false),
            ("DescribeThing", Some(400), true),
            ("DescribeThing", None, false),
        ];
        for (operation, answer, fine) in rows {
            let proxy = proxy::Proxy::of("http://127.0.0.1:9", Faults::before(SharedHttpConnector::new(Answers(answer)))).await;
            proxy.faults.always(&format!("unsigned:{operation}"), fault);
            let mut client = tokio::net::TcpStream::connect(proxy.endpoint_url.trim_start_matches("http://")).await.unwrap();
            client.write_all(format!("POST / HTTP/1.1\r\nx-amz-target: Things.{operation}\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes()).await.unwrap();
            // A time-out's connection stays open, and silent.
            let _ = tokio::time::timeout(Duration::from_millis(200), client.read(&mut [0; 4096])).await;
            assert_eq!(proxy.faults.heard().len(), 1, "it was heard");
            let struck = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| proxy.faults.struck().len()));
            assert_eq!(struck.ok(), fine.then_some(1), "{operation}, {fault:?} after {answer:?}");
        }
    }
}
