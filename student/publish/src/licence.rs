//! The licence gate: what the inputs' licences forbid is not published by oversight.

use crate::PublishConfig;
use distill_dataset::{Detail, Manifest};

/// Why nothing is published.
#[derive(Debug, thiserror::Error)]
pub enum LicenceError {
    /// A restriction that nobody has looked at.
    #[error(
        "`{licence}` of {of} restricts what may be published ({why})\nhint: if the licence allows this use, add it to `publish.accepted-restrictions`"
    )]
    Restricted {
        /// The licence.
        licence: String,
        /// Whose it is.
        of: &'static str,
        /// Which kind of restriction.
        why: &'static str,
    },
    /// Problems whose source states none.
    #[error(
        "{unlicensed} problems state no licence, so that nobody knows what may be published\nhint: state it with `licence` in the source, or add `unknown` to `publish.accepted-restrictions`"
    )]
    Problems {
        /// How many.
        unlicensed: u64,
    },
    /// A base model whose licence is not stated.
    #[error(
        "the base model's licence is not stated, so that nobody knows what may be published\nhint: state it with `publish.base-license`, as the base's own card has it"
    )]
    Base,
}

/// Marks in an identifier, and what they mean. Llama's and Gemma's terms bind models trained on their outputs.
const RESTRICTIONS: [(&str, &str); 7] = [
    ("-nc", "no commercial use"),
    ("-nd", "no derivatives"),
    ("llama", "community licence with naming and use terms"),
    ("gemma", "use terms that bind derivatives"),
    ("proprietary", "not open"),
    ("other", "not named"),
    ("unknown", "not known"),
];

/// Checks the licences of problems, teacher and base: each is stated, and none restricts what is published, unless the
/// recipe accepts it by name.
///
/// # Errors
/// The first licence that is not stated, or that restricts and is not accepted.
pub fn check_licences(config: &PublishConfig, problems: &[Manifest], has_base: bool) -> Result<(), LicenceError> {
    for manifest in problems {
        if let Detail::Problems { licences, unlicensed, .. } = &manifest.tally.detail {
            if *unlicensed > 0 && !config.accepts("unknown") {
                return Err(LicenceError::Problems { unlicensed: *unlicensed });
            }
            licences.keys().try_for_each(|licence| config.check_licence("the problems", licence))?;
        }
    }
    config.check_licence("the teacher", &config.teacher_license)?;
    match &config.base_license {
        Some(licence) => config.check_licence("the base model", licence),
        None if has_base => Err(LicenceError::Base),
        None => Ok(()),
    }
}

impl PublishConfig {
    fn accepts(&self, licence: &str) -> bool {
        self.accepted_restrictions.iter().any(|accepted| accepted.eq_ignore_ascii_case(licence))
    }

    fn check_licence(&self, of: &'static str, licence: &str) -> Result<(), LicenceError> {
        let lower = licence.to_lowercase();
        match RESTRICTIONS.iter().find(|(mark, _)| lower.contains(mark)) {
            Some((_, why)) if !self.accepts(licence) => {
                Err(LicenceError::Restricted { licence: licence.to_owned(), of, why })
            }
            _ => Ok(()),
        }
    }
}
