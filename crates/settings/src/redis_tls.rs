//! How a connection to Redis is encrypted: redis-py's parameters, from a URL or from a `use_ssl` setting.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    UrlError, known::nearest, lookup::Lookup, parse::Problem, secret::MASK, variable::Variable,
};

/// The encryption of a connection. What is not said has redis-py's default (redis/connection.py, `SSLConnection`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// `ssl_cert_reqs`; default [`CertReqs::Required`].
    pub cert_reqs: Option<CertReqs>,
    /// `ssl_check_hostname`: whether the certificate must name the host; default true.
    pub check_hostname: Option<bool>,
    /// `ssl_ca_certs`: a PEM file of the authorities to trust; None: the system's.
    pub ca_certs: Option<PathBuf>,
    /// `ssl_certfile`: a PEM file with our own certificate, for a server that asks for one.
    pub certfile: Option<PathBuf>,
    /// `ssl_keyfile`: a PEM file with the key of that certificate; None: it is in the same file.
    pub keyfile: Option<PathBuf>,
}

/// What is asked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertReqs {
    /// It must be good.
    Required,
    /// The same: a client is always shown a certificate.
    Optional,
    /// Nothing: whoever is in the way can read everything.
    None,
}

/// The parameters that are read here.
const PARAMETERS: [&str; 5] = [
    "ssl_cert_reqs",
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_check_hostname",
];

impl RedisTls {
    /// Whether the server's certificate is verified.
    pub fn verifies(&self) -> bool {
        self.cert_reqs != Some(CertReqs::None)
    }

    /// Whether the certificate must name the host; never without verification, as in redis-py.
    pub fn checks_hostname(&self) -> bool {
        self.verifies() && self.check_hostname != Some(false)
    }

    /// Takes a parameter of a URL; false when it is not one of encryption.
    pub(crate) fn set_parameter(&mut self, name: &str, value: &str) -> Result<bool, UrlError> {
        match name {
            "ssl_cert_reqs" => {
                let wrong = "has an ssl_cert_reqs that is not one of required, optional, none, CERT_REQUIRED, \
                             CERT_OPTIONAL, CERT_NONE";
                self.cert_reqs = Some(cert_reqs(value).ok_or(UrlError::Malformed(wrong))?);
            }
            // kombu/utils/url.py: whatever is not false is true.
            "ssl_check_hostname" => {
                self.check_hostname = Some(!value.eq_ignore_ascii_case("false"));
            }
            "ssl_ca_certs" => self.ca_certs = Some(value.into()),
            "ssl_certfile" => self.certfile = Some(value.into()),
            "ssl_keyfile" => self.keyfile = Some(value.into()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes one entry of a JSON object; false when nothing here has that name.
    pub(crate) fn set_entry(&mut self, name: &str, value: &Value) -> Result<bool, Problem> {
        let path = || match value {
            Value::Null => Ok(None),
            Value::String(path) if !path.is_empty() => Ok(Some(PathBuf::from(path))),
            _ => Err(Problem::new("is not a path", "the path of a PEM file")),
        };
        match name {
            "ssl_cert_reqs" => {
                // Python's constants are numbers: VerifyMode.CERT_NONE is 0.
                let found = match value {
                    Value::String(text) => cert_reqs(text),
                    Value::Number(number) => match number.as_u64() {
                        Some(0) => Some(CertReqs::None),
                        Some(1) => Some(CertReqs::Optional),
                        Some(2) => Some(CertReqs::Required),
                        _ => None,
                    },
                    Value::Null => Some(CertReqs::None),
                    _ => None,
                };
                let found = found.ok_or_else(|| {
                    Problem::new(
                        "is not known",
                        "\"required\", \"optional\", \"none\" or CERT_REQUIRED, CERT_OPTIONAL, CERT_NONE",
                    )
                });
                self.cert_reqs = Some(found?);
            }
            "ssl_check_hostname" => match value {
                Value::Bool(check) => self.check_hostname = Some(*check),
                _ => return Err(Problem::new("is not a yes or no", "true or false")),
            },
            "ssl_ca_certs" => self.ca_certs = path()?,
            "ssl_certfile" => self.certfile = path()?,
            "ssl_keyfile" => self.keyfile = path()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes from another what this one does not say.
    pub(crate) fn fill_from(&mut self, other: &Self) {
        self.cert_reqs = self.cert_reqs.or(other.cert_reqs);
        self.check_hostname = self.check_hostname.or(other.check_hostname);
        for (ours, theirs) in [
            (&mut self.ca_certs, &other.ca_certs),
            (&mut self.certfile, &other.certfile),
            (&mut self.keyfile, &other.keyfile),
        ] {
            if ours.is_none() {
                ours.clone_from(theirs);
            }
        }
    }

    /// The parameters as a URL carries them, in their order.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let reqs = self.cert_reqs.map(|reqs| match reqs {
            CertReqs::Required => "required".to_owned(),
            CertReqs::Optional => "optional".to_owned(),
            CertReqs::None => "none".to_owned(),
        });
        let check = self.check_hostname.map(|check| check.to_string());
        let values = [
            reqs,
            path(&self.ca_certs),
            path(&self.certfile),
            path(&self.keyfile),
            check,
        ];
        PARAMETERS
            .into_iter()
            .zip(values)
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

fn cert_reqs(text: &str) -> Option<CertReqs> {
    match text {
        "required" | "CERT_REQUIRED" => Some(CertReqs::Required),
        "optional" | "CERT_OPTIONAL" => Some(CertReqs::Optional),
        "none" | "CERT_NONE" => Some(CertReqs::None),
        _ => None,
    }
}

/// Reads `CELERY_BROKER_USE_SSL` or `CELERY_REDIS_BACKEND_USE_SSL`; None: it is off.
pub(crate) fn read_use_ssl(lookup: &mut Lookup, variable: &'static Variable) -> Option<RedisTls> {
    let text = lookup.text(variable)?;
    match text.to_ascii_lowercase().as_str() {
        "false" | "no" | "off" | "0" | "null" | "none" => return None,
        "true" | "yes" | "on" | "1" => {
            // kombu takes True for Redis and connects without encryption.
            lookup.push_fault(
                variable.name,
                text,
                "does not say what is asked of the server's certificate",
                r#"{"ssl_cert_reqs": "required", "ssl_ca_certs": ".."}"#,
            );
            return None;
        }
        _ => {}
    }
    let mut tls = RedisTls::default();
    for (name, value) in lookup.object(variable, &text)? {
        match tls.set_entry(&name, &value) {
            Ok(true) => {}
            Ok(false) => {
                let problem = format!("has {name}, which is not known here");
                let expected = format!("{}{}", PARAMETERS.join(", "), nearest(&name, PARAMETERS));
                lookup.push_fault(variable.name, MASK.to_owned(), &problem, &expected);
            }
            Err(Problem { problem, expected }) => {
                lookup.fault(variable, &value, &format!("{name} {problem}"), &expected);
            }
        }
    }
    Some(tls)
}

#[cfg(test)]
mod tests {
    use super::{CertReqs, RedisTls};
    use crate::{BrokerUrl, Faults, RedisUrl, ResultUrl, Settings, Warning};

    fn read(variables: &[(&str, &str)]) -> Result<(Settings, Vec<Warning>), Faults> {
        let pairs = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_lookup(pairs)
    }

    fn broker(settings: &Settings) -> &RedisUrl {
        match &settings.broker.url {
            Some(BrokerUrl::Redis(urls)) => &urls[0],
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parameters_of_the_url_say_how_a_connection_is_encrypted() {
        let url = "rediss://:hunter2@cache:6380/1?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=%2Fca.pem\
                   &ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_check_hostname=False";
        let (settings, warnings) = read(&[("CELERY_BROKER_URL", url)]).unwrap();
        let tls = broker(&settings).tls.clone().unwrap();
        assert_eq!(
            tls,
            RedisTls {
                cert_reqs: Some(CertReqs::Required),
                check_hostname: Some(false),
                ca_certs: Some("/ca.pem".into()),
                certfile: Some("/c.pem".into()),
                keyfile: Some("/k.pem".into()),
            }
        );
        assert!(tls.verifies() && !tls.checks_hostname());
        assert!(warnings.is_empty());
        assert_eq!(
            broker(&settings).to_string(),
            "rediss://:********@cache:6380/1?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem\
             &ssl_keyfile=/k.pem&ssl_check_hostname=false"
        );
    }

    /// kombu/connection.py: a broker whose URL says nothing is encrypted and not verified.
    #[test]
    fn a_broker_without_parameters_is_not_verified_and_that_is_a_warning() {
        let (settings, warnings) = read(&[("CELERY_BROKER_URL", "rediss://cache")]).unwrap();
        assert!(!broker(&settings).tls.as_ref().unwrap().verifies());
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].message.contains("ssl_cert_reqs"),
            "{warnings:?}"
        );
        // Results go to the same place: what is mandatory for their own URL was decided here.
        let url = "rediss://cache?ssl_ca_certs=/ca.pem";
        let (settings, warnings) = read(&[("CELERY_BROKER_URL", url)]).unwrap();
        assert!(broker(&settings).tls.as_ref().unwrap().verifies());
        assert!(warnings.is_empty());
    }

    /// celery/backends/redis.py: `E_REDIS_SSL_CERT_REQS_MISSING_INVALID`.
    #[test]
    fn a_result_store_must_say_what_is_asked_of_the_certificate() {
        let missing = [("CELERY_RESULT_BACKEND", "rediss://:hunter2@cache")];
        let faults = read(&missing).unwrap_err().to_string();
        assert!(faults.contains("ssl_cert_reqs"), "{faults}");
        assert!(!faults.contains("hunter2"), "{faults}");
        let invalid = [(
            "CELERY_RESULT_BACKEND",
            "rediss://cache?ssl_cert_reqs=maybe",
        )];
        assert!(read(&invalid).is_err());
        let other = [
            ("CELERY_RESULT_BACKEND", "redis://cache"),
            (
                "CELERY_REDIS_BACKEND_USE_SSL",
                r#"{"ssl_ca_certs": "/ca.pem"}"#,
            ),
        ];
        assert!(read(&other).is_err());
        let given = [
            ("CELERY_RESULT_BACKEND", "rediss://cache"),
            (
                "CELERY_REDIS_BACKEND_USE_SSL",
                r#"{"ssl_cert_reqs": 2, "ssl_ca_certs": "/ca.pem"}"#,
            ),
        ];
        let (settings, _) = read(&given).unwrap();
        let Some(ResultUrl::Redis(urls)) = settings.results.url else {
            panic!("{:?}", settings.results.url);
        };
        assert_eq!(
            urls[0].tls.as_ref().unwrap().ca_certs,
            Some("/ca.pem".into())
        );
    }

    #[test]
    fn use_ssl_encrypts_a_plain_url_and_the_url_wins() {
        let use_ssl =
            r#"{"ssl_cert_reqs": "none", "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": false}"#;
        let plain = [
            ("CELERY_BROKER_URL", "redis://cache"),
            ("CELERY_BROKER_USE_SSL", use_ssl),
        ];
        let (settings, _) = read(&plain).unwrap();
        assert_eq!(
            broker(&settings).tls.as_ref().unwrap().cert_reqs,
            Some(CertReqs::None)
        );
        let both = [
            ("CELERY_BROKER_URL", "rediss://cache?ssl_cert_reqs=required"),
            ("CELERY_BROKER_USE_SSL", use_ssl),
        ];
        let (settings, _) = read(&both).unwrap();
        let tls = broker(&settings).tls.clone().unwrap();
        assert_eq!(tls.cert_reqs, Some(CertReqs::Required));
        assert_eq!(tls.ca_certs, Some("/ca.pem".into()));
        let off = [
            ("CELERY_BROKER_URL", "redis://cache"),
            ("CELERY_BROKER_USE_SSL", "false"),
        ];
        assert_eq!(broker(&read(&off).unwrap().0).tls, None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (name, value) in [
            ("CELERY_BROKER_URL", "redis://cache?ssl_cert_reqs=none"),
            ("CELERY_BROKER_URL", "rediss://cache?ssl_keyfile=/k.pem"),
            ("CELERY_BROKER_URL", "rediss://cache?ssl_ciphers=x"),
            ("CELERY_BROKER_USE_SSL", "true"),
            ("CELERY_BROKER_USE_SSL", r#"{"keyfile": "/k.pem"}"#),
            ("CELERY_BROKER_USE_SSL", r#"{"ssl_cert_reqs": 3}"#),
            ("CELERY_BROKER_USE_SSL", r#"{"ssl_check_hostname": "no"}"#),
        ] {
            let faults = read(&[(name, value)]).unwrap_err();
            assert_eq!(faults.0.len(), 1, "{name} {value}: {faults}");
        }
        let socket = [
            ("CELERY_BROKER_URL", "redis+socket:///run/redis.sock"),
            ("CELERY_BROKER_USE_SSL", r#"{"ssl_cert_reqs": "none"}"#),
        ];
        assert!(read(&socket).is_err());
    }
}
