//! Node names as Celery makes them, and the `%` signs in them (celery/utils/nodenames.py).

use lovage_protocol::NodeName;

/// The name of a worker that nobody named.
const DEFAULT: &str = "celery";

/// The node name for `-n`: a part without `@` is the host, an empty part is filled in, `%` signs are expanded.
pub(crate) fn node_name(given: Option<&str>, host: &str) -> Result<NodeName, String> {
    let given = given.unwrap_or_default();
    let (name, node_host) = given.split_once('@').unwrap_or(("", given));
    let name = if name.is_empty() { DEFAULT } else { name };
    let text = if node_host.is_empty() {
        // The host's own name is no pattern.
        format!("{}@{host}", expand_host(name, host)?)
    } else {
        expand_host(&format!("{name}@{node_host}"), host)?
    };
    NodeName::parse(&text).map_err(|error| error.to_string())
}

/// Expands the `%` signs of a file's name by the node that uses it; `%p` is the whole node name.
pub(crate) fn expand_node(text: &str, node: &NodeName) -> Result<String, String> {
    let (name, host) = node
        .as_str()
        .split_once('@')
        .unwrap_or((DEFAULT, node.as_str()));
    let domain = host.split_once('.').map_or("", |(_, domain)| domain);
    expand(text, |sign| match sign {
        'h' => Some(host),
        'n' => Some(name),
        'd' => Some(domain),
        'p' => Some(node.as_str()),
        other => of_process(other),
    })
}

fn expand_host(text: &str, host: &str) -> Result<String, String> {
    let (short, domain) = host.split_once('.').unwrap_or((host, ""));
    expand(text, |sign| match sign {
        'h' => Some(host),
        'n' => Some(short),
        'd' => Some(domain),
        other => of_process(other),
    })
}

/// The index of the pool process; this is always the main process, which has the index 0 and no suffix.
fn of_process(sign: char) -> Option<&'static str> {
    match sign {
        'i' => Some("0"),
        'I' => Some(""),
        '%' => Some("%"),
        _ => None,
    }
}

fn expand<'a>(text: &str, value: impl Fn(char) -> Option<&'a str>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let sign = rest
            .clone()
            .next()
            .filter(|&next| c == '%' && (next == '%' || next == '_' || next.is_alphanumeric()));
        let Some(sign) = sign else {
            expanded.push(c);
            continue;
        };
        rest.next();
        match value(sign) {
            Some(value) => expanded.push_str(value),
            None => {
                return Err(format!(
                    "%{sign} means nothing in {text:?}; known are %h (host), %n (name), %d (domain), %i and %%"
                ));
            }
        }
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use lovage_protocol::NodeName;

    use super::{expand_node, node_name};

    #[test]
    fn names_are_completed_and_expanded_as_celery_does() {
        let check = |given: Option<&str>, expected: &str| {
            assert_eq!(
                node_name(given, "web1.example.com").unwrap().as_str(),
                expected,
                "{given:?}"
            );
        };
        // Each of these is the answer of host_format(default_nodename(given)) of Celery 5.7.
        check(None, "celery@web1.example.com");
        check(Some(""), "celery@web1.example.com");
        check(Some("w1@%h"), "w1@web1.example.com");
        check(Some("w1@"), "w1@web1.example.com");
        check(Some("@box"), "celery@box");
        check(Some("box"), "celery@box");
        check(Some("%n-a@%d"), "web1-a@example.com");
        check(Some("w%i%I@%n"), "w0@web1");
        check(Some("100%%@x"), "100%@x");
        check(Some("5% @x"), "5% @x");
        check(Some("a@b@c"), "a@b@c");
    }

    #[test]
    fn unknown_signs_are_refused() {
        let error = node_name(Some("w%z@%h"), "h").unwrap_err();
        assert!(error.contains("%z"), "{error}");
    }

    #[test]
    fn files_are_named_after_the_node() {
        let node = NodeName::parse("w1@web1.example.com").unwrap();
        assert_eq!(
            expand_node("/run/%n.%d-%i.pid", &node).unwrap(),
            "/run/w1.example.com-0.pid"
        );
        assert_eq!(expand_node("%p", &node).unwrap(), "w1@web1.example.com");
        assert!(expand_node("%z", &node).is_err());
    }
}
