//! The layers of the isolation: their names in reports, and how to get the ones that are missing.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// A user namespace: root inside is nobody outside.
    UserNamespace,
    /// A mount namespace.
    MountNamespace,
    /// A pid namespace a program: whoever is in it dies with its first process.
    PidNamespace,
    /// A network namespace without interfaces.
    NetworkNamespace,
    /// An ipc namespace a program.
    IpcNamespace,
    /// A uts namespace.
    UtsNamespace,
    /// A read-only root that holds nothing but interpreter, compiler and libraries.
    ReadOnlyRoot,
    /// The only writable folder, limited in bytes and inodes, empty for every program.
    Tmpfs,
    /// A user that is not root, neither inside nor outside.
    NonRoot,
    /// No program gains privileges by being executed, and none has capabilities.
    NoNewPrivileges,
    /// The allow-list of system calls.
    Seccomp,
    /// Landlock: writing beneath the tmpfs only, no TCP, no signals or abstract sockets out of the cell.
    Landlock,
    /// Limits on every process, and a watch over the sum of a cell's memory and CPU time.
    Limits,
    /// A control group a program, where one was delegated: memory and processes cannot pass their limits between two
    /// looks of the watch.
    ControlGroup,
}

impl Layer {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Layer::UserNamespace => "user-namespace",
            Layer::MountNamespace => "mount-namespace",
            Layer::PidNamespace => "pid-namespace",
            Layer::NetworkNamespace => "network-namespace",
            Layer::IpcNamespace => "ipc-namespace",
            Layer::UtsNamespace => "uts-namespace",
            Layer::ReadOnlyRoot => "read-only-root",
            Layer::Tmpfs => "tmpfs",
            Layer::NonRoot => "non-root",
            Layer::NoNewPrivileges => "no-new-privileges",
            Layer::Seccomp => "seccomp",
            Layer::Landlock => "landlock",
            Layer::Limits => "limits",
            Layer::ControlGroup => "control-group",
        }
    }

    /// What can be done when it is missing.
    pub fn hint(self) -> &'static str {
        match self {
            Layer::UserNamespace => {
                "allow user namespaces: `sysctl user.max_user_namespaces=10000`, on Debian `sysctl \
                 kernel.unprivileged_userns_clone=1`, on Ubuntu `sysctl kernel.apparmor_restrict_unprivileged_userns=0`; in a \
                 container `--security-opt seccomp=unconfined`"
            }
            Layer::MountNamespace | Layer::ReadOnlyRoot | Layer::Tmpfs => {
                "Linux 5.12 or later is needed, and in a container an unmasked /proc (`--security-opt systempaths=unconfined`)"
            }
            Layer::PidNamespace | Layer::NetworkNamespace | Layer::IpcNamespace | Layer::UtsNamespace => {
                "the kernel must have this kind of namespace (`zgrep _NS= /proc/config.gz`), with room in /proc/sys/user"
            }
            Layer::NonRoot => "run as an ordinary user, or as root with CAP_SETUID and CAP_SETGID",
            Layer::Seccomp | Layer::NoNewPrivileges => "the kernel must have CONFIG_SECCOMP_FILTER",
            Layer::Landlock => "Linux 5.13 or later with `landlock` in the boot option `lsm=`",
            Layer::Limits => "the sandbox reads its programs' memory from a /proc of its own; let it mount one",
            Layer::ControlGroup => {
                "start it in a group of its own that is given to it: `systemd-run --user --scope -p Delegate=yes distill …`"
            }
        }
    }

    /// Whether everything else holds without it, so that it can be left out on request.
    pub fn can_be_left_out(self) -> bool {
        use Layer::{ControlGroup, IpcNamespace, Landlock, NetworkNamespace, Seccomp, UtsNamespace};
        matches!(self, NetworkNamespace | IpcNamespace | UtsNamespace | Seccomp | Landlock | ControlGroup)
    }

    /// Whether nothing runs without it, unless told otherwise. Landlock and control groups are one more wall behind the
    /// others.
    pub fn required(self) -> bool {
        !matches!(self, Layer::Landlock | Layer::ControlGroup)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which layers a worker obtained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    /// Those that hold.
    pub obtained: Vec<Layer>,
    /// Those that do not, and why.
    pub missing: Vec<(Layer, String)>,
}

impl Layers {
    /// The names of those that hold.
    pub fn names(&self) -> Vec<&'static str> {
        self.obtained.iter().map(|layer| layer.name()).collect()
    }
}
