//! JSON text in, a value out, exactly: numbers of any size stay whole, and of a key that comes twice the last counts, as
//! for Python.

use super::{MAX_DEPTH, Value};
use std::collections::HashMap;

/// Reads a whole text.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut reader = Json { bytes: text.as_bytes(), place: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.place < reader.bytes.len() {
        return Err(format!("expected nothing after the value, found more at byte {}", reader.place));
    }
    Ok(value)
}

/// A reader of JSON that keeps numbers whole.
struct Json<'t> {
    bytes: &'t [u8],
    place: usize,
}

impl Json<'_> {
    fn space(&mut self) {
        while self.bytes.get(self.place).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.place += 1;
        }
    }

    fn wrong<T>(&self, expected: &str) -> Result<T, String> {
        Err(format!("expected {expected} at byte {}", self.place))
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.bytes.get(self.place..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        self.place += if found { word.len() } else { 0 };
        found
    }

    fn value(&mut self, depth: u32) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return self.wrong("less nesting");
        }
        self.space();
        match self.bytes.get(self.place) {
            Some(b'[') => self.list(depth),
            Some(b'{') => self.dict(depth),
            Some(b'"') => Ok(Value::Text(self.text()?.into_bytes())),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.eat("null") => Ok(Value::None),
            _ if self.eat("true") => Ok(Value::Bool(true)),
            _ if self.eat("false") => Ok(Value::Bool(false)),
            _ if self.eat("NaN") => Ok(Value::Float(f64::NAN)),
            _ if self.eat("Infinity") => Ok(Value::Float(f64::INFINITY)),
            _ => self.wrong("a JSON value"),
        }
    }

    fn list(&mut self, depth: u32) -> Result<Value, String> {
        self.place += 1;
        let mut items = Vec::new();
        self.space();
        if self.eat("]") {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.eat("]") {
                return Ok(Value::List(items));
            }
            if !self.eat(",") {
                return self.wrong("`,` or `]`");
            }
        }
    }

    fn dict(&mut self, depth: u32) -> Result<Value, String> {
        self.place += 1;
        let mut pairs: Vec<(Value, Value)> = Vec::new();
        let mut places = HashMap::new();
        self.space();
        if self.eat("}") {
            return Ok(Value::Dict(pairs));
        }
        loop {
            self.space();
            let key = self.text()?.into_bytes();
            self.space();
            if !self.eat(":") {
                return self.wrong("`:`");
            }
            let value = self.value(depth + 1)?;
            match places.insert(key.clone(), pairs.len()) {
                Some(place) => {
                    places.insert(key, place);
                    if let Some((_, held)) = pairs.get_mut(place) {
                        *held = value;
                    }
                }
                None => pairs.push((Value::Text(key), value)),
            }
            self.space();
            if self.eat("}") {
                return Ok(Value::Dict(pairs));
            }
            if !self.eat(",") {
                return self.wrong("`,` or `}`");
            }
        }
    }

    fn text(&mut self) -> Result<String, String> {
        let start = self.place;
        if !self.eat("\"") {
            return self.wrong("`\"`");
        }
        while let Some(byte) = self.bytes.get(self.place) {
            self.place += 1;
            match byte {
                b'\\' => self.place += 1,
                b'"' => {
                    let text = self.bytes.get(start..self.place).unwrap_or_default();
                    return serde_json::from_slice(text).map_err(|error| format!("text at byte {start}: {error}"));
                }
                _ => {}
            }
        }
        self.wrong("the end of a text")
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.place;
        if self.eat("-Infinity") {
            return Ok(Value::Float(f64::NEG_INFINITY));
        }
        while self
            .bytes
            .get(self.place)
            .is_some_and(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
        {
            self.place += 1;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.place]).unwrap_or_default();
        if text.contains(['.', 'e', 'E']) {
            return text.parse().map(Value::Float).map_err(|_| format!("expected a number at byte {start}"));
        }
        text.parse().map(Value::Int).map_err(|_| format!("expected a number at byte {start}"))
    }
}
