//! JSON pointers (RFC 6901): their steps, and what they lead to, with the wildcard of RFC 8620 3.7.

use serde_json::Value;

/// Most values that one wildcard path may gather.
pub const GATHERED_MAX: usize = 10_000;

/// Most levels of a pointer.
const DEPTH_MAX: usize = 32;

/// The steps of a pointer that is written without its first slash, `~1` and `~0` resolved (RFC 6901 4).
/// `None`: it is no pointer, or has more than [`DEPTH_MAX`] of them.
#[must_use]
pub fn steps(pointer: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for part in pointer.split('/') {
        let mut step = String::with_capacity(part.len());
        let mut rest = part.chars();
        while let Some(c) = rest.next() {
            step.push(match c {
                '~' => match rest.next()? {
                    '0' => '~',
                    '1' => '/',
                    _ => return None,
                },
                c => c,
            });
        }
        all.push(step);
    }
    (all.len() <= DEPTH_MAX).then_some(all)
}

/// What the pointer leads to. `None`: nowhere, or to more than [`GATHERED_MAX`] values.
#[must_use]
pub fn evaluate(value: &Value, path: &str) -> Option<Value> {
    if path.is_empty() {
        return Some(value.clone());
    }
    walk(value, &steps(path.strip_prefix('/')?)?)
}

fn walk(value: &Value, path: &[String]) -> Option<Value> {
    let Some((token, rest)) = path.split_first() else { return Some(value.clone()) };
    match value {
        Value::Array(items) if token == "*" => {
            let mut gathered = Vec::new();
            for item in items {
                match walk(item, rest)? {
                    Value::Array(inner) => gathered.extend(inner),
                    other => gathered.push(other),
                }
                if gathered.len() > GATHERED_MAX {
                    return None;
                }
            }
            Some(Value::Array(gathered))
        }
        Value::Array(items) => {
            let at: usize = token.parse().ok()?;
            walk(items.get(at)?, rest)
        }
        Value::Object(all) => walk(all.get(token)?, rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_where_rfc_8620_says() {
        let value = json!({ "list": [{ "ids": ["a", "b"], "n": 1 }, { "ids": ["c"], "n": 2 }], "a/b": { "m~n": 7 } });
        let at = |path: &str| evaluate(&value, path);
        assert_eq!(at("/list/*/ids"), Some(json!(["a", "b", "c"])));
        assert_eq!(at("/list/*/n"), Some(json!([1, 2])));
        assert_eq!(at("/list/1/n"), Some(json!(2)));
        assert_eq!(at("/a~1b/m~0n"), Some(json!(7)));
        assert_eq!(at("/list/9"), None);
        assert_eq!(at("list"), None, "a pointer begins with a slash");
        assert_eq!(at("/list/*/none"), None);
        assert_eq!(at("/list/0/n/deeper"), None);
    }
}
