//! Single characters: signs, brackets, raised and lowered digits, letters of other scripts.

use super::alphabet::GREEK;
use super::foreign;
use super::number::{self, Numeral};
use super::scan::Scanner;
use super::token::{Kind, Relation};

impl Scanner<'_> {
    pub(super) fn symbol(&mut self, c: char) {
        self.at += 1;
        if c != '{' && c != '}' {
            self.styled = false;
        }
        let two = |scanner: &mut Self, kind: Kind| {
            scanner.at += 1;
            scanner.push(kind);
        };
        let next = self.peek(0);
        match c {
            '<' if next == Some('=') => two(self, Kind::Relation(Relation::LessEqual)),
            '>' if next == Some('=') => two(self, Kind::Relation(Relation::GreaterEqual)),
            '!' if next == Some('=') => two(self, Kind::Relation(Relation::Unequal)),
            '=' if next == Some('=') => two(self, Kind::Relation(Relation::Equal)),
            '*' if next == Some('*') => two(self, Kind::Op('^')),
            '{' => self.push(Kind::Open('g')),
            '}' => self.push(Kind::Close('g')),
            '+' | '-' | '*' | '/' | '^' | '_' | '!' | '\'' => self.push(Kind::Op(c)),
            '\u{2212}' | '\u{2013}' | '\u{2010}' | '\u{2011}' | '\u{2012}' | '\u{ff0d}' | '\u{fe63}' => {
                self.push(Kind::Op('-'))
            }
            '\u{ff0b}' => self.push(Kind::Op('+')),
            '×' | '⨯' | '✕' | '✖' => {
                self.mark = Some('×');
                self.push(Kind::Op('*'));
            }
            '·' | '⋅' | '∗' | '•' | '∙' | '‧' | '・' | '＊' | '⋆' | '●' => self.push(Kind::Op('*')),
            '÷' | '∕' | '⁄' | '／' => self.push(Kind::Op('/')),
            '’' | '′' => self.push(Kind::Op('\'')),
            '±' => self.push(Kind::PlusMinus(true)),
            '∓' => self.push(Kind::PlusMinus(false)),
            '=' | '＝' => self.push(Kind::Relation(Relation::Equal)),
            '<' => self.push(Kind::Relation(Relation::Less)),
            '>' => self.push(Kind::Relation(Relation::Greater)),
            '≤' | '⩽' | '≦' | '⪯' => self.push(Kind::Relation(Relation::LessEqual)),
            '≥' | '⩾' | '≧' | '⪰' => self.push(Kind::Relation(Relation::GreaterEqual)),
            '≠' => self.push(Kind::Relation(Relation::Unequal)),
            '≈' | '≃' => self.push(Kind::Relation(Relation::Approx)),
            '≡' => self.push(Kind::Relation(Relation::Congruent)),
            '∈' => self.push(Kind::Relation(Relation::In)),
            '∉' => self.push(Kind::Relation(Relation::NotIn)),
            '⇒' | '→' | '⟹' | '⇔' => self.push(Kind::Relation(Relation::Implies)),
            '∠' | '∡' => (self.mark, self.doubt) = (Some('∠'), true),
            '△' | '▵' => (self.mark, self.doubt) = (Some('△'), true),
            '∛' | '∜' => self.root(if c == '∛' { 3 } else { 4 }),
            '℃' => self.push(Kind::Word("celsius".to_owned())),
            '℉' => self.push(Kind::Word("fahrenheit".to_owned())),
            ',' | '，' | '、' => self.push(Kind::Mark(',')),
            ';' | '；' => self.push(Kind::Mark(';')),
            ':' | '：' | '∶' => self.push(Kind::Mark(':')),
            '(' | '（' => self.push(Kind::Open('(')),
            ')' | '）' => self.push(Kind::Close(')')),
            '[' | '［' => self.push(Kind::Open('[')),
            ']' | '］' => self.push(Kind::Close(']')),
            '⟨' | '〈' => self.push(Kind::Open('<')),
            '⟩' | '〉' => self.push(Kind::Close('>')),
            '⌊' => self.push(Kind::Open('f')),
            '⌋' => self.push(Kind::Close('f')),
            '⌈' => self.push(Kind::Open('c')),
            '⌉' => self.push(Kind::Close('c')),
            '|' | '∣' | '｜' => self.push(Kind::Bar),
            '&' => self.push(Kind::Ampersand),
            '%' | '％' => self.push(Kind::Percent),
            '°' | 'º' | '˚' | '∘' => self.push(Kind::Degree),
            '$' => {
                if self.money {
                    self.push(Kind::Currency("USD"));
                }
            }
            '€' => self.push(Kind::Currency("EUR")),
            '£' => self.push(Kind::Currency("GBP")),
            '¥' | '￥' => self.push(Kind::Currency("¥")),
            '₹' => self.push(Kind::Currency("INR")),
            '₽' => self.push(Kind::Currency("RUB")),
            '₩' => self.push(Kind::Currency("KRW")),
            '¢' => self.push(Kind::Word("cent".to_owned())),
            '√' => self.push(Kind::Sqrt),
            'π' | '𝜋' => self.push(Kind::Pi),
            '∞' => self.push(Kind::Infinity),
            '∪' => self.push(Kind::Cup),
            '∩' => self.push(Kind::Cap),
            '∖' | '⧵' => self.push(Kind::SetMinus),
            '∅' | 'Ø' => self.push(Kind::Empty),
            '∑' => self.push(Kind::Sum),
            '∏' => self.push(Kind::Prod),
            '∫' => self.push(Kind::Int),
            'ℝ' => self.push(Kind::Field('R')),
            'ℤ' => self.push(Kind::Field('Z')),
            'ℕ' => self.push(Kind::Field('N')),
            'ℚ' => self.push(Kind::Field('Q')),
            'ℂ' => self.push(Kind::Field('C')),
            '∨' => self.push(Kind::Vee),
            '∧' => self.push(Kind::Wedge),
            '…' | '⋯' => self.push(Kind::Dots),
            '.' if self.starts("..") => {
                self.at += 2;
                self.push(Kind::Dots);
            }
            // A full stop ends a sentence.
            '.' | '。' | '"' | '“' | '”' | '`' | '?' | '∴' => self.doubt |= self.at < self.chars.len(),
            other => self.rare(other),
        }
    }

    /// `∛x` is `\\sqrt[3]{x}`.
    fn root(&mut self, index: i64) {
        self.push(Kind::Sqrt);
        self.push(Kind::Open('['));
        self.push(Kind::Number(Numeral::integer(index)));
        self.push(Kind::Close(']'));
    }

    fn rare(&mut self, c: char) {
        if let Some((numerator, denominator)) = number::vulgar(c) {
            return self.push(Kind::Number(Numeral::fraction(numerator, denominator)));
        }
        if let Some(first) = number::script(c) {
            // A run of raised or lowered digits is one exponent or index.
            let mut digits = String::from(first.1);
            while let Some((raised, digit)) = self.peek(0).and_then(number::script)
                && raised == first.0
            {
                digits.push(digit);
                self.at += 1;
            }
            self.push(Kind::Op(if first.0 { '^' } else { '_' }));
            self.push(Kind::Open('g'));
            if let Some(rest) = digits.strip_prefix('-') {
                self.push(Kind::Op('-'));
                digits = rest.to_owned();
            }
            if let Ok(value) = digits.parse::<i64>() {
                self.push(Kind::Number(Numeral::integer(value)));
            }
            return self.push(Kind::Close('g'));
        }
        if let Some((name, _)) = GREEK.iter().find(|(_, letter)| *letter == c) {
            return self.push(Kind::Letter((*name).to_owned()));
        }
        if matches!(c, 'ⁿ' | 'ᵀ') {
            self.push(Kind::Op('^'));
            return self.push(Kind::Letter(if c == 'ⁿ' { "n" } else { "T" }.to_owned()));
        }
        if c.is_alphabetic() || c == '〇' {
            // Words in a script without spaces between them.
            let start = self.at - 1;
            while self.peek(0).is_some_and(|next| {
                (next.is_alphabetic() || next == '〇') && !foreign::is_letter(next) && !is_greek(next)
            }) {
                self.at += 1;
            }
            let run: String = self.chars[start..self.at].iter().collect();
            let unit =
                |kind: &Kind| matches!(kind, Kind::Number(_) | Kind::Word(_) | Kind::Op('/' | '*') | Kind::Close('g'));
            let first = self.out.last().is_none_or(|token| !unit(&token.kind));
            if foreign::is_hedged(&run) {
                return self.push(Kind::Unknown(run));
            }
            for part in foreign::parts(&run, first) {
                match part {
                    foreign::Part::Joiner(joiner) => self.joined(joiner),
                    foreign::Part::Number(value) => self.push(Kind::Number(Numeral::rational(value))),
                    foreign::Part::Word(word) => self.push(Kind::Word(word)),
                    foreign::Part::Degree => self.push(Kind::Degree),
                    foreign::Part::Per => self.push(Kind::Op('/')),
                    foreign::Part::Percent => self.push(Kind::Percent),
                }
            }
            return;
        }
        self.push(Kind::Unknown(c.to_string()));
    }
}

fn is_greek(c: char) -> bool {
    matches!(c, 'π' | 'ω') || GREEK.iter().any(|(_, letter)| *letter == c)
}
