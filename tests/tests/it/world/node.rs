//! A node as a process: started, killed, frozen and started again; its words are kept and shown when a test fails.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use openprod_client::{Endpoint, Token};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::mesh::LOOK_EVERY;

/// Longer than a start takes on the slowest machine: waiting ends here only where something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a node is started.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// An address and port, or off.
    pub(crate) listen: &'static str,
    /// An address and port for other nodes, or off.
    pub(crate) peers: String,
    /// The network namespace in which it runs, and looks for others; none for that of the test, where it looks for nobody.
    pub(crate) machine: Option<String>,
    /// Variables in its environment.
    pub(crate) env: Vec<(&'static str, String)>,
    /// How many files it may have open; none for the system's own limit.
    pub(crate) open_files: Option<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { listen: "off", peers: "off".to_owned(), machine: None, env: Vec::new(), open_files: None }
    }
}

impl Setup {
    /// With a TCP port that the system chooses.
    pub(crate) fn on_tcp() -> Self {
        Self { listen: "127.0.0.1:0", ..Self::default() }
    }

    /// With a TCP port on every interface, for clients on other machines.
    pub(crate) fn for_a_house() -> Self {
        Self { listen: "0.0.0.0:0", ..Self::default() }
    }

    /// With a port for other nodes, on loopback.
    pub(crate) fn among_peers() -> Self {
        Self { peers: "127.0.0.1:0".to_owned(), ..Self::default() }
    }

    /// On a machine of its own, as a node is set up there when nobody says otherwise.
    pub(crate) fn on(machine: &str) -> Self {
        Self { peers: "[::]:7118".to_owned(), machine: Some(machine.to_owned()), ..Self::default() }
    }

    /// With faults planted: see `src/under_test.rs`.
    pub(crate) fn faults(faults: &str) -> Self {
        Self::default().with_faults(faults)
    }

    /// The same, with faults planted.
    pub(crate) fn with_faults(self, faults: &str) -> Self {
        let env = vec![("OPENPROD_FAULTS", faults.to_owned()), ("FAILPOINTS", "read=off".to_owned())];
        Self { env, ..self }
    }

    /// The same, with failpoints set as the fail crate has it.
    pub(crate) fn with_failpoints(self, points: &str) -> Self {
        Self { env: vec![("FAILPOINTS", points.to_owned())], ..self }
    }

    /// With failpoints set as the fail crate has it.
    pub(crate) fn failpoints(points: &str) -> Self {
        Self::default().with_failpoints(points)
    }
}

/// A node of this test.
pub(crate) struct Node {
    folder: PathBuf,
    setup: Setup,
    process: Option<Child>,
    words: Words,
    /// How long the last start took until it served.
    pub(crate) start: Duration,
}

/// All that a node has written so far, over all its lives.
#[derive(Clone)]
struct Words {
    lines: Arc<Mutex<Vec<String>>>,
    count: Arc<watch::Sender<usize>>,
}

/// The program under test: the one with failpoints, or the one that the operator names.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("OPENPROD_UNDER_TEST")
        .map_or_else(|| env!("CARGO_BIN_EXE_openprod-under-test").into(), PathBuf::from)
}

impl Node {
    /// Starts a node on that folder and waits until it serves.
    pub(crate) async fn start(folder: &Path, setup: Setup) -> Self {
        let mut node = Self::asleep(folder, setup);
        node.comes_back().await;
        node
    }

    /// A node that was not started yet.
    pub(crate) fn asleep(folder: &Path, setup: Setup) -> Self {
        let words = Words { lines: Arc::default(), count: Arc::new(watch::channel(0).0) };
        Self { folder: folder.to_owned(), setup, process: None, words, start: Duration::ZERO }
    }

    /// How it is started.
    pub(crate) fn setup(&self) -> Setup {
        self.setup.clone()
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A copy of its folder as it is now, to be another node's. Whoever copies a folder copies no lock and no socket.
    pub(crate) fn is_copied_to(&self, folder: &Path) {
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(&self.folder).arg(folder);
        assert!(copy.status().unwrap().success());
        for left in ["openprod.sock", "node.lock"] {
            let _ = std::fs::remove_file(folder.join(left));
        }
    }

    /// Its memory that is in use, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let process = self.process.as_ref().expect("it runs").id();
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The folder of its only workspace.
    pub(crate) fn workspace_folder(&self) -> PathBuf {
        let mut folders = std::fs::read_dir(self.folder.join("workspaces")).unwrap().map(|entry| entry.unwrap().path());
        let only = folders.next().unwrap();
        assert!(folders.next().is_none(), "there are several workspaces");
        only
    }

    /// Waits until it has begun to make a workspace.
    pub(crate) async fn has_begun(&self, workspace: &str) {
        let folder = self.folder.join("workspaces").join(workspace);
        let begun = async {
            while !folder.exists() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, begun).await.expect("it makes the workspace");
    }

    /// Where it is reached.
    pub(crate) fn socket(&self) -> Endpoint {
        Endpoint::Socket(self.folder.join("openprod.sock"))
    }

    /// Its TCP address on this machine.
    pub(crate) fn address(&self) -> String {
        let line = self.words.find("address=").expect("this node listens on TCP");
        line.rsplit("address=").next().unwrap().trim().replace("0.0.0.0", "127.0.0.1")
    }

    /// The token of that actor.
    pub(crate) fn token(&self, actor: &str) -> Token {
        Token::read(&self.token_file(actor)).unwrap()
    }

    /// The file that holds it.
    pub(crate) fn token_file(&self, actor: &str) -> PathBuf {
        self.folder.join(format!("tokens/{actor}.token"))
    }

    /// How it is started from now on.
    pub(crate) fn set_up(&mut self, setup: Setup) {
        self.setup = setup;
    }

    /// Starts the process, without waiting.
    pub(crate) fn launches(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        self.words.lines.lock().unwrap().clear();
        let mut process = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.words.listen_to(process.stdout.take().unwrap());
        self.words.listen_to(process.stderr.take().unwrap());
        self.process = Some(process);
    }

    fn command(&self) -> Command {
        let limit = self.setup.open_files.map_or(String::new(), |files| format!("ulimit -n {files}; "));
        let mut command = Command::new("sh");
        let (machine, discovery) = match &self.setup.machine {
            Some(machine) => (format!("ip netns exec {machine} "), "on"),
            None => (String::new(), "off"),
        };
        command.arg("-c").arg(format!("{limit}exec {machine}\"$0\" \"$@\"")).arg(program());
        command.args(["up", "--listen", self.setup.listen, "--peer-listen", &self.setup.peers]);
        command.args(["--discovery", discovery]);
        command.arg("--data-dir").arg(&self.folder);
        command.envs(self.setup.env.iter().map(|(name, value)| (name, value)));
        command.env("RUST_BACKTRACE", "0").stdin(Stdio::null());
        command
    }

    /// Starts the process and waits until it serves.
    pub(crate) async fn comes_back(&mut self) {
        let began = Instant::now();
        self.launches();
        self.says("ready").await;
        self.start = began.elapsed();
    }

    /// Waits for a line with these words.
    pub(crate) async fn says(&self, what: &str) -> String {
        let mut count = self.words.count.subscribe();
        let hearing = async {
            loop {
                match self.words.find(what) {
                    Some(line) => return line,
                    None => count.changed().await.unwrap(),
                }
            }
        };
        let heard = tokio::time::timeout(PATIENCE, hearing).await;
        heard.unwrap_or_else(|_| panic!("the node never said {what:?}"))
    }

    /// Whether it has said this.
    pub(crate) fn has_said(&self, what: &str) -> bool {
        self.words.find(what).is_some()
    }

    /// SIGKILL.
    pub(crate) fn dies(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for its end.
    pub(crate) async fn stops(&mut self) {
        self.signal(Signal::TERM);
        let status = self.ends().await;
        assert!(status.success(), "it did not stop well: {status}");
    }

    /// Waits until the process ends by itself.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        let pid = Pid::from_child(&process);
        // A thread of its own: one of the runtime's would keep the test from ending if the process does not.
        let (tell, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || tell.send(process.wait().unwrap()));
        let Ok(ended) = tokio::time::timeout(PATIENCE, ended).await else {
            kill_process(pid, Signal::KILL).unwrap();
            panic!("the process does not end");
        };
        ended.unwrap()
    }

    /// The most memory that it has had resident so far, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.as_ref().unwrap().id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// SIGSTOP.
    pub(crate) fn freezes(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaws(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.process.as_ref().unwrap()), signal).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("---- the node in {} said:", self.folder.display());
            self.words
                .lines
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .iter()
                .for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Words {
    fn listen_to(&self, pipe: impl Read + Send + 'static) {
        let words = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                words.lines.lock().unwrap().push(line);
                words.count.send_modify(|count| *count += 1);
            }
        });
    }

    fn find(&self, what: &str) -> Option<String> {
        self.lines.lock().unwrap().iter().find(|line| line.contains(what)).cloned()
    }
}
