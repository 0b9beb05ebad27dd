//! An error as people read it, and the one that says that what was typed is wrong.

/// What was typed or written is wrong, and nothing was done: files that are not there, names that do not exist, unknown values.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misused(pub(crate) String);

impl Misused {
    /// Whatever `error` says, as what is wrong with what was typed.
    pub(crate) fn by(error: impl Into<anyhow::Error>) -> Misused {
        Misused(explain(&error.into()))
    }
}

/// An error with its causes, none said twice, hints last.
pub(crate) fn explain(error: &anyhow::Error) -> String {
    let (mut said, mut hints) = (String::new(), Vec::new());
    let mut full_disk = false;
    for cause in error.chain() {
        let text = cause.to_string();
        let (message, hint) =
            text.split_once("\nhint: ").map_or((text.as_str(), None), |(a, b)| (a, Some(b.to_owned())));
        if !said.contains(message) {
            said.push_str(if said.is_empty() { "" } else { ": " });
            said.push_str(message);
        }
        hints.extend(hint);
        let io = cause.downcast_ref::<std::io::Error>();
        full_disk |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull);
    }
    if full_disk && hints.is_empty() {
        hints.push("free some space and run the same command again; finished work is kept".to_owned());
    }
    hints.iter().fold(said, |text, hint| format!("{text}\nhint: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once_and_a_full_disk_gets_its_hint() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let wrapped = distill_dataset::DatasetError::io("write", "x.parquet")(full());
        let text = explain(&anyhow::Error::new(wrapped).context("stage `traces`"));
        assert_eq!(text.matches("no storage space").count(), 1, "{text}");
        assert!(text.starts_with("stage `traces`: cannot write x.parquet"), "{text}");
        assert!(text.ends_with("finished work is kept"), "{text}");
        let text = explain(&anyhow::Error::new(full()).context("cannot write y"));
        assert!(text.contains("hint: free some space"), "{text}");
    }
}
