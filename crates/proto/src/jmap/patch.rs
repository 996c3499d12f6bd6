//! RFC 8620 5.3: a PatchObject, whose keys are JSON pointers (RFC 6901) without the leading slash.

use super::Map;
use super::pointer::steps;
use serde_json::Value;

/// The patch breaks a rule of RFC 8620 5.3: the whole update is refused with `invalidPatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// A pointer leads through something that is not there or is no object.
    #[error("a part of the pointer before its last is not there, or is no object")]
    Path,
    /// One pointer leads into what another sets.
    #[error("a pointer leads into what another one sets")]
    Overlap,
    /// The pointer's text is none.
    #[error("this is no JSON pointer")]
    Pointer,
}

/// `object` with `patch` applied: null removes, anything else sets. What is removed and has a default
/// gets it from who checks the outcome.
pub fn apply(object: &Map, patch: &Map) -> Result<Map, PatchError> {
    let mut paths = Vec::with_capacity(patch.len());
    for (pointer, value) in patch {
        paths.push((steps(pointer).ok_or(PatchError::Pointer)?, value));
    }
    // Sorted by their steps, what leads into another comes right behind it.
    paths.sort_by(|(a, _), (b, _)| a.cmp(b));
    for pair in paths.windows(2) {
        if let [(first, _), (second, _)] = pair
            && second.starts_with(first)
        {
            return Err(PatchError::Overlap);
        }
    }
    let mut patched = object.clone();
    for (steps, value) in paths {
        let Some((last, before)) = steps.split_last() else { continue };
        let mut at = &mut patched;
        for step in before {
            at = at.get_mut(step).and_then(Value::as_object_mut).ok_or(PatchError::Path)?;
        }
        if value.is_null() {
            at.remove(last);
        } else {
            at.insert(last.clone(), value.clone());
        }
    }
    Ok(patched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn map(value: Value) -> Map {
        value.as_object().unwrap().clone()
    }

    fn patched(object: Value, patch: Value) -> Result<Value, PatchError> {
        apply(&map(object), &map(patch)).map(Value::Object)
    }

    #[test]
    fn pointers_set_replace_and_remove() {
        // RFC 8620 5.3: to-do lists of the RFC's own kind, and RFC 6901's escapes.
        let object = json!({"title": "x", "keywords": {"$seen": true}, "a/b": {"~": 1}});
        let patch = json!({
            "title": null, "keywords/$seen": null, "keywords/$flagged": true, "a~1b/~0": 2, "new": [1],
        });
        let out = json!({"keywords": {"$flagged": true}, "a/b": {"~": 2}, "new": [1]});
        assert_eq!(patched(object, patch), Ok(out));
        assert_eq!(patched(json!({"a": 1}), json!({"b": null})), Ok(json!({"a": 1})));
    }

    #[test]
    fn what_breaks_a_rule_is_refused_whole() {
        let object = json!({"a": {"b": 1}, "list": [{"c": 1}]});
        for (patch, why) in [
            (json!({"x/y": 1}), PatchError::Path),
            (json!({"a/b/c": 1}), PatchError::Path),
            (json!({"list/0": 1}), PatchError::Path),
            (json!({"list/0/c": 1}), PatchError::Path),
            (json!({"a": {}, "a/b": 1}), PatchError::Overlap),
            (json!({"a/b": 1, "a": {}, "a-b": 2}), PatchError::Overlap),
            (json!({"a~2": 1}), PatchError::Pointer),
            (json!({"a~": 1}), PatchError::Pointer),
            (json!({"a/".repeat(40): 1}), PatchError::Pointer),
        ] {
            assert_eq!(patched(object.clone(), patch.clone()), Err(why), "{patch}");
        }
    }

    proptest! {
        #[test]
        fn what_is_set_can_be_read_there(keys in prop::collection::vec("[a-c~/]{0,3}", 1..4), n in any::<u8>()) {
            let pointer: Vec<String> = keys.iter().map(|k| k.replace('~', "~0").replace('/', "~1")).collect();
            prop_assert_eq!(&steps(&pointer.join("/")).unwrap(), &keys);
            let mut object = json!({});
            for key in keys.iter().take(keys.len() - 1).rev() {
                object = json!({key.as_str(): object});
            }
            let patch = json!({pointer.join("/"): n});
            let out = patched(object, patch).unwrap();
            let read = keys.iter().try_fold(&out, |at, key| at.get(key)).unwrap();
            prop_assert_eq!(read, &json!(n));
        }
    }
}
