//! What a registry asks for with 401: the `WWW-Authenticate` header (RFC 9110 §11.6.1), which may hold several challenges in one line.
//! Called by `auth`; pure, and never trusts the text.

/// One way the registry takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// A token of `realm`, for `service` and, where it was said, `scope`.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// More parameters than this in one header are not read.
const MAX_PARTS: usize = 64;

/// The challenges that we know, in the order of the headers.
pub(super) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    headers.flat_map(parse_one).collect()
}

fn parse_one(header: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header.trim_start();
    for _ in 0..MAX_PARTS {
        let (word, after) = token(rest);
        if word.is_empty() {
            break;
        }
        match after.trim_start().strip_prefix('=') {
            Some(value) => {
                let (value, after) = parameter_value(value.trim_start());
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.push((word.to_ascii_lowercase(), value));
                }
                rest = after;
            }
            None => {
                found.push((word.to_ascii_lowercase(), Vec::new()));
                rest = after;
            }
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    found.into_iter().filter_map(known).collect()
}

fn known((scheme, parameters): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") }),
        _ => None,
    }
}

fn token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))).unwrap_or(text.len());
    text.split_at(end)
}

/// A token or a quoted string, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        // Some registries leave the quotes away around a URL.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: own(service), scope: own(scope) }
    }

    fn check(header: &str, expected: &[Challenge]) {
        assert_eq!(parse([header].into_iter()), expected, "{header}");
    }

    #[test]
    fn challenges_of_real_registries() {
        check(r#"Basic realm="Registry Realm""#, &[Challenge::Basic]);
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull""#,
            &[bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:library/debian:pull"),
            )],
        );
        check(
            r#"Bearer realm="https://a/t", service="s", scope="repository:a:pull,push repository:b:pull", error="invalid_token""#,
            &[bearer("https://a/t", Some("s"), Some("repository:a:pull,push repository:b:pull"))],
        );
        check(r#"bearer Realm=https://a/t,service=s"#, &[bearer("https://a/t", Some("s"), None)]);
        check(r#"Negotiate, Bearer realm="r", Basic realm="x, y""#, &[bearer("r", None, None), Challenge::Basic]);
        check(r#"Bearer realm="a\"b""#, &[bearer("a\"b", None, None)]);
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        for header in ["", ",", "=", "Bearer", r#"Bearer service="x""#, "Digest realm=x", "\u{7f}", r#"realm="x""#] {
            check(header, &[]);
        }
        check(r#"Bearer realm="unclosed"#, &[bearer("unclosed", None, None)]);
    }

    proptest! {
        #[test]
        fn any_header_is_answered(text in any::<String>()) {
            parse([text.as_str()].into_iter());
        }

        #[test]
        fn headers_that_look_right_are_answered(text in r#"(Bearer|Basic|[a-z]{1,3})( [a-z]{1,7}=("[a-z,\\]{0,9}"|[a-z]{0,4}),?){0,5}"#) {
            parse([text.as_str()].into_iter());
        }
    }
}
