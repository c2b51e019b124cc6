//! AWS for the real binary: an endpoint on loopback with [`Faults`] and the sandbox's mends behind it. The binary talks to it as to any
//! endpoint, without a mend of its own; a lost reply is a connection that stays silent, or is reset.

use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{Faults, speech};

/// The endpoint; it is gone when this is dropped.
pub struct Proxy {
    /// What a profile says.
    pub endpoint_url: String,
    pub faults: Faults,
    serving: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    /// In front of the emulator at `emulator` (`http://127.0.0.1:5000`).
    pub async fn of(emulator: &str, faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint_url = format!("http://{}", listener.local_addr().unwrap());
        let (emulator, answering) = (emulator.to_owned(), faults.clone());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, emulator.clone(), answering.clone()));
            }
        });
        Self { endpoint_url, faults, serving }
    }
}

/// One connection, request after request, until either side has had enough.
async fn serve(stream: TcpStream, emulator: String, faults: Faults) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = request(&mut stream, &emulator).await {
        let head_only = request.method() == "HEAD";
        match faults.call(request).await {
            Ok(response) => {
                let Ok((response, body)) = speech::read(response).await else { return };
                if stream.get_mut().write_all(&written(&response, &body, head_only)).await.is_err() {
                    return;
                }
            }
            Err(e) if e.is_timeout() => {
                // Until the other side gives up.
                let _ = stream.read(&mut [0; 1]).await;
                return;
            }
            Err(_) => {
                let _ = stream.get_ref().set_zero_linger();
                return;
            }
        }
    }
}

/// Reads a request whose length is said, as the SDK's are; none at the end of the connection.
async fn request(stream: &mut BufReader<TcpStream>, emulator: &str) -> Option<HttpRequest> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    let (method, rest) = line.split_once(' ')?;
    let mut request = HttpRequest::get(format!("{emulator}{}", rest.split_once(' ')?.0)).unwrap();
    request.set_method(method).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        let name = name.to_lowercase();
        assert_ne!(name, "transfer-encoding", "requests of the SDK say how long they are");
        if name == "content-length" {
            length = value.parse().unwrap();
        }
        if name != "host" {
            request.headers_mut().append(name, value.to_owned());
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    *request.body_mut() = SdkBody::from(body);
    Some(request)
}

fn written(response: &HttpResponse, body: &[u8], head_only: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} by a test\r\n", response.status().as_u16());
    for (name, value) in response.headers() {
        if !["content-length", "connection", "transfer-encoding"].contains(&name) {
            head += &format!("{name}: {value}\r\n");
        }
    }
    if !head_only {
        head += &format!("content-length: {}\r\n", body.len());
    }
    let mut all = (head + "\r\n").into_bytes();
    if !head_only {
        all.extend_from_slice(body);
    }
    all
}
