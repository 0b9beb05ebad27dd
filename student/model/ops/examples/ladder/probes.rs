//! Rungs that are not compared: that the device can be used, that failures are told, what a launch costs the host.

use crate::climb::{Climb, guarded, median, number, quoted};
use distill_ops::{Call, Dtype, Engine, Entry, Form, Kernel, Launch, Matrix, Memory, OpsError, Product, Watch};
use std::{
    error::Error,
    time::{Duration, Instant},
};

type Probe = fn(&mut Climb) -> Result<String, Box<dyn Error>>;

pub(crate) const PROBES: &[(&str, &str, Probe)] = &[
    ("open", "open", open),
    ("failures", "a product with a freed buffer fails", freed),
    ("failures", "a launch with too many threads fails", too_many),
    ("failures", "a kernel that does not exist fails", unknown),
    ("host", "host product 64", host),
    ("hang_read", "a kernel without end is told by what waits for it", hang_read),
    ("hang_queue", "a kernel without end is told while more is started", hang_queue),
    ("hang_checked", "a kernel without end is named where calls are checked", hang_checked),
];

fn open(climb: &mut Climb) -> Result<String, Box<dyn Error>> {
    let free = climb.engine.free_memory().map_or("null".to_owned(), |bytes| (bytes >> 20).to_string());
    let (device, opened) = (quoted(&climb.engine.describe()), number(climb.opened));
    Ok(format!("\"device\": {device}, \"opened_s\": {opened}, \"free_mib\": {free}"))
}

/// Three matrices of 64 by 64.
struct Squares([distill_ops::Buffer; 3]);

impl Squares {
    fn new(climb: &mut Climb) -> Result<Squares, OpsError> {
        let mut zeros = || climb.engine.zeros(Dtype::Bf16, 64 * 64);
        let squares = Squares([zeros()?, zeros()?, zeros()?]);
        for buffer in &squares.0[..2] {
            climb.engine.write(buffer.start(), &[0.5; 64 * 64])?;
        }
        Ok(squares)
    }

    fn product(&self) -> Call {
        let [a, b, out] = self.0.map(|buffer| Matrix::new(buffer.start(), 64, 64));
        Product::new(Form::Nn, a, b, out).into()
    }

    fn free(self, climb: &mut Climb) -> Result<(), OpsError> {
        self.0.into_iter().try_for_each(|buffer| climb.engine.free(buffer))
    }
}

/// Runs what must fail with `name` in its message, then what must not.
fn refused(climb: &mut Climb, call: Call, name: &str) -> Result<String, Box<dyn Error>> {
    let is_host = climb.is_host;
    let ran = guarded(|| {
        climb.engine.run(&[call])?;
        Ok(climb.wait()?)
    });
    let Err(told) = ran else { return Err("it ran as if nothing were wrong".into()) };
    let told = told.to_string();
    // The processor has no way to fail but a panic, which has no name.
    if !is_host && !told.contains(name) {
        return Err(format!("expected {name:?} in the message, found: {told}").into());
    }
    let squares = Squares::new(climb)?;
    climb.engine.run(&[squares.product()])?;
    let value = climb.engine.read(squares.0[2].at(77), 1)?[0];
    squares.free(climb)?;
    if value != 16.0 {
        return Err(format!("a product after the failure: expected 16, found {value}").into());
    }
    Ok(format!("\"told\": {}", quoted(&told)))
}

fn freed(climb: &mut Climb) -> Result<String, Box<dyn Error>> {
    let squares = Squares::new(climb)?;
    let call = squares.product();
    let [gone, b, out] = squares.0;
    climb.engine.free(gone)?;
    let told = refused(climb, call, "product Nn 64 x 64 x 64");
    [b, out].into_iter().try_for_each(|buffer| climb.engine.free(buffer))?;
    told
}

/// A cast that asks for more threads than a block has, or for a kernel that is not there.
#[derive(Debug)]
struct Wrong {
    name: &'static str,
    threads: u32,
    y: distill_ops::At,
    x: distill_ops::At,
}

impl Kernel for Wrong {
    fn launch(&self) -> Launch {
        let args = vec![self.y.into(), self.x.into(), distill_ops::Arg::Long(64)];
        let entry = Entry::Plain { name: self.name.to_owned(), grid: [1, 1, 1], threads: self.threads };
        Launch { entry, args }
    }

    fn define(&self, _: &mut Memory) {
        panic!("{}: there is no such launch", self.name);
    }
}

fn wrong(climb: &mut Climb, name: &'static str, threads: u32) -> Result<String, Box<dyn Error>> {
    let (y, x) = (climb.engine.zeros(Dtype::Bf16, 64)?, climb.engine.zeros(Dtype::F32, 64)?);
    let told = refused(climb, Wrong { name, threads, y: y.start(), x: x.start() }.into(), name);
    [y, x].into_iter().try_for_each(|buffer| climb.engine.free(buffer))?;
    told
}

fn too_many(climb: &mut Climb) -> Result<String, Box<dyn Error>> {
    wrong(climb, "cast_bf16", 4096)
}

fn unknown(climb: &mut Climb) -> Result<String, Box<dyn Error>> {
    wrong(climb, "no_such_kernel", 256)
}

/// Microseconds of the host for a product of 64 by 64 in bfloat16: one call after the other, all in one list, and with a
/// buffer allocated and given back between, which is what a bracket with CubeCL costs.
fn host(climb: &mut Climb) -> Result<String, Box<dyn Error>> {
    const CALLS: usize = 1000;
    let squares = Squares::new(climb)?;
    let list: Vec<Call> = (0..CALLS).map(|_| squares.product()).collect();
    climb.engine.run(&list[..1])?;
    climb.wait()?;
    let mut measured = |work: &mut dyn FnMut(&mut Climb) -> Result<(), OpsError>| {
        let mut times = Vec::new();
        for _ in 0..3 {
            let begin = Instant::now();
            work(climb)?;
            times.push(begin.elapsed().as_secs_f64() * 1e6 / CALLS as f64);
            climb.wait()?;
        }
        Ok::<f64, OpsError>(median(times))
    };
    let single = measured(&mut |climb| list.iter().try_for_each(|call| climb.engine.run(std::slice::from_ref(call))))?;
    let listed = measured(&mut |climb| climb.engine.run(&list))?;
    let bracketed = measured(&mut |climb| {
        list.iter().try_for_each(|call| {
            let buffer = climb.engine.zeros(Dtype::Bf16, 64 * 64)?;
            climb.engine.run(std::slice::from_ref(call))?;
            climb.engine.free(buffer)
        })
    })?;
    squares.free(climb)?;
    let [single, listed, bracketed] = [single, listed, bracketed].map(number);
    Ok(format!("\"host_us\": {single}, \"listed_us\": {listed}, \"with_allocation_us\": {bracketed}"))
}

/// A kernel that does not end.
#[derive(Debug)]
struct Spin(distill_ops::At);

impl Kernel for Spin {
    fn launch(&self) -> Launch {
        let entry = Entry::Plain { name: "spin".to_owned(), grid: [1, 1, 1], threads: 1 };
        Launch { entry, args: vec![self.0.into()] }
    }

    fn define(&self, _: &mut Memory) {
        panic!("spin: it would not end");
    }
}

/// Starts work that does not end, and `more` products behind it: an error that has all the `words` comes soon, the next call
/// is refused at once, and the process can still end, which is seen from outside. A card that hangs cannot be used again, so
/// each of these rungs has a process of its own.
fn hang(climb: &mut Climb, checked: bool, more: usize, words: &[&str]) -> Result<String, Box<dyn Error>> {
    let is_host = climb.is_host;
    climb.engine = Engine::with(&climb.device, Watch { checked, patience: Duration::from_secs(2) })?;
    let squares = Squares::new(climb)?;
    let until = climb.engine.zeros(Dtype::I32, 1)?;
    // As in the midst of a training: what is loaded first while the card hangs blocks within the driver.
    climb.engine.run(&[squares.product()])?;
    climb.engine.read(squares.0[2].start(), 1)?;
    let begin = Instant::now();
    let ran = guarded(|| {
        climb.engine.run(&[Spin(until.start()).into()])?;
        for _ in 0..more {
            climb.engine.run(&[squares.product()])?;
        }
        Ok(climb.engine.read(squares.0[2].start(), 1)?)
    });
    let seconds = begin.elapsed().as_secs_f64();
    let Err(told) = ran else { return Err("it ended".into()) };
    let told = told.to_string();
    if !is_host && !words.iter().all(|word| told.contains(word)) {
        return Err(format!("expected {words:?} in the message, found: {told}").into());
    }
    if !is_host && climb.engine.run(&[squares.product()]).is_ok() {
        return Err("a call after it was accepted".into());
    }
    Ok(format!("\"told\": {}, \"told_after_s\": {}", quoted(&told), number(seconds)))
}

fn hang_read(climb: &mut Climb) -> Result<String, Box<dyn Error>> {
    hang(climb, false, 10, &["a read", "not finished after 2 s"])
}

/// More launches than the driver takes before it blocks.
fn hang_queue(climb: &mut Climb) -> Result<String, Box<dyn Error>> {
    hang(climb, false, 5000, &["what was started before product Nn 64 x 64 x 64", "not finished after 2 s"])
}

fn hang_checked(climb: &mut Climb) -> Result<String, Box<dyn Error>> {
    hang(climb, true, 10, &["spin", "not finished after 2 s"])
}
