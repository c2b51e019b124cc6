//! The sandbox's AWS: moto server, started so that it outlives us, asked whether it is ours, stopped.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::process::Command;

use super::connector::Wire;
use super::dirs::Dirs;
use super::error::{SandboxError, io};
use super::passwords::random;
use super::state::Server;
use super::{Options, ports, programs, tools};

/// How long a start may take, in seconds. It takes one or two; a machine that is busy otherwise may need many more.
const PATIENCE: u64 = 60;

/// Where the emulator's own memory says which start of which sandbox it belongs to. Gone with everything else when it is emptied.
pub const IDENTITY: &str = "/labctl-sandbox/identity";

/// Leaves the command's session and group, so that neither its terminal nor its Ctrl-C reaches the emulator, tells its process id,
/// and becomes the emulator. The parent in the middle ends at once, so that no zombie waits for us.
const DAEMON: &str = "\
import os, sys
os.setsid()
if os.fork():
    os._exit(0)
pid, log = sys.argv[1], sys.argv[2]
out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
os.dup2(out, 1)
os.dup2(out, 2)
with open(pid + '.new', 'w') as f:
    f.write(f'{os.getpid()} {sys.argv[-1]}')
os.rename(pid + '.new', pid)
os.execv(sys.argv[3], sys.argv[3:])
";

/// Whether the emulator we started answers, with everything that was seeded still in it. One that is busy is waited for as long as its process
/// lives: another in its place would be empty.
pub async fn answers(dirs: &Dirs, server: &Server, wire: &Wire) -> bool {
    for _ in 0..PATIENCE / 5 {
        match tokio::time::timeout(Duration::from_secs(5), wire.remembered(IDENTITY)).await {
            Ok(found) => return found.is_some_and(|identity| identity == server.identity),
            Err(_) if process(dirs).await.is_none() => return false,
            Err(_) => {}
        }
    }
    false
}

/// Starts an empty emulator. The caller holds the folder's lock and has seen that ours does not answer.
pub async fn start(dirs: &Dirs, given: &Options, remembered: Option<&Server>, say: &(dyn Fn(&str) + Sync)) -> Result<Server, SandboxError> {
    let environment = tools::environment(given, "moto", "the AWS emulator", tools::EMULATOR, say).await?;
    stop(dirs).await;
    let mut port = remembered.map(|s| s.port);
    for _ in 0..3 {
        let server = Server { port: ports::free(port.take())?, identity: random().expose_secret().to_owned() };
        launch(dirs, &environment, server.port).await?;
        if ready(dirs, &Wire::to(server.port)).await {
            return Ok(server);
        }
        // Most likely the port was taken just before: another one then.
        stop(dirs).await;
    }
    Err(SandboxError::NotReady { what: "the AWS emulator", seconds: PATIENCE, log: dirs.moto_log(), tail: programs::tail(&dirs.moto_log()) })
}

async fn launch(dirs: &Dirs, environment: &Path, port: u16) -> Result<(), SandboxError> {
    let python = environment.join("bin/python");
    let mut command = Command::new(&python);
    command
        .args(["-c", DAEMON])
        .arg(dirs.moto_pid())
        .arg(dirs.moto_log())
        .arg(&python)
        .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
        .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        .env("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        .env("NO_PROXY", "127.0.0.1,localhost")
        .env_remove("INITIAL_NO_AUTH_ACTION_COUNT")
        .env_remove("PYTHONHOME")
        .env_remove("PYTHONPATH")
        .current_dir(dirs.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = command.status().await.map_err(io("starting the AWS emulator"))?;
    if status.success() {
        return Ok(());
    }
    Err(SandboxError::Command { doing: "starting the AWS emulator".into(), output: status.to_string() })
}

async fn ready(dirs: &Dirs, wire: &Wire) -> bool {
    let step = Duration::from_millis(50);
    for tick in 0..PATIENCE * 20 {
        if wire.alive().await {
            // Somebody else's emulator may have taken the port: ours is the one whose process lives.
            return process(dirs).await.is_some();
        }
        if tick > 20 && process(dirs).await.is_none() {
            return false;
        }
        tokio::time::sleep(step).await;
    }
    false
}

/// The emulator's process and what its command line says, if it is alive and really that.
async fn process(dirs: &Dirs) -> Option<(i32, [String; 2])> {
    let text = fs::read_to_string(dirs.moto_pid()).ok()?;
    let (pid, port) = text.trim().split_once(' ')?;
    let (pid, words) = (pid.parse().ok()?, ["moto.server".to_owned(), format!("127.0.0.1 -p {port}")]);
    programs::is(pid, &words.each_ref().map(String::as_str)).await.then_some((pid, words))
}

/// Stops the emulator if it runs, and with it forgets everything in it. Whether it did run.
pub async fn stop(dirs: &Dirs) -> bool {
    let Some((pid, words)) = process(dirs).await else { return false };
    programs::end(pid, &words.each_ref().map(String::as_str), Duration::from_secs(3)).await
}
