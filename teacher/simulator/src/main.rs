//! `distill-simulator [ADDRESS [KEY=VALUE…]]`: the server on its own, for benchmarks and for trying things out.

use distill_simulator::{Script, serve_forever};
use std::{
    io::{self, Write},
    process::ExitCode,
};

const USAGE: &str = "distill-simulator [ADDRESS [KEY=VALUE…]], with the keys model, least, most (tokens of an answer), \
rate (tokens a second of a stream), admitted (requests at once), harmed (share of requests), cached (tokens of a prompt that a cache has), seed";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let mut script = Script::default();
    for argument in arguments {
        if let Err(message) = set(&mut script, &argument) {
            let _ = writeln!(io::stderr(), "{message}\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    let served = serve_forever(script, &address, |bound| {
        let mut stdout = io::stdout();
        let _ = writeln!(stdout, "http://{bound}/v1").and_then(|()| stdout.flush());
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn set(script: &mut Script, argument: &str) -> Result<(), String> {
    fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
        text.parse().map_err(|_| format!("expected a number, found {text:?}"))
    }
    let (key, value) = argument.split_once('=').ok_or_else(|| format!("expected KEY=VALUE, found {argument:?}"))?;
    match key {
        "model" => value.clone_into(&mut script.model),
        "least" => script.lengths.0 = number(value)?,
        "most" => script.lengths.1 = number(value)?,
        "rate" => script.rate = Some(number(value)?),
        "admitted" => script.admitted = number(value)?,
        "harmed" => script.harmed = number(value)?,
        "cached" => script.cached = number(value)?,
        "seed" => script.seed = number(value)?,
        _ => return Err(format!("no key {key:?}")),
    }
    Ok(())
}
