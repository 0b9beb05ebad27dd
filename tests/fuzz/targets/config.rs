//! A `config.json`: read; what is accepted is written and read again as the same.
#![no_main]

use distill_checkpoint::ModelConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(config) = ModelConfig::from_json(text) else { return };
    let again = ModelConfig::from_json(&config.to_json()).expect("what was written is read");
    assert_eq!(again, config);
    let _ = config.num_parameters();
    if config.head_dim <= 4096 {
        assert_eq!(config.rope.inverse_frequencies(config.head_dim).len(), config.head_dim / 2);
    }
});
