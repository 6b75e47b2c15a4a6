//! Where a part of a JSON text lies, by its JSON pointer.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The byte at which the value begins that a pointer names, or the last one on the way to it that is there.
pub(super) fn offset(text: &str, pointer: &str) -> usize {
    let whole = text.trim_ascii_start();
    let mut value = whole.trim_ascii_end();
    for step in pointer.split('/').skip(1) {
        let name = step.replace("~1", "/").replace("~0", "~");
        let inner = if value.starts_with('[') {
            serde_json::from_str::<Vec<&RawValue>>(value)
                .ok()
                .zip(name.parse().ok())
                .and_then(|(items, index): (_, usize)| items.get(index).copied())
        } else {
            serde_json::from_str::<BTreeMap<String, &RawValue>>(value)
                .ok()
                .and_then(|members| members.get(&name).copied())
        };
        let Some(inner) = inner else { break };
        value = inner.get();
    }
    // All of these are slices of the one text.
    (value.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_by_pointer() {
        let text = " {\"a\": {\"b/c\": [1, {\"~\": true}]}}";
        for (pointer, begins) in
            [("", "{\"a\""), ("/a", "{\"b"), ("/a/b~1c/0", "1,"), ("/a/b~1c/1/~0", "true"), ("/a/none/more", "{\"b")]
        {
            assert!(text[offset(text, pointer)..].starts_with(begins), "{pointer}");
        }
        assert_eq!(offset("", "/a"), 0);
    }
}
