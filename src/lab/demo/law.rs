//! The conservation law, on a daemon's `drops` as JSON:
//! received + generated + split + replicated = emitted + held + merged + the drops' sum.

use serde_json::Value;

const IN: &[&str] = &["received", "generated", "split", "replicated"];
const OUT: &[&str] = &["emitted", "held", "merged"];

/// Whether both sides are equal and every drop has a name; either way what was seen.
pub(super) fn check(drops: &Value) -> Result<String, String> {
    let law = drops.get("conservation").ok_or("no object \"conservation\" in the drops' JSON")?;
    let sum = |terms: &[&str]| {
        let values = terms.iter().map(|term| {
            let value = law.get(*term).and_then(Value::as_u64);
            value.ok_or_else(|| format!("no number {term:?} in \"conservation\""))
        });
        values.sum::<Result<u64, String>>()
    };
    let list = drops.get("drops").and_then(Value::as_array);
    let list = list.ok_or("no list \"drops\" in the drops' JSON")?;
    let mut dropped = 0;
    let mut named = Vec::new();
    for drop in list {
        let name = drop.get("reason").and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| format!("a drop without a reason: {drop}"))?;
        let count = drop.get("count").and_then(Value::as_u64);
        let count = count.ok_or_else(|| format!("a drop without a count: {drop}"))?;
        dropped += count;
        if count > 0 {
            named.push(format!("{count} {name}"));
        }
    }
    let (enter, leave) = (sum(IN)?, sum(OUT)? + dropped);
    let named = if named.is_empty() { "none".into() } else { named.join(", ") };
    if enter != leave {
        return Err(format!("{enter} frames in, {leave} out; drops: {named}; counters: {law}"));
    }
    Ok(format!("{enter} frames in and out, drops: {named}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn drops(received: u64, count: u64) -> Value {
        json!({
            "drops": [{ "reason": "acl.denied", "count": count }],
            "conservation": {
                "received": received, "generated": 2, "split": 3, "replicated": 4,
                "emitted": 10, "held": 1, "merged": 1,
            },
        })
    }

    #[test]
    fn both_sides_are_added_up() {
        assert_eq!(
            check(&drops(10, 7)).as_deref(),
            Ok("19 frames in and out, drops: 7 acl.denied")
        );
        assert!(check(&drops(11, 7)).is_err_and(|text| text.contains("20 frames in, 19 out")));
    }

    #[test]
    fn what_cannot_be_added_up_is_no_proof() {
        assert!(check(&json!({})).is_err());
        let mut nameless = drops(10, 7);
        nameless["drops"][0]["reason"] = json!("");
        assert!(check(&nameless).is_err_and(|text| text.contains("without a reason")));
        let mut without = drops(10, 7);
        without["conservation"]["held"] = Value::Null;
        assert!(check(&without).is_err_and(|text| text.contains("held")));
    }
}
