//! `distill init`: a commented recipe to begin with. Nothing is asked; what there is to choose are flags.

use crate::recipe::is_file_name;
use anyhow::{Context, Result, anyhow, ensure};
use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::Path,
};

/// Recipes to begin with, the usual one first: what each is called, and its text.
pub const STARTS: [(&str, &str); 3] = [
    ("endpoint", include_str!("../starts/endpoint.toml")),
    ("student", include_str!("../starts/student.toml")),
    ("compare", include_str!("../starts/compare.toml")),
];

/// Writes the recipe `from` to `path`, named as the file is; what to do next.
///
/// # Errors
/// When something is there already, the file's name is no name of a run, or the disk refuses.
pub fn write(path: &Path, from: &str) -> Result<String> {
    let names: Vec<&str> = STARTS.iter().map(|(name, _)| *name).collect();
    let start = STARTS.iter().find(|(name, _)| *name == from);
    let (_, text) = start.with_context(|| format!("--from: expected one of {}, found `{from}`", names.join(", ")))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    ensure!(
        path.extension().is_some_and(|extension| extension == "toml") && is_file_name(&stem),
        "{}: expected a name of letters, digits, `-`, `_` and `.` that ends in .toml, found another",
        path.display()
    );
    let text = text.replace(&format!("name = \"{from}\""), &format!("name = \"{stem}\""));
    let text = text.replace(&format!("recipes/starts/{from}.toml"), &path.display().to_string());
    let created = File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    created.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AlreadyExists => "\nhint: what is there is left as it is; give another name",
            ErrorKind::NotFound => "\nhint: the folder has to be there",
            _ => "",
        };
        anyhow!("cannot write {}: {error}{hint}", path.display())
    })?;
    let next = if from == "compare" { "evaluate" } else { "run" };
    let path = path.display();
    Ok(format!("wrote {path}\nnext: edit it, then `distill plan {path}`, then `distill {next} {path}`\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn what_is_written_is_a_recipe_of_that_name_and_nothing_is_written_over() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (from, _) in STARTS {
            let path = root.path().join(format!("my-{from}.toml"));
            let told = write(&path, from).expect("a recipe");
            assert!(told.contains("distill plan"), "{told}");
            let recipe = Recipe::load(&path, &[]).unwrap_or_else(|error| panic!("{from}: {error}"));
            assert_eq!(recipe.name, format!("my-{from}"));
            assert!(write(&path, from).is_err(), "it is there already");
        }
        assert!(write(&root.path().join("x.toml"), "nonsense").expect_err("unknown").to_string().contains("compare"));
        assert!(write(&root.path().join("my recipe.toml"), "endpoint").is_err(), "no name of a run");
    }
}
