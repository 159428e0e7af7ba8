//! Where spans go, by the names that OpenTelemetry gives its settings.

use percent_encoding::percent_decode_str;

use crate::{
    Secret,
    lookup::Lookup,
    parse::{self, Problem},
    variable::{OTEL_SAMPLER, OTEL_SAMPLER_ARG, OTEL_SERVICE_NAME, OTLP_ENDPOINT, OTLP_HEADERS},
};

/// Where spans go, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` with `/v1/traces`, where spans are posted.
    pub url: String,
    /// `OTEL_EXPORTER_OTLP_HEADERS`: what is sent with each post.
    pub headers: Vec<(String, Secret)>,
    /// `OTEL_SERVICE_NAME`; unset, by the role.
    pub service_name: Option<String>,
    /// `OTEL_TRACES_SAMPLER` and its argument; default what the sender decided, and else all.
    pub sampler: Sampler,
}

/// Which traces are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// What the sender of a task decided holds; the share is for traces that begin here.
    pub parent_based: bool,
    /// The share of traces that is kept, 0 to 1.
    pub ratio: f64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            parent_based: true,
            ratio: 1.0,
        }
    }
}

impl Sampler {
    /// The name of the sampler, as `OTEL_TRACES_SAMPLER` has it.
    pub fn name(&self) -> &'static str {
        match (self.parent_based, self.ratio) {
            (true, 1.0) => "parentbased_always_on",
            (true, 0.0) => "parentbased_always_off",
            (true, _) => "parentbased_traceidratio",
            (false, 1.0) => "always_on",
            (false, 0.0) => "always_off",
            (false, _) => "traceidratio",
        }
    }
}

/// How a sampler's name gets its share.
#[derive(Clone, Copy)]
enum Share {
    All,
    None,
    Argument,
}

impl TraceSettings {
    /// What is set is checked even while nothing is traced.
    pub(crate) fn read(lookup: &mut Lookup) -> Option<Self> {
        let url = lookup.parsed(&OTLP_ENDPOINT, endpoint);
        let headers = lookup.parsed(&OTLP_HEADERS, headers).unwrap_or_default();
        let service_name = lookup.text(&OTEL_SERVICE_NAME);
        let named = lookup.parsed(&OTEL_SAMPLER, sampler);
        let argument = lookup.parsed(&OTEL_SAMPLER_ARG, ratio).unwrap_or(1.0);
        let sampler = named.map_or_else(Sampler::default, |(parent_based, share)| Sampler {
            parent_based,
            ratio: match share {
                Share::All => 1.0,
                Share::None => 0.0,
                Share::Argument => argument,
            },
        });
        Some(Self {
            url: url?,
            headers,
            service_name,
            sampler,
        })
    }
}

/// The address of a collector, made into that of its traces.
fn endpoint(text: &str) -> Result<String, Problem> {
    let url = web_address(text)?;
    Ok(format!("{}/v1/traces", url.trim_end_matches('/')))
}

/// A URL of the web without query and user.
fn web_address(text: &str) -> Result<&str, Problem> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split('/').next());
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '@' | '<' | '>' | '"');
    let port = host.and_then(|host| host.rsplit_once(':').filter(|_| !host.ends_with(']')));
    let good_port = port.is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
    let named = host.is_some_and(|host| !host.is_empty() && !host.starts_with(':'));
    if named && good_port && text.chars().all(plain) {
        return Ok(text);
    }
    Err(Problem::new(
        "is not the address of a collector",
        "http://host:4318 or https://host[:port][/path]",
    ))
}

/// `name=value,name=value` as in a W3C Baggage header: values are percent-encoded.
fn headers(text: &str) -> Result<Vec<(String, Secret)>, Problem> {
    let wrong = || {
        Problem::new(
            "is not a list of headers",
            "name=value, with commas between them and values percent-encoded",
        )
    };
    parse::names(text)
        .iter()
        .map(|one| {
            let (name, value) = one.split_once('=').ok_or_else(wrong)?;
            let (name, value) = (name.trim(), value.trim());
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| wrong())?;
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            let good = !name.is_empty() && name.chars().all(token);
            match good && value.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
                true => Ok((name.to_ascii_lowercase(), Secret::new(value.into_owned()))),
                false => Err(wrong()),
            }
        })
        .collect()
}

fn sampler(text: &str) -> Result<(bool, Share), Problem> {
    let (parent_based, name) = match text.strip_prefix("parentbased_") {
        Some(name) => (true, name),
        None => (false, text),
    };
    let share = match name {
        "always_on" => Share::All,
        "always_off" => Share::None,
        "traceidratio" => Share::Argument,
        _ => {
            return Err(Problem::new(
                "is not a sampler",
                "always_on, always_off, traceidratio, or one of them behind parentbased_",
            ));
        }
    };
    Ok((parent_based, share))
}

fn ratio(text: &str) -> Result<f64, Problem> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(Problem::new("is not a share", "a number from 0 to 1")),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Faults, Sampler, Settings, TraceSettings};

    fn read(variables: &[(&str, &str)]) -> Result<Option<TraceSettings>, Faults> {
        let pairs = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_lookup(pairs).map(|(settings, _)| settings.telemetry.traces)
    }

    #[test]
    fn nothing_is_traced_unless_a_collector_is_named() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[("OTEL_TRACES_SAMPLER", "always_on")]).unwrap(), None);
        let url = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let traces = read(&[(url, "http://collector:4318/")]).unwrap().unwrap();
        assert_eq!(traces.url, "http://collector:4318/v1/traces");
        assert_eq!(traces.sampler, Sampler::default());
        let below = read(&[(url, "https://c.example/otlp")]).unwrap().unwrap();
        assert_eq!(below.url, "https://c.example/otlp/v1/traces");
    }

    #[test]
    fn headers_are_decoded_and_hidden() {
        let traces = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1]:4318"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "Authorization=Basic%20Zm9v, x-team=ops",
            ),
        ]);
        let traces = traces.unwrap().unwrap();
        let plain: Vec<(&str, &str)> = traces
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        assert_eq!(plain, [("authorization", "Basic Zm9v"), ("x-team", "ops")]);
        assert!(!format!("{traces:?}").contains("Zm9v"));
    }

    #[test]
    fn samplers_go_by_their_standard_names() {
        let check = |name: &str, argument: &str, parent_based, ratio| {
            let traces = read(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"),
                ("OTEL_TRACES_SAMPLER", name),
                ("OTEL_TRACES_SAMPLER_ARG", argument),
            ]);
            let sampler = traces.unwrap().unwrap().sampler;
            assert_eq!((sampler.parent_based, sampler.ratio), (parent_based, ratio));
            assert_eq!(sampler.name(), name);
        };
        check("always_on", "0.5", false, 1.0);
        check("parentbased_always_off", "", true, 0.0);
        check("traceidratio", "0.25", false, 0.25);
        check("parentbased_traceidratio", "0.5", true, 0.5);
    }

    #[test]
    fn what_cannot_be_is_a_fault() {
        let check = |name: &str, value: &str, problem: &str| {
            let faults = read(&[(name, value)]).unwrap_err().to_string();
            assert!(
                faults.contains(name) && faults.contains(problem),
                "{faults}"
            );
        };
        let url = "OTEL_EXPORTER_OTLP_ENDPOINT";
        check(url, "collector:4318", "not the address of a collector");
        check(
            url,
            "grpc://collector:4317",
            "not the address of a collector",
        );
        check(url, "http://", "not the address of a collector");
        check(url, "http://host:port", "not the address of a collector");
        check(
            url,
            "http://host:4318 ,http://b",
            "not the address of a collector",
        );
        check(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "token",
            "not a list of headers",
        );
        check(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a b=c",
            "not a list of headers",
        );
        check("OTEL_TRACES_SAMPLER", "jaeger_remote", "not a sampler");
        check("OTEL_TRACES_SAMPLER_ARG", "2", "not a share");
    }
}
