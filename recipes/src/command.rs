//! One command: from what was typed to an exit code.

use crate::{
    alone::Task,
    cli::{
        Cli, Command, DataArgs, EvaluateArgs, FileArgs, FilterArgs, RecipeArgs, RunArgs, TeacherCommand,
        VerifyCodeArgs, VerifyCommand, VerifyMathArgs,
    },
    compared, convert,
    cuts::{self, Ran},
    doctor,
    explained::{Misused, explain},
    gc, init, known, launch, list, plan,
    preflight::Unfit,
    progress::Reporter,
    rank,
    recipe::{Recipe, diagnostic::RecipeError},
    record::{self, RunRecord},
    rendered::Marks,
    report,
    run::{self, Until},
    serve,
    session::{Mode, Session},
    show, status, talk,
    teachers::Secrets,
    terminal::{printable, printable_json},
    verify::{self, Columns, Input, Judged, Pace},
    view::View,
};
use anyhow::{Context, Result};
use clap::CommandFactory;
use distill_dataset::{Cancel, Interrupted, Store};
use std::{
    io::{IsTerminal, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// How a command ended, when it did not simply succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Failed = 1,
    UsedWrongly = 2,
    Budget = 3,
    Interrupted = 130,
}

/// Runs a command. Data goes to standard output, everything else to standard error.
pub fn execute(cli: Cli, secrets: Secrets<'_>, color: bool) -> ExitCode {
    cli.ops.set();
    let Err(error) = dispatch(cli.command, secrets, color) else { return ExitCode::SUCCESS };
    let mut stderr = std::io::stderr();
    let ending = ending(&error);
    // Nothing can be done about a closed standard error.
    let _ = match (error.downcast_ref::<RecipeError>(), ending) {
        (Some(recipe), _) => writeln!(stderr, "{}", recipe.render(color)),
        (None, Ending::Interrupted) => {
            writeln!(stderr, "interrupted: everything so far is saved; run the same command again to go on")
        }
        (None, _) => writeln!(stderr, "error: {}", printable(&explain(&error))),
    };
    distill_model::leave_if_hanging(ending as u8);
    ExitCode::from(ending as u8)
}

fn dispatch(command: Command, secrets: Secrets<'_>, color: bool) -> Result<()> {
    match command {
        Command::Init(args) => print(&init::write(&args.file, &args.from).map_err(Misused::by)?),
        Command::Run(args) | Command::Publish(args) => run_recipe(&args, Until::Publish, secrets),
        Command::Plan(args) => plan_recipe(&args, secrets),
        Command::Sample(args) => run_recipe(&args, Until::Sample, secrets),
        Command::Filter(args) => filter(args, secrets),
        Command::Dedup(args) => alone(&args.file, Task::dedup(&args.file, &args.settings)),
        Command::Decontaminate(args) => {
            alone(&args.file, Task::decontaminate(&args.file, &args.against, &args.settings))
        }
        Command::Export(args) => run_recipe(&args, Until::Export, secrets),
        Command::Train(args) => run_recipe(&args, Until::Train, secrets),
        Command::Evaluate(args) => evaluate(&args, secrets),
        Command::List(args) => print(&safe(&list::render(&args.runs, args.json).map_err(Misused::by)?, args.json)),
        Command::Gc(args) => {
            let swept = gc::sweep(&Store::new(&args.store), &args.runs, &args.answers, args.dry_run)?;
            let text = if args.json { serde_json::to_string_pretty(&swept)? + "\n" } else { swept.told() };
            print(&safe(&text, args.json))
        }
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "distill", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Schema => print(include_str!("../schema.json")),
        Command::Status(args) => print(&safe(&status::render(&folder(&args.run)?, args.json)?, args.json)),
        Command::Report(args) => {
            let path = report::write(&folder(&args)?)?;
            print(&format!("{}\n", path.display()))
        }
        Command::Show(args) => {
            let colours = color && std::io::stdout().is_terminal();
            let marks = if colours { Marks::Colours } else { Marks::Brackets };
            print(&show::render(&folder(&args.run)?, &args, marks)?)
        }
        Command::Verify(VerifyCommand::Math(args)) => verify_math(&args),
        Command::Verify(VerifyCommand::Code(args)) => verify_code(&args),
        Command::Convert(args) => print(&convert::convert(&args)?),
        Command::Serve(args) => {
            set_threads(args.decode.threads)?;
            let cancel = Cancel::default();
            stop_on_signal(cancel.clone())?;
            serve::serve(&args, secrets, &cancel, &mut |text| print(text))
        }
        Command::Chat(args) => {
            set_threads(args.decode.threads)?;
            talk::talk(&args, color)
        }
        Command::Teacher(TeacherCommand::Hosts(args)) => {
            print(&known::hosts(args.name.as_deref()).map_err(Misused::by)?)
        }
        Command::Teacher(TeacherCommand::Models(args)) => {
            print(&known::models(args.name.as_deref()).map_err(Misused::by)?)
        }
        Command::Teacher(TeacherCommand::Probe(args)) => {
            let recipe = recipe_of(&args.recipe, &args.overrides)?;
            let text = known::probe(&recipe, &Store::new(&args.store), args.json, secrets)?;
            print(&safe(&text, args.json))
        }
        Command::Teacher(TeacherCommand::Launch(args)) => {
            let recipe = recipe_of(&args.recipe, &args.overrides)?;
            let cancel = Cancel::default();
            stop_on_signal(cancel.clone())?;
            launch::launch(&recipe, &Store::new(&args.store), args.dry_run, &cancel, &mut |text| print(text))
        }
        Command::Doctor(args) => {
            let findings = doctor::look(&args.store);
            print(&if args.json { serde_json::to_string(&findings)? + "\n" } else { doctor::describe(&findings) })
        }
    }
}

fn run_recipe(args: &RecipeArgs, until: Until, secrets: Secrets<'_>) -> Result<()> {
    run_until(args, &recipe_of(&args.recipe, &args.overrides)?, until, secrets).map(drop)
}

/// How many stages were made.
fn run_until(args: &RecipeArgs, recipe: &Recipe, until: Until, secrets: Secrets<'_>) -> Result<usize> {
    set_threads(args.threads)?;
    // All cuts are read before anything is run.
    let cuts = cuts_of(recipe, args)?;
    [recipe].into_iter().chain(&cuts).try_for_each(|recipe| recipe.can(until)).map_err(Misused)?;
    let cancel = Cancel::default();
    stop_on_signal(cancel.clone())?;
    let run = |recipe: &Recipe| {
        let mut session = session(args, recipe, Mode::Run(until), Reporter::detect())?;
        session.cancel = cancel.clone();
        let outcome = run::run(&mut session, recipe, secrets);
        session.outside.remember();
        outcome?;
        let report = report::write(&session.folder)?;
        Ok((session, report))
    };
    let (session, report) = run(recipe)?;
    let made = session.num_made();
    if cuts.is_empty() || until == Until::Sample {
        print(&safe(&status::summary(&session, &report, args.json)?, args.json))?;
        return Ok(made);
    }
    let mut ran = vec![Ran { name: recipe.name.clone(), view: Ok(View::read(&session.folder)?) }];
    let mut failed = Vec::new();
    for (cut, name) in cuts.iter().zip(&recipe.cuts) {
        let view = match run(cut).and_then(|(session, _)| View::read(&session.folder)) {
            Ok(view) => Ok(view),
            // One that keeps nothing, say, is one that says so; the others go on.
            Err(error) if ending(&error) == Ending::Failed => {
                failed.push(name.as_str());
                Err(explain(&error))
            }
            Err(error) => return Err(error),
        };
        ran.push(Ran { name: name.clone(), view });
    }
    if args.json {
        print(&safe(&(serde_json::to_string_pretty(&cuts::as_value(&ran))? + "\n"), true))?;
    } else {
        print(&safe(&(status::summary(&session, &report, false)? + &cuts::render(&ran)), false))?;
    }
    anyhow::ensure!(failed.is_empty(), "of {} cuts, {} failed: {}", cuts.len(), failed.len(), failed.join(", "));
    Ok(made)
}

/// The recipe of a file, which is no file of data.
fn recipe_of(path: &Path, overrides: &[String]) -> Result<Recipe> {
    if distill_data_gen::format_of(path).is_some() {
        let file = path.display();
        let hint = format!(
            "`distill evaluate {file} --checkpoint DIR` measures a model on it, `distill filter {file} --with KIND` filters it; a recipe names it: `distill init my.toml`"
        );
        return Err(Misused(format!("{file}: expected a recipe (TOML), found a file of data\nhint: {hint}")).into());
    }
    Recipe::load(path, overrides)
}

/// The recipe's cuts, each a recipe of its own.
fn cuts_of(recipe: &Recipe, args: &RecipeArgs) -> Result<Vec<Recipe>> {
    recipe.cuts.iter().map(|name| Recipe::load_cut(&args.recipe, &args.overrides, Some(name))).collect()
}

/// A recipe ends in `.toml`; anything else is data.
fn is_recipe(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

fn evaluate(args: &EvaluateArgs, secrets: Secrets<'_>) -> Result<()> {
    if !is_recipe(&args.recipe.recipe) {
        let recipe = compared::recipe(args).map_err(|error| match error.is::<RecipeError>() {
            true => error,
            false => Misused::by(error).into(),
        })?;
        let made = run_until(&args.recipe, &recipe, Until::Evaluate, secrets)?;
        // Who is behind an address is not known: what was bought of this name before counts as this server's.
        if let (0, Some(url)) = (made, &args.endpoint) {
            let model = args.model.as_deref().unwrap_or_default();
            let note = format!(
                "note: nothing was asked of {url}: what is there was answered earlier under the name `{model}`, wherever that was served\nhint: an address is no part of who answers; `--served-as WORDS` tells two servers of one name apart"
            );
            let _ = writeln!(std::io::stderr(), "{}", printable(&note));
        }
        return Ok(());
    }
    let message = "`--checkpoint`, `--endpoint` and columns are for a file of problems: expected none beside a recipe\nhint: a recipe names who is compared in `[[evaluation.subjects]]`";
    anyhow::ensure!(!args.names_subject(), Misused(message.to_owned()));
    run_recipe(&args.recipe, Until::Evaluate, secrets)
}

fn filter(args: FilterArgs, secrets: Secrets<'_>) -> Result<()> {
    let FilterArgs { recipe, with, text, seed, out } = args;
    if is_recipe(&recipe.recipe) {
        let for_files = !with.is_empty() || text.is_some() || out.is_some();
        let message = "`--with`, `--text` and `--out` are for a file of data: expected none beside a recipe";
        anyhow::ensure!(!for_files, Misused(message.to_owned()));
        return run_recipe(&recipe, Until::Filter, secrets);
    }
    let for_recipes = !recipe.overrides.is_empty() || recipe.rank.is_some();
    let message = "`--set` and `--rank` are for a recipe: expected none beside a file\nhint: settings of a filter go behind its kind, e.g. `--with near-duplicates,threshold=0.7`";
    anyhow::ensure!(!for_recipes, Misused(message.to_owned()));
    let (file, threads, json) = (recipe.recipe, recipe.threads, recipe.json);
    let args = FileArgs { file, text, out, seed, threads, json };
    alone(&args, Task::filter(&args, &with))
}

/// Filters alone on a file. What cannot be begun was asked for wrongly.
fn alone(args: &FileArgs, task: Result<Task>) -> Result<()> {
    let task = task.map_err(Misused::by)?;
    set_threads(args.threads)?;
    print(&safe(&task.run(Reporter::detect(), stop_on_signal, args.json)?, args.json))
}

/// Problems are made aside, since all that is counted depends on them; nothing stays.
fn plan_recipe(args: &RecipeArgs, secrets: Secrets<'_>) -> Result<()> {
    set_threads(args.threads)?;
    let recipe = recipe_of(&args.recipe, &args.overrides)?;
    cuts_of(&recipe, args)?;
    let mut session = session(args, &recipe, Mode::Plan, Reporter::Bars)?;
    let aside = tempfile::Builder::new().prefix("distill-plan-").tempdir().context("no folder for temporary files")?;
    session.aside = Some(Store::new(aside.path()));
    stop_on_signal(session.cancel.clone())?;
    let begun = run::problems(&mut session, &recipe, secrets)?;
    run::onward(&mut session, &recipe, &begun, secrets)?;
    let plan = plan::render(&session, &recipe, (&begun, secrets), args.json)?;
    print(&safe(&plan.text, args.json))?;
    if plan.faults.is_empty() { Ok(()) } else { Err(Unfit { faults: plan.faults }.into()) }
}

/// Lines of mathematics handed to a thread at once.
const MATH_BATCH: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

fn verify_math(args: &VerifyMathArgs) -> Result<()> {
    let policy = verify::policy(&args.policy).map_err(Misused::by)?;
    let columns = Columns { gold: args.gold.clone(), ..Columns::of(&args.rows) };
    let input = input(&args.rows, &columns, Judged::Math)?;
    verify::judge(input, Pace::of(args.threads, MATH_BATCH), move |number, line: Result<&str, &str>| {
        verify::math(&policy, number, line)
    })
}

fn verify_code(args: &VerifyCodeArgs) -> Result<()> {
    let judges = verify::judges(args)?;
    let columns = Columns { tests: args.tests.clone(), language: args.language.clone(), ..Columns::of(&args.rows) };
    let input = input(&args.rows, &columns, Judged::Code)?;
    verify::judge(input, Pace::of(args.threads, NonZeroUsize::MIN), move |number, line: Result<&str, &str>| {
        verify::code(&judges, number, line)
    })
}

fn input(rows: &DataArgs, columns: &Columns, judged: Judged) -> Result<Input> {
    Ok(Input::open(rows.data.as_deref(), columns, judged).map_err(Misused::by)?)
}

fn session(args: &RecipeArgs, recipe: &Recipe, mode: Mode, reporter: Reporter) -> Result<Session> {
    let record = RunRecord {
        name: recipe.name.clone(),
        recipe: recipe.path.display().to_string(),
        overrides: recipe.overrides.clone(),
        seed: recipe.seed,
        store: args.place.store.display().to_string(),
        stages: Vec::new(),
    };
    let store = Store::new(&args.place.store);
    let mut session = Session::new(mode, store, &args.place.runs, &args.device, record, reporter);
    session.rank = rank::of(args.rank, args.world, &|name| std::env::var(name).ok()).map_err(Misused::by)?;
    session.wants_rows = !args.allow_empty;
    Ok(session)
}

/// The first signal asks for an orderly stop, the second ends the process.
fn stop_on_signal(cancel: Cancel) -> Result<()> {
    let handler = move || {
        if cancel.is_cancelled() {
            std::process::exit(Ending::Interrupted as i32);
        }
        let _ = writeln!(std::io::stderr(), "\nstopping in order; press Ctrl-C again to stop at once");
        cancel.cancel();
    };
    ctrlc::set_handler(handler).context("cannot watch for Ctrl-C")
}

fn set_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("cannot set the number of threads")
}

/// A run's folder, from a recipe's name, its file or the folder itself.
fn folder(args: &RunArgs) -> Result<PathBuf> {
    let given = Path::new(&args.run);
    let name = given.file_stem().unwrap_or_default();
    let candidates = [args.runs.join(&args.run), given.to_owned(), args.runs.join(name)];
    let found = candidates.iter().find(|folder| folder.join(record::FILE).is_file());
    let missing = || {
        let expected = candidates[0].join(record::FILE);
        let hint = "`distill list` names the runs that are there, `distill run RECIPE` makes one";
        Misused(format!("no run `{}`: expected {}\nhint: {hint}", args.run, expected.display()))
    };
    Ok(found.cloned().ok_or_else(missing)?)
}

/// Text or JSON that a terminal does not obey.
fn safe(text: &str, is_json: bool) -> String {
    if is_json { printable_json(text) } else { printable(text) }
}

/// Writes data to standard output; a reader that went away is not an error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Problems that cannot be had as the recipe asks for them: nothing was bought.
fn is_unfit(cause: &(dyn std::error::Error + 'static)) -> bool {
    use distill_data_gen::ProblemsError::{Dataset, EmptyFolder, File, Holdout, Nothing, TooFew};
    use distill_dataset::DatasetError::{Column, Foreign};
    let unfit = |foreign: &distill_dataset::DatasetError| matches!(foreign, Column { .. } | Foreign { .. });
    match cause.downcast_ref() {
        Some(EmptyFolder { .. } | File { .. } | Holdout { .. } | Nothing { .. } | TooFew { .. }) => true,
        // A table of ours that is damaged is no matter of the recipe.
        Some(Dataset(error)) => unfit(error),
        _ => cause.downcast_ref().is_some_and(unfit),
    }
}

fn ending(error: &anyhow::Error) -> Ending {
    let is = |wanted: fn(&(dyn std::error::Error + 'static)) -> bool| error.chain().any(wanted);
    if error.is::<RecipeError>() || is(|cause| cause.is::<Misused>() || cause.is::<Unfit>() || is_unfit(cause)) {
        Ending::UsedWrongly
    } else if is(|cause| {
        matches!(cause.downcast_ref(), Some(distill_data_gen::SamplingError::Budget { .. }))
            || matches!(cause.downcast_ref(), Some(distill_evaluate::EvaluateError::Budget { .. }))
    }) {
        Ending::Budget
    } else if is(|cause| cause.is::<Interrupted>()) {
        Ending::Interrupted
    } else {
        Ending::Failed
    }
}
