//! JSON pointers (RFC 6901) with the wildcard of RFC 8620 3.7.

use serde_json::Value;

/// Most values that one wildcard path may gather.
pub const GATHERED_MAX: usize = 10_000;

/// The parts of a pointer between its slashes, `~1` and `~0` read; a leading slash may be missing, as in
/// the keys of a PatchObject (RFC 8620 5.3).
pub fn tokens(path: &str) -> impl Iterator<Item = String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/').map(|token| token.replace("~1", "/").replace("~0", "~"))
}

/// What the pointer leads to. `None`: nowhere, or to more than [`GATHERED_MAX`] values.
#[must_use]
pub fn evaluate(value: &Value, path: &str) -> Option<Value> {
    if path.is_empty() {
        return Some(value.clone());
    }
    let tokens: Vec<String> = tokens(path).collect();
    walk(value, &tokens)
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
        assert_eq!(at("/list/*/none"), None);
        assert_eq!(at("/list/0/n/deeper"), None);
    }
}
