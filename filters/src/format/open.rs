//! What a text opens and does not close: fences of code, boxes. One pass over the text each.

use std::ops::Range;

/// More blanks before a fence are no indentation.
const MAX_INDENT: usize = 16;

/// The fences of a text.
pub(super) struct Fences {
    /// Blocks of code that end, fences included.
    pub(super) closed: Vec<Range<usize>>,
    /// The line that opens the block in which the text ends.
    pub(super) unclosed: Option<Range<usize>>,
}

/// A block of code that is open.
struct Block {
    line: Range<usize>,
    mark: char,
    width: usize,
    /// Itself, and blocks within it: people show Markdown in Markdown.
    depth: usize,
}

/// Finds fences: three or more backticks or tildes at the beginning of a line.
///
/// Within a block a fence of the same sign, as wide at least, opens another where a word follows it at once, and closes one
/// else. So a text with an odd number of them never ends outside of a block.
pub(super) fn fences(text: &str) -> Fences {
    let mut found = Fences { closed: Vec::new(), unclosed: None };
    let mut open: Option<Block> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let (at, end) = (start, start + line.len());
        start = end;
        let Some((mark, width, info)) = fence(line) else { continue };
        match &mut open {
            None => open = Some(Block { line: at..at + line.trim_end().len(), mark, width, depth: 1 }),
            Some(block) if block.mark == mark && width >= block.width => {
                let opens = info.starts_with(|c: char| !c.is_whitespace());
                block.depth = if opens { block.depth + 1 } else { block.depth - 1 };
                if block.depth == 0 {
                    found.closed.push(block.line.start..end);
                    open = None;
                }
            }
            Some(_) => {}
        }
    }
    found.unclosed = open.map(|block| block.line);
    found
}

/// The sign of a line's fence, how often it stands there, and what follows. Code within a line is none.
fn fence(line: &str) -> Option<(char, usize, &str)> {
    let body = line.trim_start_matches([' ', '\t']);
    let mark = body.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let info = body.trim_start_matches(mark);
    let width = body.len() - info.len();
    let is_fence = width >= 3 && line.len() - body.len() <= MAX_INDENT && !(mark == '`' && info.contains('`'));
    is_fence.then_some((mark, width, info))
}

/// The commands that box.
const BOXES: [&str; 2] = ["\\boxed", "\\fbox"];

/// The first box whose brace is never closed, outside of `blocks`. Braces are counted as the verifier counts them.
pub(super) fn unclosed_box(text: &str, blocks: &[Range<usize>]) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    // Open braces: where the box of each begins, or nothing for a plain one.
    let mut open: Vec<Option<Range<usize>>> = Vec::new();
    let mut blocks = blocks.iter().peekable();
    let mut at = 0;
    while at < bytes.len() {
        if let Some(block) = blocks.next_if(|block| block.start <= at) {
            at = at.max(block.end);
            continue;
        }
        match bytes[at] {
            b'\\' => match opened(&text[at..]) {
                Some((length, is_open)) => {
                    if is_open {
                        open.push(Some(at..at + length));
                    }
                    at += length;
                    continue;
                }
                // A response that went through JSON twice has its backslashes doubled: the second one begins the box.
                None if bytes.get(at + 1) == Some(&b'\\') && opened(&text[at + 1..]).is_some() => {}
                // A backslash takes its next byte along: `\{` opens nothing. No byte within a character is a sign here.
                None => at += 1,
            },
            b'{' => open.push(None),
            b'}' => drop(open.pop()),
            _ => {}
        }
        at += 1;
    }
    open.into_iter().flatten().next()
}

/// The length of a box's beginning, and whether it opens one: in quotation marks it is only named.
fn opened(text: &str) -> Option<(usize, bool)> {
    let rest = BOXES.iter().find_map(|command| text.strip_prefix(command))?;
    let inner = rest.trim_start_matches(' ').strip_prefix('{')?;
    Some((text.len() - inner.len(), !inner.starts_with(['`', '"', '\'', '”', '’', '」'])))
}
