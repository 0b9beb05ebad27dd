//! Reading entries by their places, from the unsealed file or the sealed one, whichever is there.

use super::{
    Damage, Journal, Place,
    frame::{self, Layout},
    load::open,
    sealed::{Block, Index, read_block, read_index},
    segment::sealed_path,
};
use crate::error::DatasetError;
use rustix::io::Errno;
use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, MutexGuard, PoisonError},
};

/// Files kept open.
const MAX_FILES: usize = 64;
/// Bytes of blocks that are kept: answers of many streams lie between each other, and are asked for in another order.
const MAX_KEPT: usize = 16 << 20;

/// A segment's unsealed (false) or sealed (true) file.
pub(super) type Which = (u32, bool);

/// A segment's block.
type Start = (u32, u64);

/// What is kept between two reads.
#[derive(Default)]
pub(super) struct Readers {
    /// The last used first.
    files: VecDeque<(Which, Arc<File>)>,
    /// Blocks without their compression, the last used first.
    blocks: VecDeque<(Start, Arc<Vec<u8>>)>,
}

impl Readers {
    /// A block that is kept.
    fn block(&mut self, name: Start) -> Option<Arc<Vec<u8>>> {
        let at = self.blocks.iter().position(|(held, _)| *held == name)?;
        let found = self.blocks.remove(at)?;
        let raw = found.1.clone();
        self.blocks.push_front(found);
        Some(raw)
    }

    /// Keeps a block, and gives up those that were not used for longest.
    fn keep(&mut self, name: Start, raw: Arc<Vec<u8>>) {
        self.blocks.push_front((name, raw));
        let mut left = MAX_KEPT;
        let fits = |(_, raw): &(Start, Arc<Vec<u8>>)| {
            let fits = raw.len() <= left;
            left = left.saturating_sub(raw.len());
            fits
        };
        let kept = self.blocks.iter().map(fits).take_while(|fits| *fits).count();
        self.blocks.truncate(kept.max(1));
    }
}

impl<E> Journal<E> {
    /// The first `most` payloads of a key that are whole and not equal, in order.
    pub(super) fn payloads(&self, key: u128, most: usize) -> Result<Vec<(Place, Vec<u8>)>, DatasetError> {
        let mut payloads: Vec<(Place, Vec<u8>)> = Vec::new();
        for place in self.all(key) {
            if payloads.len() == most {
                break;
            }
            if let Some(payload) = self.payload(key, place)?
                && payloads.iter().all(|(_, other)| *other != payload)
            {
                payloads.push((place, payload));
            }
        }
        Ok(payloads)
    }

    /// An entry's JSON; nothing when it is damaged, which is noted.
    pub(super) fn payload(&self, key: u128, place: Place) -> Result<Option<Vec<u8>>, DatasetError> {
        if self.health().places.contains(&place) {
            return Ok(None);
        }
        match self.read(place)? {
            Ok(payload) => Ok(Some(payload)),
            Err(damage) => {
                self.tell(&damage);
                let mut health = self.health();
                health.places.insert(place);
                if !health.damage.contains(&damage) {
                    health.damage.push(damage);
                }
                if self.all(key).all(|place| health.places.contains(&place)) {
                    health.keys.insert(key);
                }
                Ok(None)
            }
        }
    }

    fn read(&self, place: Place) -> Result<Result<Vec<u8>, Damage>, DatasetError> {
        let segment = &self.segments[place.segment as usize];
        let path = self.path_of(place.segment);
        let layout = if segment.name.is_empty() { Layout::Old } else { Layout::Marked };
        let known = self.blocks_of(place.segment);
        if let Some(payload) = self.read_sealed(place, known.as_ref().map_or(&[], |blocks| blocks.as_slice()))? {
            return Ok(Ok(payload));
        }
        let frame = self.read_file((place.segment, false), &path, |file| frame_at(file, place, layout))?;
        if let Some(Some(payload)) = frame {
            return Ok(Ok(payload));
        }
        // Somebody may have sealed it since it was loaded.
        let (which, target) = ((place.segment, true), sealed_path(&self.dir, &segment.name));
        self.forget_file(which);
        let Some(index) = self.read_file(which, &target, read_index)? else {
            let bytes = place.at..place.at + u64::from(place.len);
            let missing = DatasetError::io("open", path.clone());
            return frame.map(|_| Err(Damage { path, bytes })).ok_or_else(|| missing(io::ErrorKind::NotFound.into()));
        };
        if let Some(payload) = self.read_sealed(place, &index.blocks)? {
            *segment.blocks.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(index.blocks));
            return Ok(Ok(payload));
        }
        let block = Index::block_of(&index.blocks, place.at);
        let bytes = block.map_or(0..0, |block| block.at..block.at + u64::from(block.len));
        Ok(Err(Damage { path: target, bytes }))
    }

    fn blocks_of(&self, segment: u32) -> Option<Arc<Vec<Block>>> {
        self.segments[segment as usize].blocks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read_sealed(&self, place: Place, blocks: &[Block]) -> Result<Option<Vec<u8>>, DatasetError> {
        let Some(block) = Index::block_of(blocks, place.at) else { return Ok(None) };
        let path = sealed_path(&self.dir, &self.segments[place.segment as usize].name);
        let raw = self.raw_block((place.segment, true), &path, block)?;
        let frame =
            raw.as_ref().and_then(|raw| frame::parse(&raw[(place.at - block.start) as usize..], Layout::Marked));
        Ok(frame.map(|frame| frame.payload.to_vec()))
    }

    fn raw_block(&self, which: Which, path: &Path, block: Block) -> Result<Option<Arc<Vec<u8>>>, DatasetError> {
        let name = (which.0, block.start);
        if let Some(raw) = self.readers().block(name) {
            return Ok(Some(raw));
        }
        let raw = self.read_file(which, path, |file| read_block(file, &block))?.flatten().map(Arc::new);
        if let Some(raw) = &raw {
            self.readers().keep(name, raw.clone());
        }
        Ok(raw)
    }

    /// Has `read` read from one of a segment's files; nothing when that is not there.
    fn read_file<T>(
        &self,
        which: Which,
        path: &Path,
        read: impl Fn(&File) -> io::Result<T>,
    ) -> Result<Option<T>, DatasetError> {
        for _ in 0..2 {
            let Some(file) = self.file(which, path)? else { return Ok(None) };
            match read(&file) {
                Ok(value) => return Ok(Some(value)),
                // Removed on another machine: opened anew, it is there or it is not.
                Err(error) if error.raw_os_error() == Some(Errno::STALE.raw_os_error()) => {
                    self.forget_file(which);
                }
                Err(error) => return Err(DatasetError::io("read", path)(error)),
            }
        }
        Ok(None)
    }

    fn file(&self, which: Which, path: &Path) -> Result<Option<Arc<File>>, DatasetError> {
        let mut readers = self.readers();
        let held = readers.files.iter().position(|(held, _)| *held == which);
        let file = match held.and_then(|at| readers.files.remove(at)) {
            Some((_, file)) => file,
            None => match open(path)? {
                Some(file) => Arc::new(file),
                None => return Ok(None),
            },
        };
        readers.files.push_front((which, file.clone()));
        readers.files.truncate(MAX_FILES);
        Ok(Some(file))
    }

    /// Has a file that was replaced opened anew.
    pub(super) fn forget_file(&self, which: Which) {
        self.readers().files.retain(|(held, _)| *held != which);
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The payload of the frame at a place of an unsealed file; nothing when it is damaged.
fn frame_at(file: &File, place: Place, layout: Layout) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; place.len as usize];
    match file.read_exact_at(&mut bytes, place.at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    Ok(frame::parse(&bytes, layout).map(|frame| frame.payload.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_that_were_used_last_are_kept_up_to_their_bytes() {
        let mut readers = Readers::default();
        let block = |bytes: usize| Arc::new(vec![0; bytes]);
        (0..20).for_each(|at| readers.keep((0, at), block(MAX_KEPT / 8)));
        assert_eq!(readers.blocks.len(), 8);
        assert!(readers.block((0, 12)).is_some() && readers.block((0, 11)).is_none());
        readers.keep((1, 0), block(MAX_KEPT / 8));
        assert!(readers.block((0, 12)).is_some(), "it was used just before");
        assert!(readers.block((0, 13)).is_none(), "it was not, for longest");
        readers.keep((2, 0), block(2 * MAX_KEPT));
        assert_eq!(readers.blocks.len(), 1, "one is kept whatever its length");
    }
}
