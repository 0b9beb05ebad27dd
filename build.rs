//! Records which revision the binary was built from, for manifests. Without git it is the package's version.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/refs/heads");
    let version = env!("CARGO_PKG_VERSION");
    let git = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let revision = match git {
        Ok(output) if output.status.success() => {
            format!("{version}+{}", String::from_utf8_lossy(&output.stdout).trim())
        }
        _ => version.to_owned(),
    };
    println!("cargo::rustc-env=DISTILL_REVISION={revision}");
}
