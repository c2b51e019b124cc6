//! Running other programs: to their end, and finding out what a process id stands for.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;

use super::error::SandboxError;

/// Runs a program to its end; what it printed, or the last lines of its complaint.
pub async fn run(doing: &str, command: &mut Command) -> Result<String, SandboxError> {
    let output = command.stdin(Stdio::null()).output().await.map_err(|e| SandboxError::Io { doing: doing.to_owned(), source: e })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(SandboxError::Command { doing: doing.to_owned(), output: last_lines(&said) })
}

/// The last lines of a text, in one line.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    fs::read(log).map(|bytes| last_lines(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
}

/// Finds a program in the folders of `path` (in the form of `PATH`).
pub fn find(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    path?.as_bytes().split(|b| *b == b':').map(|dir| Path::new(OsStr::from_bytes(dir)).join(name)).find(|file| file.is_absolute() && file.is_file())
}

/// Whether this process is alive and its command line has all of these words: after a reboot an id may be anybody's.
pub async fn is(pid: i32, words: &[&str]) -> bool {
    if kill(Pid::from_raw(pid), None).is_err_and(|e| e != nix::errno::Errno::EPERM) {
        return false;
    }
    let line = match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).replace('\0', " "),
        Err(_) => match Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output().await {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(_) => return false,
        },
    };
    words.iter().all(|w| line.contains(w))
}

/// Ends a process that [`is`] what the words say: politely, then after `patience` by force. Anything else is left alone.
pub async fn end(pid: i32, words: &[&str], patience: Duration) -> bool {
    let mut ended = false;
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut waited = Duration::ZERO;
        while is(pid, words).await {
            if waited == Duration::ZERO && kill(Pid::from_raw(pid), signal).is_err() {
                return ended;
            }
            ended = true;
            if waited >= patience {
                break;
            }
            let step = Duration::from_millis(25);
            tokio::time::sleep(step).await;
            waited += step;
        }
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_cut_to_its_last_lines() {
        assert_eq!(last_lines("a\n\n b \n"), "a | b");
        assert_eq!(last_lines("1\n2\n3\n4\n5\n6\n7\n8"), "3 | 4 | 5 | 6 | 7 | 8");
    }

    #[tokio::test]
    async fn only_a_process_with_the_expected_words_is_ended() {
        let mut child = Command::new("sleep").arg("987").stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        // A process that is just becoming another program has no command line for a moment.
        while !is(pid, &["sleep", "987"]).await {
            tokio::task::yield_now().await;
        }
        assert!(!end(pid, &["moto"], Duration::ZERO).await);
        assert!(is(pid, &["sleep", "987"]).await, "it was left alone");
        assert!(end(pid, &["sleep", "987"], Duration::from_secs(1)).await);
        child.wait().await.unwrap();
        assert!(!is(pid, &["sleep"]).await);
    }
}
