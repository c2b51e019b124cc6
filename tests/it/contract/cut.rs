//! A wire to PostgreSQL that is cut after so many messages of the client: before the server has heard the last of them, or after it has
//! answered and nobody has heard the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the server has not answered by then it does not answer.
const UNANSWERED: Duration = Duration::from_secs(1);

/// The wire; gone when this is dropped.
pub struct Wire {
    pub port: u16,
    cut: Arc<AtomicBool>,
    serving: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Wire {
    /// To the server at `port`, cut at message number `nth` (from 1) of all its connections.
    pub async fn to(port: u16, nth: usize, heard: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (own, cut, sent) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let said = cut.clone();
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(pass(client, server, nth, heard, sent.clone(), said.clone()));
            }
        });
        Self { port: own, cut, serving }
    }

    /// Whether it came to that.
    pub fn was_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, nth: usize, heard: bool, sent: Arc<AtomicUsize>, cut: Arc<AtomicBool>) {
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Some(n) = read.ok().filter(|n| *n > 0) else { return };
                let last = sent.fetch_add(1, Ordering::SeqCst) + 1 >= nth;
                if last {
                    cut.store(true, Ordering::SeqCst);
                    if !heard {
                        return;
                    }
                }
                if server.write_all(&up[..n]).await.is_err() {
                    return;
                }
                if last {
                    // The answer tells that it is done, and goes no further. Some messages have none.
                    let _ = tokio::time::timeout(UNANSWERED, server.read(&mut down)).await;
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Some(n) = read.ok().filter(|n| *n > 0) else { return };
                if client.write_all(&down[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
