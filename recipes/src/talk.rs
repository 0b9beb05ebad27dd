//! `distill chat`: a conversation with a checkpoint in the terminal. Reasoning is dimmed, and left out of what the model
//! is told of its own earlier answers, as reasoning models are asked.

use crate::{cli::ChatArgs, serve::open, terminal::printable};
use anyhow::{Context, Result, bail};
use distill_chat::Chat;
use distill_dataset::{Cancel, Message, Parts, TurnReader};
use distill_teacher_local::{Ask, Engine, Event, Limits, Reason, Sampling};
use std::{
    io::{BufRead, IsTerminal, Write, stdin, stdout},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// Reads a line, answers it, and so on until the input ends. Answers go to standard output, everything else to standard
/// error.
///
/// # Errors
/// When the checkpoint cannot be used, or an answer cannot be made or written.
pub fn talk(args: &ChatArgs, color: bool) -> Result<()> {
    let (chat, mut engine, _) = open(&args.decode, Limits { running: 1, ..Limits::default() })?;
    let terminal = stdin().is_terminal();
    let dim = color && stdout().is_terminal();
    let (stop, answering) = (Cancel::default(), Arc::new(AtomicBool::new(false)));
    let (mut messages, mut turns) = (Vec::new(), 0);
    messages.extend(args.system.as_ref().map(Message::system));
    let stopped = Arc::new(std::sync::Mutex::new(stop));
    stop_on_signal(stopped.clone(), answering.clone())?;
    if terminal {
        tell(&banner(args, &chat, engine.context()))?;
    }
    let mut lines = stdin().lock().lines();
    loop {
        if terminal {
            write!(std::io::stderr(), "> ")
                .and_then(|()| std::io::stderr().flush())
                .context("cannot write the prompt")?;
        }
        let Some(line) = lines.next() else { return Ok(()) };
        let line = line.context("cannot read standard input")?;
        match line.trim() {
            "" => continue,
            "/exit" | "/quit" => return Ok(()),
            "/clear" => {
                messages.truncate(usize::from(args.system.is_some()));
                tell("[a new conversation]")?;
                continue;
            }
            // Somebody who types may mistype a command; what a script sends is a question.
            other if terminal && other.starts_with('/') && !other.contains(char::is_whitespace) => {
                tell(&printable(&format!("no command {other}: expected {COMMANDS}")))?;
                continue;
            }
            _ => {}
        }
        messages.push(Message::user(line));
        let cancel = Cancel::default();
        *stopped.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = cancel.clone();
        answering.store(true, Ordering::SeqCst);
        let seed = args.seed.wrapping_add(turns);
        let said = answer(args, &chat, &mut engine, &messages, seed, &Screen { dim, cancel });
        answering.store(false, Ordering::SeqCst);
        match said {
            Ok(Said { answer, note }) => {
                tell(&note)?;
                messages.push(Message::assistant(answer));
            }
            // Somebody who types may go on with another question; a script should hear of it.
            Err(error) if terminal => {
                tell(&format!("error: {}", printable(&error.to_string())))?;
                messages.pop();
            }
            Err(error) => return Err(error),
        }
        turns += 1;
    }
}

/// What can be typed in place of a question.
const COMMANDS: &str = "/clear for a new conversation, /exit (or Ctrl-D) to leave, Ctrl-C to break an answer off";

/// Who answers, and how one leaves.
fn banner(args: &ChatArgs, chat: &Chat, context: usize) -> String {
    let checkpoint = args.decode.checkpoint.display();
    let kind = if chat.has_template() { "" } else { "; it has no chat template, so it goes on from what you type" };
    printable(&format!("{checkpoint} on {}, {context} tokens of context{kind}\n{COMMANDS}", args.decode.device))
}

fn tell(line: &str) -> Result<()> {
    writeln!(std::io::stderr(), "{line}").context("cannot write to standard error")
}

/// How answers are shown, and what breaks them off.
struct Screen {
    dim: bool,
    cancel: Cancel,
}

/// What an answer came to.
struct Said {
    answer: String,
    /// Tokens, tokens a second, and whether it was cut.
    note: String,
}

fn answer(
    args: &ChatArgs,
    chat: &Chat,
    engine: &mut Engine,
    messages: &[Message],
    seed: u64,
    screen: &Screen,
) -> Result<Said> {
    let prompt = chat.encode_prompt(messages)?;
    let prompt_tokens = prompt.len();
    let ask = Ask {
        prompt,
        sampling: Sampling { temperature: args.temperature, top_p: args.top_p, ..Sampling::default() },
        seed,
        max_new_tokens: args.max_new_tokens.unwrap_or(engine.context().saturating_sub(prompt_tokens).max(1)),
        stop_ids: chat.eos_ids().to_vec(),
        stop: Vec::new(),
        text: true,
        logprobs: None,
        prompt_logprobs: None,
    };
    engine
        .submit(0, ask)
        .map_err(|error| anyhow::anyhow!("{error}\nhint: a new conversation has all its room again"))?;
    let mut reasoning = Some(TurnReader::new(chat.turn().clone()));
    let (mut shown, mut said) =
        (Shown { terminal: stdout().is_terminal(), dim: screen.dim, dimmed: false }, String::new());
    let (mut tokens, mut first, mut end, mut failed) = (0_usize, None, None, None);
    let started = Instant::now();
    while end.is_none() && failed.is_none() && !screen.cancel.is_cancelled() {
        let mut parts = Vec::new();
        engine.step(&mut |_, event| match event {
            Event::Prompt(_) => {}
            Event::Token { text, .. } => {
                tokens += 1;
                first.get_or_insert_with(Instant::now);
                parts.extend(reasoning.as_mut().map(|reasoning| reasoning.push(&text)));
            }
            Event::End { reason, text, .. } => {
                parts.extend(reasoning.as_mut().map(|reasoning| reasoning.push(&text)));
                parts.extend(reasoning.take().map(TurnReader::finish));
                end = Some(reason);
            }
            Event::Failed(why) => failed = Some(why),
        });
        for part in parts {
            said.push_str(&part.answer);
            shown.write(&part)?;
        }
    }
    engine.cancel(0);
    shown.end()?;
    if let Some(why) = failed {
        bail!("{why}");
    }
    let last = Instant::now();
    // The first token is the prompt's work.
    let seconds = first.map_or(0.0, |first: Instant| (last - first).as_secs_f64());
    let read = first.map_or(0.0, |first: Instant| (first - started).as_secs_f64());
    let rate = if seconds > 0.0 { tokens.saturating_sub(1) as f64 / seconds } else { 0.0 };
    let cut = match end {
        Some(Reason::Stop) => "",
        Some(Reason::Length) => ", cut at the limit",
        Some(Reason::Context) => ", cut by the model's context",
        None => ", broken off",
    };
    let note = format!("[{prompt_tokens} tokens read in {read:.2} s, {tokens} written, {rate:.1} tokens/s{cut}]");
    Ok(Said { answer: said, note })
}

/// What stands on the screen.
struct Shown {
    terminal: bool,
    dim: bool,
    dimmed: bool,
}

impl Shown {
    fn write(&mut self, parts: &Parts) -> Result<()> {
        let mut text = String::new();
        if !parts.reasoning.is_empty() {
            if self.dim && !self.dimmed {
                text.push_str("\x1b[2m");
            }
            self.dimmed = true;
            text.push_str(&self.shown(&parts.reasoning));
        }
        if !parts.answer.is_empty() {
            if self.dimmed {
                text.push_str(if self.dim { "\x1b[0m\n\n" } else { "\n\n" });
            }
            self.dimmed = false;
            text.push_str(&self.shown(&parts.answer));
        }
        put(&text)
    }

    /// A file gets what was said; a terminal nothing that it would obey.
    fn shown(&self, text: &str) -> String {
        if self.terminal { printable(text) } else { text.to_owned() }
    }

    fn end(&mut self) -> Result<()> {
        put(if self.dim && self.dimmed { "\x1b[0m\n" } else { "\n" })
    }
}

fn put(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}

/// The first signal breaks an answer off; one between answers ends the process.
fn stop_on_signal(stop: Arc<std::sync::Mutex<Cancel>>, answering: Arc<AtomicBool>) -> Result<()> {
    let handler = move || {
        let cancel = stop.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !answering.load(Ordering::SeqCst) || cancel.is_cancelled() {
            std::process::exit(130);
        }
        cancel.cancel();
    };
    ctrlc::set_handler(handler).context("cannot watch for Ctrl-C")
}
