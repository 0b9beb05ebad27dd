//! The links in a run's folder to what it uses in the store: relative, so that a project that was moved still works.

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// Points `link` at `target`, replacing an earlier link and never a real file.
///
/// # Errors
/// When a file is in the way, or the disk refuses.
pub(crate) fn link(link: &Path, target: &Path) -> Result<()> {
    let target = relative(link, target)?;
    match fs::read_link(link) {
        Ok(old) if old == target => return Ok(()),
        Ok(_) => fs::remove_file(link)?,
        Err(_) => {}
    }
    match std::os::unix::fs::symlink(&target, link) {
        // Another process linked it in the meantime.
        Err(_) if fs::read_link(link).is_ok_and(|found| found == target) => Ok(()),
        outcome => outcome.with_context(|| format!("cannot link {} to {}", link.display(), target.display())),
    }
}

/// The way from a link's folder to its target; absolute where the two share nothing but the root.
pub(crate) fn relative(link: &Path, target: &Path) -> Result<PathBuf> {
    let target = std::path::absolute(target)?;
    let folder = link.parent().unwrap_or(Path::new(""));
    // Where a folder on the way is a link itself, `..` leads elsewhere than its name says.
    let folder = folder.canonicalize().or_else(|_| std::path::absolute(folder))?;
    let real = target.parent().and_then(|parent| parent.canonicalize().ok()).zip(target.file_name());
    let target = real.map_or(target.clone(), |(parent, name)| parent.join(name));
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (folder.components().collect(), target.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    if shared <= 1 {
        return Ok(target);
    }
    let up = from[shared..].iter().map(|_| Component::ParentDir);
    Ok(up.chain(to[shared..].iter().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_project_keeps_its_links() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let (old, new) = (root.path().join("old"), root.path().join("new"));
        fs::create_dir_all(old.join("store/traces/abc")).expect("a store");
        fs::create_dir_all(old.join("runs/x")).expect("a run");
        fs::write(old.join("store/traces/abc/manifest.json"), "{}").expect("a manifest");
        link(&old.join("runs/x/traces"), &old.join("store/traces/abc")).expect("a link");
        link(&old.join("runs/x/traces"), &old.join("store/traces/abc")).expect("the same link again");
        fs::rename(&old, &new).expect("a move");
        assert!(new.join("runs/x/traces/manifest.json").is_file(), "the link leads to where the store was");
    }

    #[test]
    fn a_real_file_is_never_replaced() {
        let root = tempfile::tempdir().expect("a temporary folder");
        fs::write(root.path().join("traces"), "mine").expect("a file");
        assert!(link(&root.path().join("traces"), &root.path().join("store")).is_err());
        assert_eq!(fs::read_to_string(root.path().join("traces")).expect("the file"), "mine");
    }
}
