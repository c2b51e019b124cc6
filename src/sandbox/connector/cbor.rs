//! CBOR ↔ JSON, as far as Smithy's rpc-v2-cbor uses it. A time (tag 1) is a number of seconds in awsJson.

use aws_smithy_cbor::data::Type;
use aws_smithy_cbor::decode::DeserializeError;
use aws_smithy_cbor::{Decoder, Encoder};
use aws_smithy_types::DateTime;
use aws_smithy_types::base64;
use serde_json::{Map, Number, Value};

/// Reads one value.
pub fn to_json(bytes: &[u8]) -> Result<Value, DeserializeError> {
    if bytes.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    decode(&mut Decoder::new(bytes))
}

fn decode(from: &mut Decoder<'_>) -> Result<Value, DeserializeError> {
    Ok(match from.datatype()? {
        Type::Bool => from.boolean()?.into(),
        Type::Null | Type::Undefined => {
            from.skip()?;
            Value::Null
        }
        Type::F16 | Type::F32 | Type::F64 => Number::from_f64(from.double()?).map_or(Value::Null, Value::Number),
        Type::String | Type::StringIndef => from.str()?.into_owned().into(),
        Type::Bytes | Type::BytesIndef => base64::encode(from.blob()?.into_inner()).into(),
        Type::Tag => Number::from_f64(from.timestamp()?.as_secs_f64()).map_or(Value::Null, Value::Number),
        Type::Array | Type::ArrayIndef => {
            let mut left = from.list()?;
            let mut list = Vec::new();
            while more(from, &mut left)? {
                list.push(decode(from)?);
            }
            list.into()
        }
        Type::Map | Type::MapIndef => {
            let mut left = from.map()?;
            let mut map = Map::new();
            while more(from, &mut left)? {
                let key = from.str()?.into_owned();
                map.insert(key, decode(from)?);
            }
            map.into()
        }
        _ => from.long()?.into(),
    })
}

/// Whether a list or map has another element; the end mark of an indefinite one is eaten.
fn more(from: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, DeserializeError> {
    match left {
        Some(0) => Ok(false),
        Some(n) => {
            *n -= 1;
            Ok(true)
        }
        None if from.datatype()? == Type::Break => from.skip().map(|()| false),
        None => Ok(true),
    }
}

/// Writes one value. awsJson cannot tell a time from a number, so `is_time` does, by the member's name.
pub fn from_json(value: &Value, is_time: fn(&str) -> bool) -> Vec<u8> {
    let mut to = Encoder::new(Vec::new());
    encode(&mut to, value, false, is_time);
    to.into_writer()
}

fn encode(to: &mut Encoder, value: &Value, time: bool, is_time: fn(&str) -> bool) {
    match value {
        Value::Null => {
            to.null();
        }
        Value::Bool(b) => {
            to.boolean(*b);
        }
        Value::Number(n) if time => {
            to.timestamp(&DateTime::from_secs_f64(n.as_f64().unwrap_or_default()));
        }
        Value::Number(n) => {
            match n.as_i64() {
                Some(i) => to.long(i),
                None => to.double(n.as_f64().unwrap_or_default()),
            };
        }
        Value::String(s) => {
            to.str(s);
        }
        Value::Array(list) => {
            to.array(list.len());
            for item in list {
                encode(to, item, time, is_time);
            }
        }
        Value::Object(map) => {
            to.map(map.len());
            for (key, item) in map {
                to.str(key);
                encode(to, item, is_time(key), is_time);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_times_stay_times() {
        let value = json!({"a": [1, -2, 2.5, "x", true, null], "b": {"c": "d"}, "StartTime": 1_700_000_000.5});
        let bytes = from_json(&value, |name| name.ends_with("Time"));
        assert_eq!(to_json(&bytes).unwrap(), value);
        assert!(bytes.contains(&0xc1), "a time is tagged");
        assert_eq!(to_json(&[]).unwrap(), json!({}));
    }

    #[test]
    fn indefinite_lists_and_maps_end_where_they_end() {
        assert_eq!(to_json(&[0xbf, 0x61, b'a', 0x9f, 1, 2, 0xff, 0xff]).unwrap(), json!({"a": [1, 2]}));
    }
}
