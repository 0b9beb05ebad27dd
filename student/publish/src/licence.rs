//! The licence gate: what the inputs' licences forbid is not published by oversight.

use crate::PublishConfig;
use std::collections::BTreeSet;

/// A restriction that nobody has looked at.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{licence}` of {of} restricts what may be published ({why})\nhint: if the licence allows this use, add it to `publish.accepted-restrictions`"
)]
pub struct LicenceError {
    /// The licence.
    pub licence: String,
    /// Whose it is.
    pub of: &'static str,
    /// Which kind of restriction.
    pub why: &'static str,
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

/// Checks the licences of data, teacher and base.
///
/// # Errors
/// The first restrictive licence that the recipe does not accept by name.
pub fn check_licences(config: &PublishConfig, data: &BTreeSet<String>) -> Result<(), LicenceError> {
    let all = data.iter().map(|licence| ("the problems", licence)).chain([("the teacher", &config.teacher_license)]);
    for (of, licence) in all {
        let lower = licence.to_lowercase();
        let accepted = config.accepted_restrictions.iter().any(|accepted| accepted.to_lowercase() == lower);
        let found = RESTRICTIONS.iter().find(|(mark, _)| lower.contains(mark));
        if let Some((_, why)) = found.filter(|_| !accepted) {
            return Err(LicenceError { licence: licence.clone(), of, why });
        }
    }
    Ok(())
}
