//! `distill gc`: what no run uses any more goes from a store: outputs of stages under other keys, and what killed processes
//! left. Answers that were asked for stay, whoever asked, unless their folder is named.
//!
//! A stage is used when the record of a run has its key: of every run in the folders of runs that are named, and of every run
//! that the store has a note of (`users.rs`). A record that cannot be read stops everything: what it uses is not known.

use crate::{explained::Misused, list, record::RunRecord, users};
use anyhow::{Context, Result, bail, ensure};
use distill_dataset::{Liveness, Owner, Store, entries};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Digits of a stage's folder.
const KEY_DIGITS: usize = 16;
/// Folders of a store that hold no outputs of stages.
const OTHERS: [&str; 4] = ["samples", "owners", "users", "teachers"];
/// What a process leaves beside the stages while it lives; older, it is a dead one's.
const LEFT_AFTER: Duration = Duration::from_secs(24 * 3600);
/// For how long this process would be waited for.
const TTL: Duration = Duration::from_secs(120);

/// What goes, or would go.
#[derive(Debug, Serialize)]
pub struct Swept {
    /// Folders with their bytes.
    pub folders: Vec<(PathBuf, u64)>,
    /// Folders of answers with their bytes: they stay.
    pub answers: Vec<(PathBuf, u64)>,
    /// Runs whose stages stay.
    pub runs: Vec<PathBuf>,
    /// Whether it was only looked at.
    pub dry_run: bool,
}

/// Looks at a store, and removes what no run uses unless `dry_run`. `answers` names folders of answers that go as well.
///
/// # Errors
/// When a record cannot be read, another process works on the store, no run is known, or the disk refuses.
pub fn sweep(store: &Store, runs: &[PathBuf], answers: &[String], dry_run: bool) -> Result<Swept> {
    let root = store.root();
    let missing = |what: &str, folder: &Path, key: &str| {
        Misused(format!("{}: expected {what}, found no folder\nhint: `{key} DIR` names it", folder.display()))
    };
    ensure!(root.is_dir(), missing("a store", root, "--store"));
    for folder in runs {
        // What its runs use is not known.
        ensure!(folder.is_dir(), missing("a folder of runs", folder, "--runs"));
    }
    let owner = if dry_run { None } else { Some(Owner::register(&store.owners(), TTL)?) };
    if let Some(owner) = &owner {
        alone(store, owner)?;
    }
    let mut users = users::folders(store)?;
    for folder in runs {
        users.extend(list::folders(folder)?);
    }
    users = users.into_iter().map(|folder| folder.canonicalize().unwrap_or(folder)).collect();
    users.sort();
    users.dedup();
    ensure!(
        !users.is_empty(),
        Misused(format!(
            "{}: expected runs that use it, found none: everything would go\nhint: `--runs DIR` names their folder; to remove it all, remove the folder",
            root.display()
        ))
    );
    let used = used(&users)?;
    let mut swept = Swept { folders: Vec::new(), answers: Vec::new(), runs: users, dry_run };
    for (path, name) in named(root)? {
        if name.starts_with("preflight-") && is_left(&path) {
            swept.folders.push((path.clone(), bytes(&path)));
        }
        if OTHERS.contains(&name.as_str()) || !path.is_dir() || path.is_symlink() {
            continue;
        }
        for (stage, key) in named(&path)? {
            let is_key = key.len() == KEY_DIGITS && key.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_key && stage.is_dir() && !stage.is_symlink() && !used.contains(&(name.clone(), key)) {
                swept.folders.push((stage.clone(), bytes(&stage)));
            }
        }
    }
    let bought = named(&root.join("samples"))?;
    for name in answers {
        let Some((path, _)) = bought.iter().find(|(_, known)| known == name) else {
            let known: Vec<&str> = bought.iter().map(|(_, name)| name.as_str()).collect();
            let known = known.join(", ");
            bail!(Misused(format!("--answers {name}: expected a folder of answers, one of {known}, found none")));
        };
        swept.folders.push((path.clone(), bytes(path)));
    }
    let stays = bought.iter().filter(|(_, name)| !answers.contains(name));
    swept.answers = stays.map(|(path, _)| (path.clone(), bytes(path))).collect();
    if !dry_run {
        swept.folders.iter().try_for_each(|(folder, _)| remove(folder))?;
    }
    Ok(swept)
}

/// Nobody else works on the store.
fn alone(store: &Store, owner: &Owner) -> Result<()> {
    for (path, id) in named(&store.owners())? {
        if id == owner.id() || id.starts_with('.') {
            continue;
        }
        let hint = "let it end, or stop it, first; `--dry-run` looks without touching anything";
        match owner.liveness(&id)? {
            Liveness::Dead => {}
            Liveness::Alive => bail!("another process works on {}\nhint: {hint}", store.root().display()),
            Liveness::Unknown { .. } => bail!(
                "a process on another machine may work on {}\nhint: {hint}; if it is gone, remove {}",
                store.root().display(),
                path.display()
            ),
        }
    }
    Ok(())
}

/// Stages and the first digits of their keys that runs have.
fn used(users: &[PathBuf]) -> Result<BTreeSet<(String, String)>> {
    let mut used = BTreeSet::new();
    for folder in users {
        let record = RunRecord::read(folder).context("nothing was removed: what this run uses is not known")?;
        let stages = record.stages.into_iter().filter(|stage| !stage.key.is_empty());
        used.extend(stages.map(|stage| (stage.stage, stage.key.chars().take(KEY_DIGITS).collect())));
    }
    Ok(used)
}

fn named(dir: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut paths = entries(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    paths.sort();
    let name = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (path, name)
    };
    Ok(paths.into_iter().map(name).collect())
}

/// Whether it is so old that its process is gone.
fn is_left(path: &Path) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|data| data.modified());
    modified.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > LEFT_AFTER))
}

/// Bytes of all files below; what cannot be read counts nothing.
fn bytes(path: &Path) -> u64 {
    let Ok(data) = fs::symlink_metadata(path) else { return 0 };
    match data.is_dir() {
        true => entries(path).unwrap_or_default().iter().map(|path| bytes(path)).sum(),
        false => data.len(),
    }
}

/// Removes a stage's folder. Its manifest goes first: a stage is done where there is one, be the rest half gone.
fn remove(folder: &Path) -> Result<()> {
    let manifest = folder.join("manifest.json");
    let removed = match fs::remove_file(&manifest) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::remove_dir_all(folder),
    };
    removed.with_context(|| format!("cannot remove {}", folder.display()))
}

impl Swept {
    /// For people.
    pub fn told(&self) -> String {
        let mut text = String::new();
        let sum = |folders: &[(PathBuf, u64)]| folders.iter().map(|(_, bytes)| bytes).sum::<u64>();
        for (folder, bytes) in &self.folders {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "  {:>10}  {}", size(*bytes), folder.display());
        }
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        let _ =
            writeln!(text, "{} {verb} in {} folders that no run uses", size(sum(&self.folders)), self.folders.len());
        let _ = writeln!(text, "looked at {} runs: {}", self.runs.len(), listed(&self.runs));
        if !self.answers.is_empty() {
            let _ = writeln!(text, "{} of answers stay, in {} folders:", size(sum(&self.answers)), self.answers.len());
            for (folder, bytes) in &self.answers {
                let name = folder.file_name().unwrap_or_default().to_string_lossy();
                let _ = writeln!(text, "  {:>10}  {name} (`--answers {name}` removes them)", size(*bytes));
            }
        }
        text
    }
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Bytes, as people say them.
fn size(bytes: u64) -> String {
    match bytes {
        ..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
