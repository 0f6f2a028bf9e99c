//! One file's text to documents, and one document's YAML to JSON. Must never bend what JSON cannot say.

use serde_json::Value;

/// Cuts at lines that begin with `---`, as kubectl does: a syntax error then ends one document, not the file.
pub(super) fn split(text: &str) -> Vec<(usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut chunks, mut start, mut first_line, mut offset) = (Vec::new(), 0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let end = offset + line.len();
        if let Some(rest) = line.strip_prefix("---") {
            chunks.push((first_line, text.get(start..offset).unwrap_or_default()));
            // A document may begin on the line of its separator.
            let begins_here = !matches!(rest.trim_start().bytes().next(), None | Some(b'#'));
            (start, first_line) = if begins_here { (offset + 3, index + 1) } else { (end, index + 2) };
        }
        offset = end;
    }
    chunks.push((first_line, text.get(start..).unwrap_or_default()));
    chunks
}

/// One document as JSON. Line numbers in messages count from the file's first line.
pub(super) fn parse(chunk: &str, first_line: usize) -> Result<Value, String> {
    if chunk.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Null);
    }
    let yaml: serde_yaml::Value = serde_yaml::from_str(chunk).map_err(|error| {
        let line = error.location().map_or(first_line, |location| first_line + location.line().saturating_sub(1));
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or(&text);
        format!("line {line}: not valid YAML: {reason}")
    })?;
    to_json(yaml).map_err(|reason| format!("line {first_line}: {reason}"))
}

/// YAML that JSON cannot say is refused rather than bent.
fn to_json(yaml: serde_yaml::Value) -> Result<Value, String> {
    use serde_yaml::Value as Yaml;
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::String(text) => Value::String(text),
        Yaml::Number(number) => {
            let whole = number.as_i64().map(Value::from).or_else(|| number.as_u64().map(Value::from));
            let value = whole.or_else(|| number.as_f64().and_then(serde_json::Number::from_f64).map(Value::Number));
            value.ok_or_else(|| format!("`{number}` is no number of JSON"))?
        }
        Yaml::Sequence(items) => Value::Array(items.into_iter().map(to_json).collect::<Result<_, _>>()?),
        Yaml::Mapping(members) => Value::Object(
            members
                .into_iter()
                .map(|(key, value)| {
                    let key = match key {
                        Yaml::String(key) => key,
                        Yaml::Bool(key) => key.to_string(),
                        Yaml::Number(key) => key.to_string(),
                        _ => return Err("a key is not text".to_owned()),
                    };
                    to_json(value).map(|value| (key, value))
                })
                .collect::<Result<_, _>>()?,
        ),
        Yaml::Tagged(tagged) => return Err(format!("the tag `{}` means nothing here", tagged.tag)),
    })
}
