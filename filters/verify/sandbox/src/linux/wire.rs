//! Messages between a program and its supervisor, and between the supervisor and its cells: JSON in a sequenced packet,
//! descriptors beside it.

use crate::{End, Layers, Limits, Start, Stopped, View};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Longest message; a view with an interpreter's harness is the largest.
const MAX_MESSAGE: usize = 128 << 10;
/// Most descriptors beside one message.
pub(super) const MAX_DESCRIPTORS: usize = 64;

/// What a program asks of its supervisor.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// First of all: what cells see.
    Setup(View),
    /// A run. Descriptors: standard input, output, error; with a channel its two ends; with a group its entrance;
    /// then the files.
    Begin(Begin),
    /// Ends a run.
    Stop { id: u64, why: Stopped },
}

/// A run.
#[derive(Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) id: u64,
    pub(super) start: Start,
    pub(super) limits: Limits,
    pub(super) channel: bool,
    /// Whether there is a control group to enter.
    pub(super) group: bool,
    /// Names of the files, and whether they may be executed.
    pub(super) files: Vec<(String, bool)>,
    pub(super) collect: Option<String>,
}

impl Begin {
    /// How many descriptors become the program's own: its streams and its channel.
    pub(super) fn streams(&self) -> usize {
        if self.channel { 5 } else { 3 }
    }
}

/// What a supervisor tells.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Report {
    /// Programs may be run.
    Ready(Layers),
    /// A layer is missing.
    Missing { layer: crate::Layer, why: String },
    /// The interpreter did not start.
    Cold { why: String },
    /// A run ended. Descriptor: the collected file, if it was there.
    Ended { id: u64, end: End },
    /// A run could not be started, or its end is not known.
    Failed { id: u64, why: String },
}

/// What a cell tells the worker.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CellReport {
    /// Everything is mounted. Descriptors: its pid, mount and ipc namespaces; for a warm interpreter the Landlock ruleset,
    /// where there is one.
    Ready,
    /// The program began.
    Started,
    /// The program ended.
    Ended { how: crate::How, cpu_ms: u64, memory_bytes: u64 },
    /// Something did not work.
    Failed(String),
}

/// Two ends of a packet socket, neither inherited.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a message with descriptors.
pub(super) fn send<M: Serialize>(socket: impl AsFd, message: &M, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_bytes(socket, &serde_json::to_vec(message)?, descriptors)
}

/// Sends bytes with descriptors.
pub(super) fn send_bytes(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.len() > MAX_MESSAGE || descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "a message of {} bytes and {} descriptors; at most {MAX_MESSAGE} and {MAX_DESCRIPTORS} can be sent",
                bytes.len(),
                descriptors.len()
            ),
        ));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return Ok(other.map(drop)?),
        }
    }
}

/// Receives a message with its descriptors; `None` when the other end is gone.
pub(super) fn receive<M: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let Some((bytes, descriptors)) = receive_bytes(socket)? else { return Ok(None) };
    Ok(Some((serde_json::from_slice(&bytes)?, descriptors)))
}

/// Receives bytes with descriptors; `None` when the other end is gone.
pub(super) fn receive_bytes(socket: impl AsFd) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    // How long it is, before there is room for it.
    let length = loop {
        match recv(&socket, &mut [0_u8; 0][..], RecvFlags::PEEK | RecvFlags::TRUNC) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(None),
            Ok((_, length)) => break length,
            Err(error) => return Err(error.into()),
        }
    };
    let mut bytes = vec![0; length.min(MAX_MESSAGE)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(None),
            other => break other?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(Some((bytes, descriptors)))
}

/// Whether something can be read from `fd` within so many milliseconds.
pub(super) fn readable(fd: impl AsFd, milliseconds: i64) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
    loop {
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            other => return Ok(other? > 0),
        }
    }
}
