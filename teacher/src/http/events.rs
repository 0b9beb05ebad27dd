//! [Server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation): bytes
//! in, however they are cut, and the data of each event out. A byte is looked at once, and an event has a greatest length.
//!
//! Looser than the standard in one point, as the clients of the field are: an event that the stream's end cuts off counts.

use std::ops::ControlFlow;

/// What some hosts begin a body with.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a stream was not read to its end.
pub(super) enum Stop<T> {
    /// An event is longer than allowed.
    TooLong,
    /// Whoever took the events had enough.
    Enough(T),
}

/// A stream so far.
#[derive(Default)]
pub(super) struct Events {
    most: usize,
    /// Lines that have ended.
    lines: u64,
    /// The line that has not.
    line: Vec<u8>,
    /// What the event that has not ended says.
    data: Vec<u8>,
    has_data: bool,
    after_return: bool,
}

impl Events {
    /// A stream of events of at most `most` bytes.
    pub(super) fn new(most: usize) -> Events {
        Events { most, ..Events::default() }
    }

    /// Takes the next bytes; `take` gets the data of every event that ends in them, unless it is empty.
    pub(super) fn push<T>(
        &mut self,
        mut bytes: &[u8],
        take: &mut impl FnMut(&[u8]) -> ControlFlow<T>,
    ) -> ControlFlow<Stop<T>> {
        while let Some(first) = bytes.first() {
            // A line break of two characters, perhaps cut in two.
            if std::mem::take(&mut self.after_return) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(at) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
                self.line.extend_from_slice(bytes);
                return self.bounded(self.line.len());
            };
            self.after_return = bytes[at] == b'\r';
            if self.line.is_empty() {
                self.end_line(&bytes[..at], take)?;
            } else {
                self.line.extend_from_slice(&bytes[..at]);
                let line = std::mem::take(&mut self.line);
                self.end_line(&line, take)?;
                self.line = line;
                self.line.clear();
            }
            bytes = &bytes[at + 1..];
        }
        ControlFlow::Continue(())
    }

    /// The stream's end.
    pub(super) fn end<T>(&mut self, take: &mut impl FnMut(&[u8]) -> ControlFlow<T>) -> ControlFlow<Stop<T>> {
        let line = std::mem::take(&mut self.line);
        self.end_line(&line, take)?;
        self.end_line(b"", take)
    }

    fn end_line<T>(&mut self, line: &[u8], take: &mut impl FnMut(&[u8]) -> ControlFlow<T>) -> ControlFlow<Stop<T>> {
        // Whether it came in pieces or not.
        self.bounded(line.len())?;
        let line = if self.lines == 0 { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
        self.lines += 1;
        if line.is_empty() {
            let whole = std::mem::take(&mut self.has_data) && !self.data.is_empty();
            let taken = if whole { take(&self.data) } else { ControlFlow::Continue(()) };
            self.data.clear();
            return taken.map_break(Stop::Enough);
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        // Other fields, and comments, which have no name, say nothing here.
        if &line[..colon] == b"data" {
            let value = line.get(colon + 1..).unwrap_or_default();
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        }
        ControlFlow::Continue(())
    }

    /// Stops where a line of `len` bytes is too long behind the event's data so far.
    fn bounded<T>(&self, len: usize) -> ControlFlow<Stop<T>> {
        if len + self.data.len() > self.most {
            return ControlFlow::Break(Stop::TooLong);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a stream that comes in pieces of that size, or why it stopped.
    fn events(text: &[u8], piece: usize) -> Result<Vec<String>, &'static str> {
        let mut events = Events::new(40);
        let mut found = Vec::new();
        let mut take = |data: &[u8]| -> ControlFlow<()> {
            found.push(String::from_utf8_lossy(data).into_owned());
            ControlFlow::Continue(())
        };
        for bytes in text.chunks(piece) {
            if events.push(bytes, &mut take).is_break() {
                return Err("too long");
            }
        }
        if events.end(&mut take).is_break() { Err("too long") } else { Ok(found) }
    }

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        let cases: [(&str, &[&str]); 9] = [
            ("data: a\n\ndata: b\n\n", &["a", "b"]),
            ("data:a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
            ("data: a\r\rdata:  b\r\r", &["a", " b"]),
            ("\u{feff}data: a\n\n", &["a"]),
            (": hello\n\nevent: x\nid: 1\nretry: 5\ndata: a\ndata: b\n\n", &["a\nb"]),
            ("data\n\ndata:\n\ndata: \n\ndata: a\n\n", &["a"]),
            ("data: cut off", &["cut off"]),
            ("data: é🙂\n\n\n\n\ndata: \u{feff}\n\n", &["é🙂", "\u{feff}"]),
            ("database: no\n data: no\n\n", &[]),
        ];
        for (text, expected) in cases {
            for piece in 1..=text.len() {
                assert_eq!(events(text.as_bytes(), piece).expect("events"), expected, "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn an_event_has_a_greatest_length_in_one_line_and_in_many() {
        for text in
            ["data: ".to_owned() + &"a".repeat(60), "data: abcdefgh\n".repeat(8), ": ".to_owned() + &"a".repeat(99)]
        {
            for piece in [1, 7, 200] {
                assert!(events(text.as_bytes(), piece).is_err(), "{text:?} by {piece}");
            }
        }
        for line in ["data: ".to_owned() + &"a".repeat(34), ": ".to_owned() + &"a".repeat(38)] {
            let longer = format!("{line}a\n\n");
            for piece in 1..=longer.len() {
                assert!(events(format!("{line}\n\n").as_bytes(), piece).is_ok(), "{line} by {piece}");
                assert!(events(longer.as_bytes(), piece).is_err(), "{longer} by {piece}");
            }
        }
        assert_eq!(events("data: a\n\n".repeat(50).as_bytes(), 9).expect("short events").len(), 50);
    }
}
