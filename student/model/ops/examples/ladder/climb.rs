//! How a rung is climbed: on the device, by definition, compared, timed, told.

use crate::{
    Entry,
    case::{Allowed, Case, Data, Full, Model, Room, Size, Span, Step},
    freivalds::{self, Held},
};
use burn::tensor::Device;
use distill_ops::{At, Buffer, Call, Dtype, Engine, OpsError, Product};
use rayon::prelude::*;
use std::{
    borrow::Cow,
    error::Error,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

/// Bytes and operations a second that predictions count with.
const BYTES: f64 = 3.0e12;
const FLOPS_BF16: f64 = 700e12;
const FLOPS_F32: f64 = 50e12;
/// How long a batch of runs that is timed takes at least, in seconds.
const BATCH: f64 = 2e-3;
const MOST_RUNS: usize = 64;
/// Numbers that a thread compares at once.
const CHUNK: usize = 1 << 16;

type Failure = Box<dyn Error>;

/// The device, and what was found on it.
pub(crate) struct Climb {
    pub(crate) engine: Engine,
    pub(crate) device: Device,
    pub(crate) is_host: bool,
    pub(crate) failed: bool,
    /// Seconds until the device could be used.
    pub(crate) opened: f64,
    broken: Option<String>,
    /// A number to be read, so that all before it is waited for.
    spare: Buffer,
    /// Seconds that waiting takes where there is nothing to wait for.
    idle: f64,
    /// When the last line was told.
    told: Instant,
}

/// How far what was found is from what it should be.
struct Found {
    l2: f64,
    worst: f64,
    allowed: Allowed,
}

impl Found {
    /// Over what is allowed; more than 1 is wrong.
    fn ratio(&self) -> f64 {
        let over = |value: f64, allowed: f64| if value == 0.0 { 0.0 } else { value / allowed };
        let (l2, worst) = (over(self.l2, self.allowed.l2), over(self.worst, self.allowed.worst));
        if l2.is_nan() || worst.is_nan() { f64::INFINITY } else { l2.max(worst) }
    }
}

/// A rung in words.
struct Told<'a> {
    entry: &'a Entry,
    model: &'a Model,
    dtype: Dtype,
    step: &'a Step,
}

/// Where a rung of full size is looked at: the case as a whole, on the device and by definition.
struct Scene<'a> {
    told: Told<'a>,
    case: &'a Case,
    index: usize,
    on: &'a [Buffer],
}

impl Climb {
    pub(crate) fn new(device: &Device, is_host: bool, broken: Option<String>) -> Result<Climb, Failure> {
        let begin = Instant::now();
        let mut engine = Engine::new(device)?;
        let spare = engine.zeros(Dtype::F32, 1)?;
        engine.read(spare.start(), 1)?;
        let opened = begin.elapsed().as_secs_f64();
        let mut climb = Climb {
            engine,
            device: device.clone(),
            is_host,
            failed: false,
            opened,
            broken,
            spare,
            idle: 0.0,
            told: begin,
        };
        let mut waits = Vec::new();
        for _ in 0..20 {
            let begin = Instant::now();
            climb.wait()?;
            waits.push(begin.elapsed().as_secs_f64());
        }
        climb.idle = median(waits);
        Ok(climb)
    }

    /// Until all is done that was asked before.
    pub(crate) fn wait(&mut self) -> Result<(), OpsError> {
        self.engine.read(self.spare.start(), 1).map(|_| ())
    }

    /// A rung that tells its own findings: more fields of a line, or why it failed.
    pub(crate) fn probe(
        &mut self,
        group: &str,
        name: &str,
        probe: fn(&mut Climb) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let head = format!("\"group\": {}, \"rung\": {}", quoted(group), quoted(name));
        let found = guarded(|| probe(self));
        let ok = found.is_ok();
        let fields = found.unwrap_or_else(|why| format!("\"why\": {}", quoted(&why.to_string())));
        self.line(&format!("{head}, {fields}"), ok)
    }

    /// All of what a few rows come to, against the definition.
    pub(crate) fn small(&mut self, entry: &Entry, model: &Model, dtype: Dtype, rows: usize) -> Result<(), Failure> {
        let case = (entry.build)(model, dtype, Size::Small(rows));
        let mut host = Engine::new(&Device::flex())?;
        let (mut on, mut by_definition) = (Vec::new(), Vec::new());
        for (index, room) in case.rooms.iter().enumerate() {
            let data = room.data(seed(entry, index));
            on.push(placed(&mut self.engine, room, &data)?);
            by_definition.push(placed(&mut host, room, &data)?);
        }
        for step in &case.steps {
            let told = Told { entry, model, dtype, step };
            let found = guarded(|| {
                host.run(&(step.calls)(&by_definition))?;
                let ran = self.engine.run(&(step.calls)(&on));
                let mut worst: Option<Found> = None;
                for (room, allowed) in &step.outputs {
                    let len = case.rooms[*room].len;
                    let want = host.read(by_definition[*room].start(), len)?;
                    if ran.is_ok() {
                        self.spoil(step, &on, *room, len)?;
                        let got = self.engine.read(on[*room].start(), len)?;
                        worse(&mut worst, compared(&got, &want, *allowed));
                    }
                    // The next step begins with what this one should have come to.
                    self.engine.write(on[*room].start(), &want)?;
                }
                ran?;
                worst.ok_or_else(|| "nothing was written".into())
            });
            self.tell(&told, "definition", found, None)?;
        }
        on.into_iter().try_for_each(|buffer| self.engine.free(buffer))?;
        Ok(())
    }

    /// A rung as large as training has it.
    pub(crate) fn full(&mut self, entry: &Entry, model: &Model, dtype: Dtype, rows: usize) -> Result<(), Failure> {
        let case = (entry.build)(model, dtype, Size::Full(rows));
        let mut host = Engine::new(&Device::flex())?;
        let defines = case.steps.iter().any(|step| step.full == Full::Whole);
        let (mut on, mut by_definition, mut state) = (Vec::new(), Vec::new(), Vec::new());
        for (index, room) in case.rooms.iter().enumerate() {
            let data = room.data(seed(entry, index));
            on.push(placed(&mut self.engine, room, &data)?);
            if defines {
                by_definition.push(placed(&mut host, room, &data)?);
            }
            state.push(data);
        }
        for (index, step) in case.steps.iter().enumerate() {
            let told = Told { entry, model, dtype, step };
            let scene = Scene { told, case: &case, index, on: &on };
            let mut got = Vec::new();
            let found = guarded(|| {
                got = self.ran(&scene, &state)?;
                match step.full {
                    Full::Whole => defined(&mut host, &by_definition, &scene, &got),
                    Full::Rows(rows) => sliced(&scene, &state, &got, rows),
                    Full::Freivalds => multiplied(&scene, &state, &got),
                    Full::Repeated => Ok(Found { l2: 0.0, worst: 0.0, allowed: Allowed::EXACT }),
                }
            });
            let timed = if found.is_ok() { guarded(|| Ok(self.timed(&(step.calls)(&on))?)).ok() } else { None };
            let check = match step.full {
                Full::Whole => "definition, twice".to_owned(),
                Full::Rows(rows) => format!("definition of the first and last {rows} rows, twice"),
                Full::Freivalds => "freivalds".to_owned(),
                Full::Repeated => "twice".to_owned(),
            };
            self.tell(&scene.told, &check, found, timed)?;
            // What follows begins with what the device came to the first time, or if it failed, with what was there before.
            for (place, (room, _)) in step.outputs.iter().enumerate() {
                if let Some(values) = got.get_mut(place) {
                    state[*room] = Data::Floats(std::mem::take(values));
                }
                let _ = guarded(|| self.restored(&case.rooms[*room], on[*room], &state[*room]));
                if let Some(buffer) = by_definition.get(*room) {
                    put(&mut host, &case.rooms[*room], *buffer, &state[*room])?;
                }
            }
        }
        on.into_iter().try_for_each(|buffer| self.engine.free(buffer))?;
        Ok(())
    }

    fn restored(&mut self, room: &Room, buffer: Buffer, data: &Data) -> Result<(), Failure> {
        Ok(put(&mut self.engine, room, buffer, data)?)
    }

    /// What a step writes; where that is not checked by Freivalds, after a second run gave the same.
    fn ran(&mut self, scene: &Scene, state: &[Data]) -> Result<Vec<Vec<f32>>, Failure> {
        let (case, step, on) = (scene.case, scene.told.step, scene.on);
        let calls = (step.calls)(on);
        self.engine.run(&calls)?;
        let mut got = Vec::new();
        for (room, _) in &step.outputs {
            let len = case.rooms[*room].len;
            self.spoil(step, on, *room, len)?;
            got.push(self.engine.read(on[*room].start(), len)?);
        }
        if step.full == Full::Freivalds {
            return Ok(got);
        }
        for (room, _) in &step.outputs {
            self.restored(&case.rooms[*room], on[*room], &state[*room])?;
        }
        self.engine.run(&calls)?;
        for ((room, _), first) in step.outputs.iter().zip(&got) {
            let second = self.engine.read(on[*room].start(), first.len())?;
            let differ = first.par_iter().zip(&second).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
            if differ > 0 {
                return Err(format!("a second run differs in {differ} of {} numbers", first.len()).into());
            }
        }
        Ok(got)
    }

    /// Spoils one number of what a rung that is to fail wrote: as far off as the largest beside it is large.
    fn spoil(&mut self, step: &Step, on: &[Buffer], room: usize, len: usize) -> Result<(), Failure> {
        if !self.broken.as_ref().is_some_and(|name| step.name.contains(name.as_str())) {
            return Ok(());
        }
        let (offset, beside) = product_of(&(step.calls)(on)).map_or((len / 3, len - len / 3), |product| {
            let (out, before) = (product.out, product.out.columns / 2);
            let row = out.at.offset + (product.batch - 1) * out.batch_stride + out.rows / 3 * out.stride;
            (row + before, out.columns - before)
        });
        let at = on[room].at(offset);
        let values = self.engine.read(at, beside.min(64))?;
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let off = if largest > 0.0 { largest.copysign(-values[0]) } else { 1.0 };
        self.engine.write(at, &[values[0] + 2.0 * off])?;
        Ok(())
    }

    /// Seconds of one run, and how many were timed together.
    fn timed(&mut self, calls: &[Call]) -> Result<(f64, usize), OpsError> {
        let batch = |climb: &mut Climb, runs: usize| {
            let begin = Instant::now();
            (0..runs).try_for_each(|_| climb.engine.run(calls))?;
            climb.wait()?;
            Ok::<f64, OpsError>((begin.elapsed().as_secs_f64() - climb.idle).max(0.0) / runs as f64)
        };
        let first = batch(self, 1)?;
        let runs = ((BATCH / first.max(1e-9)).ceil() as usize).clamp(1, MOST_RUNS);
        let batches = if self.is_host || first > 0.2 { 1 } else { 10 };
        let times = (0..batches).map(|_| batch(self, if self.is_host { 1 } else { runs })).collect::<Result<_, _>>()?;
        Ok((median(times), runs))
    }

    fn tell(
        &mut self,
        told: &Told,
        check: &str,
        found: Result<Found, Failure>,
        timed: Option<(f64, usize)>,
    ) -> Result<(), Failure> {
        let Told { entry, model, dtype, step } = told;
        let mut line = format!(
            "\"group\": {}, \"rung\": {}, \"model\": {}, \"shape\": {}, \"dtype\": \"{}\", \"check\": {}",
            quoted(entry.group),
            quoted(&step.name),
            quoted(model.name),
            quoted(&step.shape),
            if *dtype == Dtype::Bf16 { "bfloat16" } else { "float32" },
            quoted(check)
        );
        let ok = found.as_ref().is_ok_and(|found| found.ratio() <= 1.0);
        match &found {
            Ok(Found { l2, worst, allowed }) => {
                line += &format!(
                    ", \"error\": {}, \"allowed\": {}, \"worst\": {}, \"worst_allowed\": {}",
                    number(*l2),
                    number(allowed.l2),
                    number(*worst),
                    number(allowed.worst)
                )
            }
            Err(why) => line += &format!(", \"why\": {}", quoted(&why.to_string())),
        }
        if let Some((seconds, runs)) = timed {
            let flops = if *dtype == Dtype::Bf16 { FLOPS_BF16 } else { FLOPS_F32 };
            let predicted = (step.bytes / BYTES).max(step.flops / flops);
            let rate = if step.flops > 0.0 {
                format!("\"tflop_s\": {}", number(step.flops / seconds / 1e12))
            } else {
                format!("\"gb_s\": {}", number(step.bytes / seconds / 1e9))
            };
            let (ms, predicted) = (number(1e3 * seconds), number(1e3 * predicted));
            line += &format!(", \"ms\": {ms}, \"runs\": {runs}, {rate}, \"predicted_ms\": {predicted}");
        }
        self.line(&line, ok)
    }

    /// Ends a line with how long all of it took, and whether it is right.
    fn line(&mut self, fields: &str, ok: bool) -> Result<(), Failure> {
        self.failed |= !ok;
        let seconds = self.told.elapsed().as_secs_f64();
        self.told = Instant::now();
        Ok(print(&format!("{{{fields}, \"seconds\": {seconds:.3}, \"ok\": {ok}}}"))?)
    }
}

/// All of what the definition comes to.
fn defined(host: &mut Engine, on: &[Buffer], scene: &Scene, got: &[Vec<f32>]) -> Result<Found, Failure> {
    let step = scene.told.step;
    host.run(&(step.calls)(on))?;
    let mut worst = None;
    for ((room, allowed), got) in step.outputs.iter().zip(got) {
        let want = host.read(on[*room].start(), got.len())?;
        worse(&mut worst, compared(got, &want, *allowed));
    }
    worst.ok_or_else(|| "nothing was written".into())
}

/// What the definition comes to for the first and the last rows alone.
fn sliced(scene: &Scene, state: &[Data], got: &[Vec<f32>], rows: usize) -> Result<Found, Failure> {
    let Told { entry, model, dtype, step } = scene.told;
    let slice = (entry.build)(model, dtype, Size::Slice(rows));
    let mut worst = None;
    for is_last in [false, true] {
        let mut host = Engine::new(&Device::flex())?;
        let mut on = Vec::new();
        for (index, room) in slice.rooms.iter().enumerate() {
            let whole = &scene.case.rooms[index];
            let data = match (&state[index], room.span) {
                (Data::Floats(values), Span::Whole) if values.len() == room.len => Data::Floats(values.clone()),
                (_, Span::Whole) => room.data(seed(entry, index)),
                (Data::Zeros, _) => Data::Zeros,
                (Data::Floats(values), _) => Data::Floats(part(values, room, whole, rows, is_last)),
                (Data::Ints(values), _) => Data::Ints(part(values, room, whole, rows, is_last)),
            };
            on.push(placed(&mut host, room, &data)?);
        }
        host.run(&(slice.steps[scene.index].calls)(&on))?;
        for ((index, allowed), got) in step.outputs.iter().zip(got) {
            let (room, whole) = (&slice.rooms[*index], &scene.case.rooms[*index]);
            if room.span != Span::Whole {
                let want = host.read(on[*index].start(), room.len)?;
                worse(&mut worst, compared(&part(got, room, whole, rows, is_last), &want, *allowed));
            }
        }
    }
    worst.ok_or_else(|| "nothing of what was written has rows".into())
}

/// The first or last rows of a buffer.
fn part<T: Copy>(values: &[T], room: &Room, whole: &Room, rows: usize, is_last: bool) -> Vec<T> {
    let width = room.len / rows;
    let all = whole.len / width;
    let first = if is_last { all - rows } else { 0 };
    if room.span == Span::Rows {
        return values[first * width..(first + rows) * width].to_vec();
    }
    (0..width).flat_map(|column| values[column * all + first..][..rows].iter().copied()).collect()
}

/// Freivalds' sums of a step's product.
fn multiplied(scene: &Scene, state: &[Data], got: &[Vec<f32>]) -> Result<Found, Failure> {
    let product = product_of(&(scene.told.step.calls)(scene.on)).ok_or("expected a product")?;
    let of = |at: At| -> Result<Cow<[f32]>, Failure> {
        let room = scene.on.iter().position(|buffer| *buffer == at.buffer).ok_or("a buffer of another case")?;
        match &state[room] {
            Data::Floats(values) => Ok(Cow::Borrowed(values)),
            Data::Zeros => Ok(Cow::Owned(vec![0.0; scene.case.rooms[room].len])),
            Data::Ints(_) => Err("integers in a product".into()),
        }
    };
    let (a, b, added) = (of(product.a.at)?, of(product.b.at)?, product.added.map(of).transpose()?);
    let held = Held { a: &a, b: &b, added: added.as_deref(), out: &got[0] };
    let sums = freivalds::sums(&product, &held);
    Ok(compared_beside(&sums.got, &sums.want, sums.size, Allowed::of_sums(product.out.at.dtype())))
}

fn product_of(calls: &[Call]) -> Option<Product> {
    calls.iter().find_map(|call| if let Call::Product(product) = call { Some(*product) } else { None })
}

fn compared(got: &[f32], want: &[f32], allowed: Allowed) -> Found {
    let square = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    compared_beside(got, want, want.par_chunks(CHUNK).map(square).sum(), allowed)
}

/// Of numbers whose squares add up to `size`, or should.
fn compared_beside<T: Copy + Into<f64> + Sync>(got: &[T], want: &[T], size: f64, allowed: Allowed) -> Found {
    let floor = allowed.floor * (size / want.len().max(1) as f64).sqrt() + 1e-30;
    let apart = |(got, want): (&[T], &[T])| {
        got.iter().zip(want).fold((0.0_f64, 0.0_f64), |(square, worst), (got, want)| {
            let (got, want): (f64, f64) = ((*got).into(), (*want).into());
            // Infinities that agree are no distance; a NaN is the largest.
            let apart = if got == want { 0.0 } else { (got - want).abs() };
            let over = if apart.is_nan() { f64::INFINITY } else { apart / (want.abs() + floor) };
            (square + if apart.is_nan() { f64::INFINITY } else { apart * apart }, worst.max(over))
        })
    };
    let (square, worst) = got
        .par_chunks(CHUNK)
        .zip(want.par_chunks(CHUNK))
        .map(apart)
        .reduce(|| (0.0, 0.0), |(a, b), (c, d)| (a + c, b.max(d)));
    let l2 = if square == 0.0 { 0.0 } else { (square / size.max(1e-60)).sqrt() };
    if got.len() == want.len() {
        Found { l2, worst, allowed }
    } else {
        Found { l2: f64::NAN, worst: f64::NAN, allowed }
    }
}

/// Keeps the one that is further beyond what is allowed.
fn worse(worst: &mut Option<Found>, found: Found) {
    if worst.as_ref().is_none_or(|worst| found.ratio() > worst.ratio()) {
        *worst = Some(found);
    }
}

fn placed(engine: &mut Engine, room: &Room, data: &Data) -> Result<Buffer, OpsError> {
    let buffer = engine.zeros(room.dtype, room.len)?;
    if !matches!(data, Data::Zeros) {
        put(engine, room, buffer, data)?;
    }
    Ok(buffer)
}

fn put(engine: &mut Engine, room: &Room, buffer: Buffer, data: &Data) -> Result<(), OpsError> {
    match data {
        Data::Zeros => engine.run(&[Call::Zero(buffer.start(), room.len)]),
        Data::Floats(values) => engine.write(buffer.start(), values),
        Data::Ints(values) => engine.write_ints(buffer.start(), values),
    }
}

/// Of a buffer's random numbers: the same for every size.
fn seed(entry: &Entry, room: usize) -> u64 {
    entry.name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
        ^ ((room as u64 + 1) << 32)
}

/// What it comes to; a panic is a failure with its message.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("a panic: {}", text.unwrap_or("without a message")).into())
    })
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A line that is there whatever happens next.
pub(crate) fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())?;
    out.flush()
}

/// As JSON has it.
pub(crate) fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|letter| match letter {
        '"' | '\\' => format!("\\{letter}"),
        letter if letter.is_control() => format!("\\u{:04x}", u32::from(letter)),
        letter => letter.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// A number as JSON has it, which knows no infinity.
pub(crate) fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.4e}") } else { "null".to_owned() }
}
