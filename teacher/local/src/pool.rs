//! Who holds which block of the cache.
//!
//! A block that is full is known by its tokens and by the block before it, so that a request whose prompt begins like
//! another's takes the same blocks instead of computing them again. A block that nobody holds stays known until its place
//! is needed, the longest unused first. Full blocks are never written again.

use distill_model::BLOCK;
use std::collections::{BTreeMap, HashMap};

/// What a full block holds: its tokens, after what came before them.
type Content = (Option<u64>, [u32; BLOCK]);

/// The blocks of a cache.
#[derive(Debug)]
pub(crate) struct Pool {
    blocks: Vec<Held>,
    /// Blocks that hold nothing.
    free: Vec<u32>,
    /// Full blocks by content.
    known: HashMap<Content, u32>,
    /// Known blocks that nobody holds, by when they were let go.
    idle: BTreeMap<u64, u32>,
    /// A number for every content and every letting go, never used twice.
    serial: u64,
}

#[derive(Debug, Default)]
struct Held {
    holders: u32,
    /// The content and its number, once it is full and known.
    content: Option<(Box<Content>, u64)>,
    /// Its key among the idle.
    idle: Option<u64>,
}

impl Pool {
    pub(crate) fn new(blocks: usize) -> Pool {
        Pool {
            blocks: (0..blocks).map(|_| Held::default()).collect(),
            free: (0..blocks as u32).rev().collect(),
            known: HashMap::new(),
            idle: BTreeMap::new(),
            serial: 0,
        }
    }

    /// Blocks that could be had now.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// Blocks in all.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// A block to be written; nothing while all are held.
    pub(crate) fn take(&mut self) -> Option<u32> {
        let block = match self.free.pop() {
            Some(block) => block,
            None => {
                let (_, block) = self.idle.pop_first()?;
                let held = &mut self.blocks[block as usize];
                held.idle = None;
                if let Some((content, _)) = held.content.take() {
                    self.known.remove(&*content);
                }
                block
            }
        };
        self.blocks[block as usize].holders = 1;
        Some(block)
    }

    /// Lets a block go.
    pub(crate) fn release(&mut self, block: u32) {
        self.serial += 1;
        let held = &mut self.blocks[block as usize];
        held.holders -= 1;
        if held.holders > 0 {
            return;
        }
        if held.content.is_some() {
            held.idle = Some(self.serial);
            self.idle.insert(self.serial, block);
        } else {
            self.free.push(block);
        }
    }

    /// The known blocks that hold the beginning of `tokens`, now held once more.
    pub(crate) fn share(&mut self, tokens: &[u32]) -> Vec<u32> {
        let (mut blocks, mut before) = (Vec::new(), None);
        for tokens in tokens.as_chunks::<BLOCK>().0 {
            let Some(block) = self.known.get(&(before, *tokens)).copied() else { break };
            let held = &mut self.blocks[block as usize];
            held.holders += 1;
            if let Some(key) = held.idle.take() {
                self.idle.remove(&key);
            }
            before = held.content.as_ref().map(|(_, serial)| *serial);
            blocks.push(block);
        }
        blocks
    }

    /// Makes a full block known. `before` is the block before it. A content that is known already stays where it is.
    pub(crate) fn publish(&mut self, block: u32, before: Option<u32>, tokens: &[u32; BLOCK]) {
        let serial_of = |held: &Held| held.content.as_ref().map(|(_, serial)| *serial);
        let before = match before {
            None => None,
            // What came before is not known: another block has the same content, and carries on from there.
            Some(before) => match serial_of(&self.blocks[before as usize]) {
                None => return,
                known => known,
            },
        };
        let content = (before, *tokens);
        if self.blocks[block as usize].content.is_some() || self.known.contains_key(&content) {
            return;
        }
        self.serial += 1;
        self.known.insert(content, block);
        self.blocks[block as usize].content = Some((Box::new(content), self.serial));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(count: usize) -> Vec<u32> {
        (0..count as u32).collect()
    }

    /// Fills blocks for `tokens` and makes the full ones known.
    fn fill(pool: &mut Pool, tokens: &[u32]) -> Vec<u32> {
        let mut blocks: Vec<u32> = Vec::new();
        for chunk in tokens.chunks(BLOCK) {
            let block = pool.take().expect("a block");
            if let Ok(chunk) = chunk.try_into() {
                pool.publish(block, blocks.last().copied(), chunk);
            }
            blocks.push(block);
        }
        blocks
    }

    #[test]
    fn a_beginning_is_shared_while_held_and_after() {
        let mut pool = Pool::new(4);
        let held = fill(&mut pool, &tokens(80));
        assert_eq!(pool.available(), 1);
        let mut other = tokens(80);
        other[40] = 7;
        assert_eq!(pool.share(&other), &held[..1], "the second block differs");
        assert_eq!(pool.share(&tokens(80)), &held[..2], "the third is not full");
        for block in held.iter().chain(&held[..2]).chain(&held[..1]) {
            pool.release(*block);
        }
        assert_eq!(pool.available(), 4);
        assert_eq!(pool.share(&tokens(64)), &held[..2], "nobody holds them, they are still there");
        assert_eq!(pool.available(), 2);
    }

    #[test]
    fn what_is_longest_unused_makes_room() {
        let mut pool = Pool::new(3);
        let first = fill(&mut pool, &tokens(32));
        let other: Vec<u32> = (100..164).collect();
        let second = fill(&mut pool, &other);
        assert_eq!(pool.take(), None, "all are held");
        pool.release(first[0]);
        for block in second.iter().rev() {
            pool.release(*block);
        }
        assert_eq!(pool.take(), Some(first[0]));
        assert_eq!(pool.take(), Some(second[1]), "an end goes before its beginning");
        assert!(pool.share(&tokens(32)).is_empty());
        assert_eq!(pool.share(&other), &second[..1]);
    }

    #[test]
    fn a_content_whose_beginning_was_dropped_is_not_found_under_another() {
        let mut pool = Pool::new(3);
        let held = fill(&mut pool, &tokens(64));
        // The beginning goes first, its place is taken by something else.
        pool.release(held[0]);
        assert_eq!(pool.take().and_then(|_| pool.take()), Some(held[0]));
        let mut other = tokens(64);
        other[0] = 9;
        let first: &[u32; BLOCK] = other[..BLOCK].try_into().expect("a block");
        pool.publish(held[0], None, first);
        assert_eq!(pool.share(&other), &held[..1], "the old second block followed another beginning");
        assert!(pool.share(&tokens(64)).is_empty());
    }
}
