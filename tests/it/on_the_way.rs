//! What stands between the program and the provider: proxies, certificates, redirects and pages of
//! somebody else. Each is named, and nothing is repeated unseen.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::{Arc, Mutex};

use backlake::simulator::{Behaviour, LOGIN, PASSWORD, Scripted};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::{Site, listening, program, text};
use crate::scripted::{kind, pages, run_scripted};

/// The simulator behind TLS, with a certificate of an authority that only `authority` names.
struct Secure {
    address: SocketAddr,
    authority: String,
}

/// Serves a plain address of this machine over TLS.
async fn secured(plain: String) -> Secure {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let names = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = names.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, plain) = (acceptor.clone(), plain.clone());
            tokio::spawn(async move {
                let mut secure = acceptor.accept(stream).await?;
                let mut plain = TcpStream::connect(plain).await?;
                copy_bidirectional(&mut secure, &mut plain).await
            });
        }
    });
    Secure { address, authority }
}

/// A proxy that notes what it is asked to connect to. It refuses everybody if `closed`.
async fn proxy(closed: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let notes = Arc::clone(&notes);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut first = String::new();
                stream.read_line(&mut first).await?;
                let mut line = String::new();
                while stream.read_line(&mut line).await? > 2 {
                    line.clear();
                }
                let host = first.split(' ').nth(1).unwrap_or_default().to_owned();
                notes.lock().unwrap().push(host.clone());
                if closed {
                    let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
                    return stream.write_all(refusal.as_bytes()).await;
                }
                let mut provider = TcpStream::connect(host).await?;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                copy_bidirectional(&mut stream, &mut provider)
                    .await
                    .map(drop)
            });
        }
    });
    (format!("http://{address}"), asked)
}

/// Runs `check` on the real program with these variables.
async fn check(base_url: String, variables: Vec<(&'static str, String)>) -> Output {
    let run = move || {
        let site = Site::new(pages(1));
        let file = site.write("pipeline.toml", site.text());
        let mut command = program();
        for name in ["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        let command = command
            .arg("check")
            .arg(file)
            .args(["--base-url", &base_url]);
        let command = command
            .env("DATAFORSEO_LOGIN", LOGIN)
            .env("DATAFORSEO_PASSWORD", PASSWORD)
            .envs(variables);
        command.output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_and_the_certificates_of_the_environment_count() {
    let simulator = listening(Behaviour::default()).await;
    let plain = simulator.url().replace("http://", "");
    let secure = secured(plain).await;
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, &secure.authority).unwrap();
    let trusted = ("SSL_CERT_FILE", authority.display().to_string());
    let (open, asked) = proxy(false).await;
    let (closed, _) = proxy(true).await;
    let (host, url) = (
        secure.address.to_string(),
        format!("https://{}", secure.address),
    );
    let around = ("NO_PROXY", "127.0.0.1".to_owned());
    for (variables, exit, says, through) in [
        (vec![trusted.clone()], 0, "", false),
        (vec![], 3, "invalid peer certificate", false),
        (
            vec![trusted.clone(), ("HTTPS_PROXY", open.clone())],
            0,
            "",
            true,
        ),
        (
            vec![
                trusted.clone(),
                ("HTTPS_PROXY", open.clone()),
                around.clone(),
            ],
            0,
            "",
            false,
        ),
        (
            vec![trusted.clone(), ("HTTPS_PROXY", closed.clone())],
            3,
            "HTTPS_PROXY",
            false,
        ),
        (vec![trusted, ("HTTPS_PROXY", closed), around], 0, "", false),
    ] {
        let output = check(url.clone(), variables.clone()).await;
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(exit), "{variables:?}: {said}");
        assert!(said.contains(says), "{variables:?}: {said}");
        assert!(!said.contains("defect of backlake"), "{said}");
        let expected: &[String] = if through {
            std::slice::from_ref(&host)
        } else {
            &[]
        };
        assert_eq!(
            std::mem::take(&mut *asked.lock().unwrap()),
            expected,
            "{variables:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_provider_names_base_url_and_the_proxy() {
    let with = |status: u16, headers: Vec<(&'static str, String)>, body: &str| Scripted {
        status,
        headers,
        body: body.to_owned().into(),
    };
    let redirect = vec![("location", "https://login.example.org/".to_owned())];
    for (response, says) in [
        (with(301, redirect.clone(), ""), "HTTP 301"),
        (with(302, redirect, "<html>moved</html>"), "HTTP 302"),
        (with(404, vec![], "not here"), "HTTP 404"),
        (with(407, vec![], ""), "HTTP 407"),
        (
            with(200, vec![], "\u{feff} <!DOCTYPE HTML><html>"),
            "an HTML page with HTTP 200",
        ),
    ] {
        let (_, simulator, end) = run_scripted(3, (0..20).map(|_| response.clone())).await;
        assert_eq!(
            kind(&end),
            Some(backlake::error::ErrorKind::Account),
            "{says}"
        );
        let error = end.error.unwrap();
        let said = format!("{error} {}", error.hint());
        assert!(said.contains(says) && said.contains("PROXY"), "{said}");
        assert!(says.contains("407") || said.contains("base_url"), "{said}");
        assert!(!said.contains("defect"), "{said}");
        assert!(simulator.requests() <= 3, "{said}");
        let fates = end.report.fates;
        assert_eq!(fates.unsent + fates.failed, 3, "{said}");
    }
}
