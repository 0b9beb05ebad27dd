//! Digests of all texts enter, groups of identical texts leave. Only the first text of a group is compared with others
//! later, so a million copies cost a sort and no pairs.
//!
//! | file of a part | record |
//! |---|---|
//! | `copies` | place of a copy; place of the group's first text |
//! | `groups` | place of the first text; of the second; texts of the group. Written last: the part is done |

use super::{
    error::{NearError, NearFault},
    merge::{Merge, Sorted},
    plan::{Phase, Plan},
    runs::RunsWriter,
    sign::Signed,
};

/// Finds the copies of every part that is not done.
pub(crate) fn find_copies<E: Send>(plan: &Plan<'_, E>, signed: &Signed) -> Result<(), NearError<E>> {
    let num_parts = signed.num_parts();
    if (0..num_parts).all(|part| plan.is_done(&["copies", "groups"], part)) {
        return Ok(());
    }
    let paths: Vec<_> = (1..signed.offsets.len() as u64).map(|unit| plan.file("digests", unit - 1)).collect();
    let digests = Sorted::<3>::open(&paths, plan.fan_in(), &plan.stem("digests"))?;
    plan.each_unit(Phase::Copies, num_parts, |part| Ok(copies_of_part(plan, digests.part(part, num_parts)?, part)?))
}

fn copies_of_part<E: Send>(plan: &Plan<'_, E>, mut digests: Merge<3>, part: u64) -> Result<(), NearFault> {
    if plan.is_done(&["copies", "groups"], part) {
        return Ok(());
    }
    let mut copies = RunsWriter::<2>::new(plan.file("copies", part), plan.sort_bytes() / 2)?;
    let mut groups = RunsWriter::<3>::new(plan.file("groups", part), plan.sort_bytes() / 2)?;
    let mut group: Option<([u64; 2], [u64; 3])> = None;
    while let Some([one, other, place]) = digests.next()? {
        match &mut group {
            Some((digest, [first, second, size])) if *digest == [one, other] => {
                copies.push([place, *first])?;
                if *size == 1 {
                    *second = place;
                }
                *size += 1;
            }
            _ => {
                if let Some((_, record)) = group.replace(([one, other], [place, place, 1]))
                    && record[2] > 1
                {
                    groups.push(record)?;
                }
            }
        }
    }
    if let Some((_, record)) = group
        && record[2] > 1
    {
        groups.push(record)?;
    }
    copies.finish()?;
    groups.finish()?;
    Ok(())
}
