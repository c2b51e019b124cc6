//! Which servers labctl talks to at all: those that encrypt, and prove who they are.

use std::time::Duration;

use labctl::engine::fault::Class;
use labctl::tenantdb::{Databases, Login, Settings, Tls, Tunnels};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::server::{ADMIN_PASSWORD, ENDPOINT, Server};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_encryption_is_not_talked_to() {
    for tls in [Tls::VerifyFull, Tls::VerifyCa, Tls::Require] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().0;
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            // No, we do not speak TLS here.
            stream.write_all(b"N").await.unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            rest
        });
        let login = Login { endpoint: format!("localhost:{port}"), database: "shared".into(), username: "admin".into(), password: "secret".into() };
        let strict = Databases::new(Settings { tls, ..Settings::default() });
        let fault = strict.connect(&login).await.err().unwrap();
        assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, "tls"), "{fault}");
        assert!(said.await.unwrap().is_empty(), "it is told nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_only_talked_to_when_its_certificate_is_trusted() {
    let server = Server::new("tls").await;
    let login = |endpoint: String| Login { endpoint, database: "tls_shared".into(), username: "tls_admin".into(), password: ADMIN_PASSWORD.into() };
    let port = server.port();
    let strict = |root_cert| Databases::new(Settings { tls: Tls::VerifyFull, root_cert, ..Settings::default() });
    let Some(authority) = server.certify().await else {
        let plain = strict(None).connect(&login(format!("localhost:{port}"))).await.err().unwrap();
        assert_eq!((plain.class, plain.code.as_str()), (Class::Refused, "tls"), "a server without TLS: {plain}");
        println!("the rest needs a PostgreSQL built with TLS");
        return;
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    let stranger = strict(None).connect(&login(format!("localhost:{port}"))).await.err().unwrap();
    assert_eq!((stranger.class, stranger.code.as_str()), (Class::Refused, "tls"), "an authority nobody trusts: {stranger}");
    let other_name = strict(Some(authority.clone())).connect(&login(format!("127.0.0.1:{port}"))).await.err().unwrap();
    assert_eq!((other_name.class, other_name.code.as_str()), (Class::Refused, "tls"), "a certificate for another name: {other_name}");
    let mut trusted = strict(Some(authority.clone())).connect(&login(format!("localhost:{port}"))).await.unwrap();
    let ssl = trusted.select::<(bool,)>("t", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()".to_owned()).await.unwrap();
    assert!(ssl[0].0);
    // Through a tunnel the name cannot match; the authority still must.
    let tunnels = Tunnels::new([("*.rds.amazonaws.com:5432", format!("127.0.0.1:{port}"))]).unwrap();
    let through = |root_cert| Databases::new(Settings { tunnels: tunnels.clone(), tls: Tls::VerifyFull, root_cert });
    through(Some(authority)).connect(&login(ENDPOINT.into())).await.map(drop).unwrap();
    assert_eq!(through(None).connect(&login(ENDPOINT.into())).await.err().unwrap().code, "tls");
}
