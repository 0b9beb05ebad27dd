//! Commands: what begins with a backslash. What only styles or spaces disappears with its arguments; what is not known is
//! kept as unknown, and never read as a known command with letters behind it.

use super::alphabet::{COMMANDS, FUNCTIONS, GREEK, JOINABLE, MARKS, SILENT, TEXTUAL, VANISHING};
use super::scan::Scanner;
use super::token::Kind;

/// Units of TeX's lengths.
const LENGTHS: [&str; 10] = ["pt", "em", "ex", "mm", "cm", "in", "px", "mu", "pc", "bp"];

impl Scanner<'_> {
    pub(super) fn command(&mut self, end: usize) -> Result<(), &'static str> {
        self.at += 1;
        let Some(next) = self.chars[self.at..end].first().copied() else { return Ok(()) };
        if next == '\\' {
            // A row's end; outside of a matrix, a command escaped once too often.
            self.at += 1;
            if self.environments == 0 && self.peek(0).is_some_and(|c| c.is_ascii_alphabetic()) {
                self.at -= 1;
                return self.command(end);
            }
            if self.peek(0) == Some('*') && self.environments > 0 {
                self.at += 1;
            }
            self.length_in_brackets(end);
            self.push(if self.environments > 0 { Kind::Row } else { Kind::Break });
            return Ok(());
        }
        if !next.is_ascii_alphabetic() {
            self.at += 1;
            match next {
                '{' => self.push(Kind::Open('{')),
                '}' => self.push(Kind::Close('}')),
                '%' => self.push(Kind::Percent),
                '$' => self.push(Kind::Currency("USD")),
                '|' => self.push(Kind::Bar),
                // Spacing and the marks of inline mathematics.
                ',' | ';' | ':' | '!' | '>' | ' ' | '(' | ')' | '[' | ']' | '/' | '\n' => {}
                _ => self.doubt = true,
            }
            return Ok(());
        }
        let start = self.at;
        while self.at < end && self.chars[self.at].is_ascii_alphabetic() {
            self.at += 1;
        }
        let name: String = self.chars[start..self.at].iter().collect();
        self.named(&name, start, end)
    }

    /// Passes `[2pt]`.
    fn length_in_brackets(&mut self, end: usize) {
        if self.peek(0) != Some('[') {
            return;
        }
        let Some(length) = self.chars[self.at..end].iter().take(16).position(|c| *c == ']') else { return };
        let inner: String = self.chars[self.at + 1..self.at + length].iter().filter(|c| !c.is_whitespace()).collect();
        if is_length(&inner) {
            self.at += length + 1;
        }
    }

    fn named(&mut self, name: &str, start: usize, end: usize) -> Result<(), &'static str> {
        // The commonest first.
        if TEXTUAL.contains(&name) || name == "mathbb" {
            if self.peek(0) == Some('*') {
                self.at += 1;
            }
            let Some((from, to)) = self.argument(end) else { return Ok(()) };
            let inner: String = self.chars[from.min(to)..to].iter().collect();
            let bold = matches!(name, "mathbf" | "boldsymbol" | "bm" | "pmb");
            if name == "mathbb" || name == "mathbf" && to - from == 1 && "RZNQC".contains(self.chars[from]) {
                self.push(Kind::Field(*self.chars.get(from).unwrap_or(&'R')));
                self.at = (to + 1).min(end);
                return Ok(());
            }
            if bold && matches!(inner.as_str(), "i" | "j" | "k") {
                self.unit_vector(&inner, self.behind(from, to));
                return Ok(());
            }
            if bold {
                self.mark = Some('→');
            }
            // Upright signs are signs: only letters become words.
            return self.within(from, to, true);
        }
        if let Some((_, kind)) = COMMANDS.iter().find(|(known, _)| *known == name) {
            if name == "times" {
                self.mark = Some('×');
            }
            self.push(kind.clone());
            return Ok(());
        }
        if let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name) {
            self.push(Kind::Function(*function));
            return Ok(());
        }
        if GREEK.iter().any(|(known, _)| *known == name) {
            self.push(Kind::Letter(name.to_owned()));
            return Ok(());
        }
        if name == "not" {
            return self.negate(end);
        }
        if SILENT.contains(&name) {
            if matches!(name, "quad" | "qquad") && self.environments == 0 {
                self.gaps.push(self.out.len());
            }
            if (name == "left" || name == "right" || name == "middle") && self.peek(0) == Some('.') {
                self.at += 1;
            }
            return Ok(());
        }
        if let Some((_, mark)) = MARKS.iter().find(|(known, _)| *known == name) {
            return self.marked(*mark, end);
        }
        if let Some((_, arguments)) = VANISHING.iter().find(|(known, _)| *known == name) {
            return self.vanished(*arguments, end);
        }
        if matches!(name, "kern" | "mkern" | "hskip" | "mskip" | "vskip") {
            return self.length(end);
        }
        if name == "dot" {
            // A dotted digit repeats; the numeral before it cannot know, so it is marked here.
            self.push(Kind::Overline);
            return Ok(());
        }
        if name == "begin" || name == "end" {
            return self.environment(name == "begin", end);
        }
        // A command run together with one letter: `\quadx`, `\cdotx`, `\pir`. Longer tails are other commands.
        if let Some(known) = JOINABLE.iter().find(|known| name.len() == known.len() + 1 && name.starts_with(**known)) {
            self.doubt = true;
            self.at = start + known.len();
            return self.named(known, start, end);
        }
        self.push(Kind::Unknown(name.to_owned()));
        Ok(())
    }

    fn environment(&mut self, begins: bool, end: usize) -> Result<(), &'static str> {
        let Some((from, to)) = self.argument(end) else { return Err("unfinished-environment") };
        let environment: String = self.chars[from..to].iter().collect();
        let environment = environment.trim_end_matches('*').to_owned();
        self.at = (to + 1).min(end);
        if !begins {
            self.environments = self.environments.saturating_sub(1);
            self.push(Kind::End(environment));
            return Ok(());
        }
        self.environments += 1;
        // The columns of an array.
        if environment == "array"
            && self.peek(0) == Some('{')
            && let Some((_, to)) = self.argument(end)
        {
            self.at = (to + 1).min(end);
        }
        self.push(Kind::Begin(environment));
        Ok(())
    }

    /// Something on top of a letter or before letters: it is kept with the next token.
    fn marked(&mut self, mark: char, end: usize) -> Result<(), &'static str> {
        if matches!(mark, '^' | '→') {
            let at = self.at;
            if let Some((from, to)) = self.argument(end) {
                let inner: String = self.chars[from.min(to)..to].iter().collect();
                let bare = inner.trim().trim_start_matches("\\mathbf{").trim_end_matches('}').trim();
                let letter = match bare {
                    "i" | "\\imath" | "\\mathrm{i" => Some("i"),
                    "j" | "\\jmath" => Some("j"),
                    "k" => Some("k"),
                    _ => None,
                };
                if let Some(letter) = letter {
                    self.unit_vector(letter, self.behind(from, to));
                    return Ok(());
                }
            }
            self.at = at;
        }
        self.mark = Some(mark);
        self.doubt = true;
        Ok(())
    }

    fn unit_vector(&mut self, letter: &str, behind: usize) {
        (self.mark, self.doubt) = (Some('î'), true);
        self.push(Kind::Letter(letter.to_owned()));
        self.at = behind;
    }

    /// Passes a command's arguments, which print nothing or only say how to print.
    fn vanished(&mut self, arguments: usize, end: usize) -> Result<(), &'static str> {
        if self.peek(0) == Some('*') {
            self.at += 1;
        }
        while self.peek(0) == Some('[') && self.at < end {
            let Some(length) = self.chars[self.at..end].iter().position(|c| *c == ']') else { break };
            self.at += length + 1;
        }
        for _ in 0..arguments {
            let Some((from, to)) = self.argument(end) else { return Ok(()) };
            self.at = self.behind(from, to).min(end);
        }
        Ok(())
    }

    /// Passes a bare length: `\kern3pt`.
    fn length(&mut self, end: usize) -> Result<(), &'static str> {
        let taken = |c: &&char| c.is_ascii_digit() || matches!(**c, '.' | '-' | ' ' | '+');
        self.at += self.chars[self.at..end].iter().take_while(taken).count();
        if !LENGTHS.iter().any(|unit| self.starts(unit)) {
            return Err("length-without-unit");
        }
        self.at = (self.at + 2).min(end);
        Ok(())
    }
}

fn is_length(text: &str) -> bool {
    let number = text.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'));
    number.len() < text.len() && LENGTHS.contains(&number.trim_start_matches('\\'))
        || matches!(text, "\\jot" | "\\baselineskip")
}
