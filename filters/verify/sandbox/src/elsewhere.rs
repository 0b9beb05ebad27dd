//! Systems without these namespaces: the same names, and an honest no.

use crate::{Capped, End, Job, Launcher, Layers, SandboxError, Stopped, View};
use std::{convert::Infallible, process::ExitCode};

/// Cannot exist here.
#[derive(Debug)]
pub struct Worker(Infallible);

/// Cannot exist here.
#[derive(Debug)]
pub struct Process(Infallible);

/// What happened to one of several processes.
#[derive(Debug)]
pub enum Event {
    /// A frame came out of its channel.
    Frame(usize, Vec<u8>),
    /// It ended; nothing more comes.
    Ended(usize),
}

impl Worker {
    /// Says that there is no isolation here.
    ///
    /// # Errors
    /// Always.
    pub fn start(_: &Launcher, _: &View) -> Result<Worker, SandboxError> {
        Err(SandboxError::Unsupported)
    }

    /// What holds.
    pub fn layers(&self) -> &Layers {
        match self.0 {}
    }

    /// Begins a run.
    ///
    /// # Errors
    /// Never called.
    pub fn begin(&mut self, _: &Job) -> Result<Process, SandboxError> {
        match self.0 {}
    }

    /// Runs one program to its end.
    ///
    /// # Errors
    /// Never called.
    pub fn run(&mut self, _: &Job) -> Result<Process, SandboxError> {
        match self.0 {}
    }

    /// Asks for the end of a run.
    ///
    /// # Errors
    /// Never called.
    pub fn stop(&mut self, _: &mut Process, _: Stopped) -> Result<(), SandboxError> {
        match self.0 {}
    }

    /// Waits for the next thing to happen.
    ///
    /// # Errors
    /// Never called.
    pub fn next(&mut self, _: &mut [Process]) -> Result<Event, SandboxError> {
        match self.0 {}
    }
}

impl Process {
    /// How it ended.
    ///
    /// # Errors
    /// Never called.
    pub fn end(&self) -> Result<&End, SandboxError> {
        match self.0 {}
    }

    /// Whether it ended.
    pub fn has_ended(&self) -> bool {
        match self.0 {}
    }

    /// The file that was brought back.
    pub fn collected(&self) -> Option<&[u8]> {
        match self.0 {}
    }

    /// Its standard output so far.
    pub fn stdout(&self) -> &Capped {
        match self.0 {}
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> &Capped {
        match self.0 {}
    }

    /// Sends a frame.
    pub fn send(&mut self, _: &[&[u8]]) {
        match self.0 {}
    }
}

/// Says that there is no isolation here.
pub fn supervise() -> ExitCode {
    ExitCode::FAILURE
}
