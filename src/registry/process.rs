//! Which process holds a lease, and whether it still lives. A pid alone says nothing: it is reused, and means another thing on another machine.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process, told apart from every other one that ever had its pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Boot id and process namespace; `None` where the system has no `/proc`.
    pub machine: Option<String>,
    /// When it began, in the kernel's ticks since boot; `None` where the system has no `/proc`.
    pub started: Option<String>,
}

impl Process {
    /// This one.
    pub fn this() -> Self {
        let pid = nix::unistd::getpid().as_raw();
        Self { pid, machine: machine(), started: started(pid) }
    }

    /// Whether it can be told from here if that process lives: it runs (or ran) under this very kernel and in this very namespace.
    /// Two machines may bear the same name, so a name alone counts only where the system offers nothing better.
    pub fn is_local(&self, same_host_name: bool) -> bool {
        match (&self.machine, machine()) {
            (Some(theirs), Some(ours)) => *theirs == ours,
            (None, None) => same_host_name,
            _ => false,
        }
    }

    /// Whether it lives. Only meaningful where [`Process::is_local`].
    pub fn is_alive(&self) -> bool {
        if self.pid <= 0 {
            return false;
        }
        if matches!(kill(Pid::from_raw(self.pid), None), Err(Errno::ESRCH)) {
            return false;
        }
        match (&self.started, stat(self.pid)) {
            (Some(then), Some(now)) => *then == now.started && !now.dead,
            _ => true,
        }
    }
}

fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

fn started(pid: i32) -> Option<String> {
    stat(pid).map(|s| s.started)
}

struct Stat {
    started: String,
    /// Killed, but not yet waited for by its parent: it will write nothing any more.
    dead: bool,
}

/// `/proc/PID/stat`: the second field is the program's name in parentheses, which may hold spaces and parentheses itself; the state is
/// the first field after it and the start time the twentieth (proc(5): fields 3 and 22).
fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    Some(Stat { started: (*fields.get(19)?).to_owned(), dead: matches!(*fields.first()?, "Z" | "X") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_is_local() {
        let this = Process::this();
        assert!(this.is_alive());
        assert!(this.is_local(true));
    }

    #[test]
    fn a_reused_pid_does_not_pass_for_the_dead_one() {
        let mut other = Process::this();
        if other.started.is_some() {
            other.started = Some("1".into());
            assert!(!other.is_alive());
        }
    }

    #[test]
    fn a_killed_child_is_dead_even_before_its_parent_looks() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process { pid, machine: machine(), started: started(pid) };
        assert!(process.is_alive());
        child.kill().unwrap();
        if process.started.is_some() {
            while stat(pid).is_some_and(|s| !s.dead) {
                std::thread::yield_now();
            }
            assert!(!process.is_alive());
        }
        child.wait().unwrap();
        assert!(!process.is_alive());
    }

    #[test]
    fn a_process_of_another_boot_cannot_be_judged_from_here() {
        let other = Process { machine: Some("another boot".into()), ..Process::this() };
        assert!(!other.is_local(true));
    }
}
