//! In which precision weights are kept for decoding.

use distill_checkpoint::Dtype;

/// In which precision weight matrices are kept. What is multiplied is float32 in any case; norms and biases are float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As the checkpoint stores them, float32 where it stores blocks: nothing is rounded, so the result is that of float32.
    #[default]
    Stored,
    /// Float32.
    F32,
    /// Rounded to bfloat16.
    Bf16,
    /// Rounded to half precision.
    F16,
    /// Rounded to 8 bits with a scale for 32 weights, as GGML's Q8_0.
    Q8,
}

impl Precision {
    /// All, by the names that recipes and commands use.
    pub const NAMES: [(&'static str, Precision); 5] = [
        ("stored", Precision::Stored),
        ("f32", Precision::F32),
        ("bf16", Precision::Bf16),
        ("f16", Precision::F16),
        ("q8_0", Precision::Q8),
    ];

    /// By its name.
    ///
    /// # Errors
    /// Expected and found.
    pub fn from_name(name: &str) -> Result<Precision, String> {
        let found = Precision::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, precision)| *precision).ok_or_else(|| {
            let known: Vec<&str> = Precision::NAMES.iter().map(|(known, _)| *known).collect();
            format!("unknown precision {name:?}: expected one of {}", known.join(", "))
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Precision::NAMES.iter().find(|(_, precision)| *precision == self).map_or("", |(name, _)| name)
    }

    /// Whether weights may be rounded: then the model is not the checkpoint any more, and must not bear its identity.
    pub fn is_reduced(self) -> bool {
        !matches!(self, Precision::Stored | Precision::F32)
    }

    /// What a tensor that is stored as `dtype` is kept as.
    pub(crate) fn of(self, dtype: Dtype) -> Dtype {
        match self {
            Precision::Stored if dtype.is_quantised() => Dtype::F32,
            Precision::Stored => dtype,
            Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::BF16,
            Precision::F16 => Dtype::F16,
            Precision::Q8 => Dtype::Q8_0,
        }
    }
}
