//! Compared pairs and groups of copies enter, clusters leave: every text of a cluster of two or more, in the order of the
//! corpus. A cluster is all texts that chains of near duplicates join.
//!
//! The nearest neighbour of a text that has copies is one of them: the first, and for the first the second. For every
//! other text it is the one of greatest similarity, and the first of those.

use super::{
    Duplicate, NearTally, Place,
    error::{NearError, NearFault},
    merge::Sorted,
    plan::Plan,
    runs::Runs,
    sets::Sets,
};

/// What is known of the texts that are compared, by their number.
struct Joined {
    /// A text of the same cluster that is not later. A cluster's first text is its own.
    parents: Vec<u32>,
    /// The nearest neighbour and its similarity; 0 where there is none.
    nearest: Vec<(u32, f32)>,
    /// Texts of the cluster, for its first.
    sizes: Vec<u32>,
}

/// Joins the texts and hands every one of a cluster to `each`. Fills in the tally's clusters, and all that is about
/// pairs.
pub(crate) fn clusters<E: Send>(
    plan: &Plan<'_, E>,
    num_parts: u64,
    sets: &Sets,
    num_segments: u64,
    tally: &mut NearTally,
    mut each: impl FnMut(Duplicate) -> Result<(), E>,
) -> Result<(), NearError<E>> {
    let groups = read_groups(plan, num_parts, sets.places.len())?;
    let mut joined = join(plan, sets, num_segments, tally)?;
    for (number, _) in sets.places.iter().enumerate() {
        let root = root(&mut joined.parents, number as u32) as usize;
        joined.sizes[root] = joined.sizes[root].saturating_add(1);
    }
    for [first, _, size] in &groups {
        if let Some(number) = sets.number(*first) {
            let root = root(&mut joined.parents, number as u32) as usize;
            joined.sizes[root] = joined.sizes[root].saturating_add(clamp(size - 1));
        }
    }
    // The cluster of a text that is no copy: its first text and its size.
    let mut cluster_of = |place: u64, size: u64| match sets.number(place) {
        Some(number) => {
            let root = root(&mut joined.parents, number as u32) as usize;
            (sets.places[root], joined.sizes[root])
        }
        None => (place, clamp(size)),
    };
    let copies = Sorted::<2>::open(&plan.parts("copies", num_parts), plan.fan_in(), &plan.stem("copies"))?;
    let mut copies = copies.whole()?;
    let (mut copy, mut group, mut number) = (copies.next()?, 0, 0);
    loop {
        // The next text in order: a copy, the first of a group, or a text that was compared.
        let first = groups.get(group).map(|[first, ..]| *first);
        let compared = sets.places.get(number).copied();
        let Some(place) = [copy.map(|[place, _]| place), first, compared].into_iter().flatten().min() else { break };
        let (cluster, neighbour, similarity);
        if let Some([_, original]) = copy.filter(|[copy, _]| *copy == place) {
            let found = groups.binary_search_by_key(&original, |[first, ..]| *first);
            cluster = cluster_of(original, found.map_or(1, |found| groups[found][2]));
            (neighbour, similarity) = (original, 1.0);
            copy = copies.next()?;
        } else if let Some([_, second, size]) = groups.get(group).filter(|[first, ..]| *first == place) {
            cluster = cluster_of(place, *size);
            (neighbour, similarity) = (*second, 1.0);
            group += 1;
            number += usize::from(compared == Some(place));
        } else {
            cluster = cluster_of(place, 1);
            let (nearest, near) = joined.nearest[number];
            (neighbour, similarity) = (sets.places[nearest as usize], near);
            number += 1;
        }
        let (representative, cluster_size) = cluster;
        if cluster_size < 2 {
            continue;
        }
        tally.clusters += u64::from(representative == place);
        tally.duplicates += u64::from(representative != place);
        let [place, representative, neighbour] = [place, representative, neighbour].map(Place::of);
        each(Duplicate { place, representative, neighbour, similarity, cluster_size }).map_err(NearError::Caller)?;
    }
    Ok(())
}

fn clamp(size: u64) -> u32 {
    size.min(u64::from(u32::MAX)) as u32
}

/// The groups of copies, by their first text: 24 bytes each, so at most 12 for a text.
fn read_groups<E: Send>(plan: &Plan<'_, E>, num_parts: u64, num_compared: usize) -> Result<Vec<[u64; 3]>, NearFault> {
    let sorted = Sorted::<3>::open(&plan.parts("groups", num_parts), plan.fan_in(), &plan.stem("groups"))?;
    let num_groups = sorted.num_records();
    let (found, expected) = (24 * num_groups + 40 * num_compared as u64, plan.index_bytes());
    if found > expected {
        return Err(NearFault::Memory { expected, found });
    }
    let mut groups = Vec::with_capacity(num_groups as usize);
    let mut merge = sorted.whole()?;
    while let Some(group) = merge.next()? {
        groups.push(group);
    }
    Ok(groups)
}

/// Reads the edges of all segments.
fn join<E: Send>(
    plan: &Plan<'_, E>,
    sets: &Sets,
    num_segments: u64,
    tally: &mut NearTally,
) -> Result<Joined, NearFault> {
    let num_texts = u32::try_from(sets.places.len())
        .map_err(|_| NearFault::Memory { expected: u64::from(u32::MAX), found: sets.places.len() as u64 })?;
    let mut joined = Joined {
        parents: (0..num_texts).collect(),
        nearest: vec![(0, 0.0); num_texts as usize],
        sizes: vec![0; num_texts as usize],
    };
    for segment in 0..num_segments {
        let path = plan.file("edges", segment);
        let edges = Runs::<3>::open(&path)?;
        tally.near_pairs += edges.num_records();
        let mut reader = edges.read(0, edges.num_records(), plan.sort_bytes());
        while let Some(edge) = reader.next()? {
            let [a, b, counts] = edge;
            if a >= u64::from(num_texts) || b >= u64::from(num_texts) {
                let expected = format!("numbers below {num_texts}");
                return Err(NearFault::Damaged { path, expected, found: format!("{edge:?}") });
            }
            let similarity = ((counts >> 32) as f64 / (counts & 0xffff_ffff) as f64) as f32;
            let (a, b) = (a as u32, b as u32);
            for (text, other) in [(a, b), (b, a)] {
                let nearest = &mut joined.nearest[text as usize];
                if similarity > nearest.1 || (similarity == nearest.1 && other < nearest.0) {
                    *nearest = (other, similarity);
                }
            }
            let (a, b) = (root(&mut joined.parents, a), root(&mut joined.parents, b));
            joined.parents[a.max(b) as usize] = a.min(b);
        }
    }
    Ok(joined)
}

/// The first text of a text's cluster. Halves the path to it.
fn root(parents: &mut [u32], mut text: u32) -> u32 {
    while parents[text as usize] != text {
        let above = parents[text as usize];
        parents[text as usize] = parents[above as usize];
        text = above;
    }
    text
}
