//! An authority of the test's own, which signs certificates.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::redis_server::{RedisServer, free_port};

/// Keys and certificates in a temporary folder, made by `openssl`.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    /// Makes one, with a certificate for `localhost` and its address (`server.pem`), one for another host (`other.pem`) and one for a
    /// client (`client.pem`); the key of each lies beside it.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("lovage-authority-")
            .tempdir()
            .expect("the temporary folder is writable");
        let authority = Self { folder };
        authority.openssl(&format!(
            "req -x509 {KEY} -keyout authority.key -out authority.pem -days 2 -subj /CN=authority"
        ));
        authority.sign("server", "DNS:localhost,IP:127.0.0.1");
        authority.sign("other", "DNS:elsewhere.invalid");
        authority.sign("client", "DNS:client.invalid");
        authority
    }

    fn sign(&self, name: &str, holder: &str) {
        self.openssl(&format!(
            "req {KEY} -keyout {name}.key -out {name}.csr -subj /CN={name} -addext subjectAltName={holder}"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 \
             -copy_extensions copy -out {name}.pem"
        ));
    }

    fn openssl(&self, words: &str) {
        let output = Command::new("openssl")
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .expect("openssl is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {words}:\n{said}");
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A Redis with an encrypted port that shows this certificate; `clients`: whether it asks for one in return. Its
    /// other port and its socket are not encrypted.
    pub fn redis(&self, certificate: &str, clients: bool) -> (RedisServer, u16) {
        let port = free_port();
        let words = self.settings(port, certificate, clients);
        let words: Vec<String> = words
            .into_iter()
            .flat_map(|(name, value)| [format!("--{name}"), value])
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        (RedisServer::with_arguments(&words), port)
    }

    /// What a Redis is told that is to listen to encrypted connections at a port.
    pub fn settings(
        &self,
        port: u16,
        certificate: &str,
        clients: bool,
    ) -> Vec<(&'static str, String)> {
        let file = |name: String| self.path(&name).display().to_string();
        vec![
            ("tls-port", port.to_string()),
            ("tls-cert-file", file(format!("{certificate}.pem"))),
            ("tls-key-file", file(format!("{certificate}.key"))),
            ("tls-ca-cert-file", file("authority.pem".to_owned())),
            (
                "tls-auth-clients",
                if clients { "yes" } else { "no" }.to_owned(),
            ),
        ]
    }

    /// The `ssl_…` options of a client that trusts this authority and shows a certificate of it, as JSON.
    pub fn client_options(&self) -> serde_json::Value {
        serde_json::json!({
            "ssl_cert_reqs": "required",
            "ssl_ca_certs": self.path("authority.pem"),
            "ssl_certfile": self.path("client.pem"),
            "ssl_keyfile": self.path("client.key"),
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
