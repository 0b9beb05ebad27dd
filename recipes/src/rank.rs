//! Which of several processes this is: what was typed, else what the job's launcher says.

use crate::session::Rank;
use anyhow::{Context, Result, ensure};

/// Looks up an environment variable.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The rank from flags, else from the variables of the launcher that started this process, in this order.
///
/// | launcher | rank | world |
/// |---|---|---|
/// | a Slurm array | `SLURM_ARRAY_TASK_ID` − `SLURM_ARRAY_TASK_MIN` | `SLURM_ARRAY_TASK_COUNT` |
/// | a Slurm step of several tasks | `SLURM_PROCID` | `SLURM_NTASKS` |
/// | a Kubernetes indexed job | `JOB_COMPLETION_INDEX` | `WORLD_SIZE` |
/// | anything else | `RANK` | `WORLD_SIZE` |
///
/// # Errors
/// When a number is none, a variable is alone, or the rank is not below the world.
pub fn of(rank: Option<usize>, world: Option<usize>, environment: Environment<'_>) -> Result<Rank> {
    if let (Some(rank), Some(world)) = (rank, world) {
        return checked(rank, world, "--rank and --world");
    }
    let number = |name: &str| -> Result<Option<usize>> {
        let Some(text) = environment(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.trim().parse().map(Some).with_context(|| format!("{name}: expected a number, found {text:?}"))
    };
    if let (Some(task), Some(world)) = (number("SLURM_ARRAY_TASK_ID")?, number("SLURM_ARRAY_TASK_COUNT")?) {
        let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
        let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
        return checked(task.saturating_sub(first) / step, world, "SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT");
    }
    for (rank_name, world_name) in
        [("SLURM_PROCID", "SLURM_NTASKS"), ("JOB_COMPLETION_INDEX", "WORLD_SIZE"), ("RANK", "WORLD_SIZE")]
    {
        let Some(rank) = number(rank_name)? else { continue };
        let world = number(world_name)?.with_context(|| {
            format!("{rank_name} is set and {world_name} is not: expected how many processes share the work\nhint: set it, or pass --rank and --world")
        })?;
        return checked(rank, world, &format!("{rank_name} and {world_name}"));
    }
    Ok(Rank::default())
}

fn checked(rank: usize, world: usize, from: &str) -> Result<Rank> {
    ensure!(rank < world, "{from}: expected a rank below {world}, found {rank}");
    Ok(Rank { rank, world })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Rank> {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        of(None, None, &find)
    }

    #[test]
    fn every_launcher_is_understood() {
        let rank = |rank, world| Some(Rank { rank, world });
        assert_eq!(from(&[]).ok(), rank(0, 1));
        let array = [("SLURM_ARRAY_TASK_ID", "7"), ("SLURM_ARRAY_TASK_COUNT", "4"), ("SLURM_ARRAY_TASK_MIN", "4")];
        assert_eq!(from(&array).ok(), rank(3, 4), "arrays need not begin at 0");
        let stepped = [
            ("SLURM_ARRAY_TASK_ID", "9"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_STEP", "4"),
        ];
        assert_eq!(from(&stepped).ok(), rank(2, 4), "and may go in steps");
        let array_in_step = [array.as_slice(), &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")]].concat();
        assert_eq!(from(&array_in_step).ok(), rank(3, 4), "the array counts before the step");
        assert_eq!(from(&[("SLURM_PROCID", "2"), ("SLURM_NTASKS", "3")]).ok(), rank(2, 3));
        assert_eq!(from(&[("JOB_COMPLETION_INDEX", "1"), ("WORLD_SIZE", "2")]).ok(), rank(1, 2));
        assert_eq!(from(&[("RANK", "5"), ("WORLD_SIZE", "8")]).ok(), rank(5, 8));
        assert_eq!(of(Some(1), Some(2), &|_| Some("9".to_owned())).ok(), rank(1, 2), "what was typed counts first");
    }

    #[test]
    fn what_cannot_be_is_an_error_that_says_which_variable() {
        let error = |variables: &[(&str, &str)]| from(variables).expect_err("a mistake").to_string();
        assert!(error(&[("RANK", "2"), ("WORLD_SIZE", "2")]).contains("RANK and WORLD_SIZE: expected a rank below 2"));
        assert!(error(&[("JOB_COMPLETION_INDEX", "1")]).contains("WORLD_SIZE is not"));
        assert!(error(&[("RANK", "one"), ("WORLD_SIZE", "2")]).contains("RANK: expected a number"));
        assert!(of(Some(4), Some(4), &|_| None).is_err());
    }
}
