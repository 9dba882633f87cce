//! The node's folder on disk: what stands where, who may read it, and that one node at a time has it.
//!
//! ```text
//! node.key                    the device key, 0600
//! node.lock                   held while a node runs; says which
//! identities/                 the keys of this node's actors, 0600
//! tokens/                     the tokens of this node's actors, 0600
//! clients.toml                the names of clients on other machines, and the hashes of their tokens
//! tls.pem                     the certificate that those clients know this node by, and its key, 0600
//! workspaces/<id>/            workspace.toml, log.redb, state.redb, overlays.redb, blobs.redb, blobs/, tickets, joining.toml,
//!                             sync-paused, backups/
//! ```
//!
//! Nothing is repaired behind anybody's back: what is wrong is refused, with the command that mends it.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use openprod_model::ids::WorkspaceId;
use thiserror::Error;

/// The folder of one node: it is there, it is ours, and nobody else can read it.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

/// The folder of one workspace within it; it need not be there yet.
#[derive(Debug, Clone)]
pub struct WorkspaceFolder {
    root: PathBuf,
}

/// Something in the folder that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it, as the rest of a sentence that begins with its path.
    pub what: String,
    /// The shell command that mends it.
    pub mend: String,
}

/// Why a folder cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FolderError {
    /// It is not there and could not be made.
    #[error("{path}: cannot be created: {1}; choose another folder with --data-dir", path = .0.display())]
    NotCreated(PathBuf, #[source] io::Error),
    /// It could not be looked at.
    #[error("{path}: cannot be read: {1}", path = .0.display())]
    NotReadable(PathBuf, #[source] io::Error),
    /// It is a file or something else.
    #[error("{path}: is not a folder; choose another with --data-dir", path = .0.display())]
    NotAFolder(PathBuf),
    /// No file can be created in it.
    #[error("{path}: cannot be written to: {1}; choose another folder with --data-dir", path = .0.display())]
    NotWritable(PathBuf, #[source] io::Error),
    /// It belongs to another user, or others can read what is secret.
    #[error("{0}")]
    Unsafe(Problem),
}

/// Why the lock was not given.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process has it.
    #[error("{path}: in use by {holder}; stop that node first, or talk to it", path = .path.display())]
    Held {
        /// The node's folder.
        path: PathBuf,
        /// Who has it, as far as the lock file says.
        holder: Holder,
    },
    /// The lock file could not be opened, locked or written.
    #[error("{path}: cannot be locked: {1}", path = .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// The process that has a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, if the lock file tells.
    pub pid: Option<u32>,
    /// When it took the folder, if the lock file tells.
    pub since: Option<Timestamp>,
}

/// Room on the disk that carries the folder, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What this user may still write.
    pub free_bytes: u64,
    /// The size of the whole file system.
    pub total_bytes: u64,
}

/// Proof that no other node has the folder; dropping it, or dying, gives the folder back.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl Folder {
    /// Opens the folder, creating it (0700) if it is not there, and refuses one that is not ours, that cannot be
    /// written to, or whose secrets other users can read.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        if !root.exists() {
            create_private(root).map_err(|e| FolderError::NotCreated(root.to_owned(), e))?;
        }
        // Absolute from here on: nothing may depend on the working directory.
        let root = root.canonicalize().map_err(|e| FolderError::NotReadable(root.to_owned(), e))?;
        if !root.is_dir() {
            return Err(FolderError::NotAFolder(root));
        }
        let folder = Self { root };
        let problems = folder.problems().map_err(|e| FolderError::NotReadable(folder.root.clone(), e))?;
        if let Some(problem) = problems.into_iter().next() {
            return Err(FolderError::Unsafe(problem));
        }
        tempfile::tempfile_in(&folder.root).map_err(|e| FolderError::NotWritable(folder.root.clone(), e))?;
        for part in [folder.identities(), folder.tokens(), folder.root.join("workspaces")] {
            create_private(&part).map_err(|e| FolderError::NotCreated(part, e))?;
        }
        Ok(folder)
    }

    /// What `open` would refuse in the folder at `root`, without creating or changing anything.
    pub fn inspect(root: &Path) -> io::Result<Vec<Problem>> {
        Self { root: root.canonicalize()? }.problems()
    }

    /// The folder itself, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file of the node's device key.
    pub fn node_key(&self) -> PathBuf {
        self.root.join("node.key")
    }

    /// The file of the nodes that this one remembers.
    pub fn peers(&self) -> PathBuf {
        self.root.join("peers.toml")
    }

    /// The folder of the keys of this node's actors.
    pub fn identities(&self) -> PathBuf {
        self.root.join("identities")
    }

    /// The file of the tokens that were given out to clients on other machines.
    pub fn clients(&self) -> PathBuf {
        self.root.join("clients.toml")
    }

    /// The file of the certificate for clients on other machines, and its key.
    pub fn certificate(&self) -> PathBuf {
        self.root.join("tls.pem")
    }

    /// The folder of the tokens of this node's actors.
    pub fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }

    /// The folder of one workspace.
    pub fn workspace(&self, id: WorkspaceId) -> WorkspaceFolder {
        WorkspaceFolder { root: self.root.join("workspaces").join(id.to_string()) }
    }

    /// The workspaces that have a folder here, in the order of their ids. Other names are passed over.
    pub fn workspaces(&self) -> io::Result<Vec<WorkspaceId>> {
        let names: io::Result<Vec<_>> =
            fs::read_dir(self.root.join("workspaces"))?.map(|entry| Ok(entry?.file_name())).collect();
        let id = |name: &str| name.parse::<WorkspaceId>().ok().filter(|id| id.to_string() == name);
        let mut ids: Vec<_> = names?.iter().filter_map(|name| id(name.to_str()?)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Takes the folder for this process. `now` is written into the lock file, for whoever comes next.
    pub fn lock(&self, now: Timestamp) -> Result<FolderLock, LockError> {
        let path = self.root.join("node.lock");
        let failed = |e| LockError::Io(path.clone(), e);
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { path: self.root.clone(), holder: Holder::read(&mut file) });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        // Never removed: a removed lock file can be held by one process while another creates and locks a new one.
        let text = format!("pid {}\nsince {now}\n", std::process::id());
        file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(failed)?;
        Ok(FolderLock { _file: file })
    }

    /// Room on its disk.
    pub fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(&self.root)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { free_bytes: bytes(stat.f_bavail), total_bytes: bytes(stat.f_blocks) })
    }

    /// How long this disk takes to keep 4 KiB for good (write and fdatasync): the median of `rounds`, at least one.
    pub fn sync_time(&self, rounds: usize) -> io::Result<Duration> {
        let mut file = tempfile::tempfile_in(&self.root)?;
        let mut round = || {
            let start = Instant::now();
            file.write_all(&[0; 4096]).and_then(|()| file.sync_data()).map(|()| start.elapsed())
        };
        let mut times = (0..rounds.max(1)).map(|_| round()).collect::<io::Result<Vec<_>>>()?;
        times.sort_unstable();
        Ok(times[times.len() / 2])
    }

    fn problems(&self) -> io::Result<Vec<Problem>> {
        let mut problems: Vec<_> = foreign(&self.root)?.into_iter().chain(exposed(&self.root, 0o700)?).collect();
        for key in self.secrets()? {
            problems.extend(exposed(&key, 0o600)?);
        }
        Ok(problems)
    }

    fn secrets(&self) -> io::Result<Vec<PathBuf>> {
        let own = [self.node_key(), self.certificate(), self.clients()];
        let mut files: Vec<_> = own.into_iter().filter(|key| key.exists()).collect();
        for folder in [self.identities(), self.tokens()].into_iter().filter(|folder| folder.exists()) {
            for entry in fs::read_dir(folder)? {
                files.push(entry?.path());
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}

impl WorkspaceFolder {
    /// Creates the folder (0700) and its parts, durably; nothing happens to one that is there.
    pub fn create(&self) -> io::Result<()> {
        create_private(&self.backups())?;
        [Some(self.root.as_path()), self.root.parent()].into_iter().flatten().try_for_each(sync_folder)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Name and id, for a person who looks in.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("workspace.toml")
    }

    /// The oplog.
    pub fn log(&self) -> PathBuf {
        self.root.join("log.redb")
    }

    /// The state; it can be rebuilt from the oplog.
    pub fn state(&self) -> PathBuf {
        self.root.join("state.redb")
    }

    /// The overlays: private to this node, and in no backup.
    pub fn overlays(&self) -> PathBuf {
        self.root.join("overlays.redb")
    }

    /// The files that fields refer to.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// What is known of them.
    pub fn blob_index(&self) -> PathBuf {
        self.root.join("blobs.redb")
    }

    /// The tickets that were given out: private to this node, and in no backup.
    pub fn tickets(&self) -> PathBuf {
        self.root.join("tickets")
    }

    /// There from joining until the history has come: from whom, and who works on it here.
    pub fn joining(&self) -> PathBuf {
        self.root.join("joining.toml")
    }

    /// There while a person has its syncing paused.
    pub fn sync_paused(&self) -> PathBuf {
        self.root.join("sync-paused")
    }

    /// There as long as the workspace is being made: a restart removes what was broken off.
    pub fn unfinished(&self) -> PathBuf {
        self.root.join("unfinished")
    }

    /// Where a log that was lost is kept, and whatever went with it.
    pub fn lost(&self) -> PathBuf {
        self.root.join("lost")
    }

    /// The folder of its backups.
    pub fn backups(&self) -> PathBuf {
        self.root.join("backups")
    }
}

/// Writes a file (0600) so that after a crash either the old or the new content is there, whole.
pub fn write_over(path: &Path, content: &[u8]) -> io::Result<()> {
    staged(path, content)?.persist(path)?;
    sync_folder(parent(path))
}

/// As [`write_over`], but fails with `AlreadyExists` rather than touch a file that is there: for keys.
pub fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    staged(path, content)?.persist_noclobber(path)?;
    sync_folder(parent(path))
}

impl Holder {
    fn read(file: &mut File) -> Self {
        let mut text = String::new();
        // The holder may be just writing: what cannot be read is left out of a message, no more.
        let _ = file.take(200).read_to_string(&mut text);
        let word = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        Self { pid: word("pid ").and_then(|w| w.parse().ok()), since: word("since ").and_then(|w| w.parse().ok()) }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => write!(f, "another process")?,
        }
        self.since.map_or(Ok(()), |since| write!(f, " (since {since:.0})"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; run: {}", self.path.display(), self.what, self.mend)
    }
}

pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn foreign(path: &Path) -> io::Result<Option<Problem>> {
    let (owner, us) = (fs::metadata(path)?.uid(), rustix::process::geteuid().as_raw());
    let what = format!("belongs to user {owner}, but this process is user {us}");
    // Root should not make the folder its own: it was most likely a slip to start the node as root.
    let as_owner = format!("sudo -u '#{owner}' openprod ...");
    let mend = if us == 0 { as_owner } else { format!("sudo chown -R {us} {}", quoted(path)) };
    Ok((owner != us).then(|| Problem { path: path.to_owned(), what, mend }))
}

/// A problem if the mode of `path` has a bit outside `allowed`.
fn exposed(path: &Path, allowed: u32) -> io::Result<Option<Problem>> {
    let mode = fs::metadata(path)?.mode() & 0o777;
    let what = format!("has mode {mode:03o}, so that others than its owner can use it");
    let mend = format!("chmod {allowed:o} {}", quoted(path));
    Ok((mode & !allowed != 0).then(|| Problem { path: path.to_owned(), what, mend }))
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn staged(path: &Path, content: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    // In the same folder, since a rename is atomic only within a file system; tempfile creates with 0600.
    let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(parent(path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn fresh() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(&place.path().join("shows/openprod")).unwrap();
        (place, folder)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_folder_is_private() {
        let (_place, folder) = fresh();
        assert_eq!(mode(folder.root()), 0o700);
        assert_eq!(mode(&folder.identities()), 0o700);
        assert!(folder.workspaces().unwrap().is_empty());
        assert!(Folder::open(folder.root()).is_ok());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let (_place, folder) = fresh();
        write_new(&folder.node_key(), b"secret").unwrap();
        assert_eq!(mode(&folder.node_key()), 0o600);
        chmod(&folder.node_key(), 0o640);
        let refusal = Folder::open(folder.root()).unwrap_err().to_string();
        assert!(refusal.ends_with(&format!("run: chmod 600 '{}'", folder.node_key().display())), "{refusal}");
        chmod(folder.root(), 0o755);
        assert_eq!(Folder::inspect(folder.root()).unwrap().len(), 2);
        assert_eq!(mode(&folder.node_key()), 0o640, "nothing is repaired silently");
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let (_place, folder) = fresh();
        let file = folder.root().join("file");
        write_over(&file, b"").unwrap();
        assert!(matches!(Folder::open(&file), Err(FolderError::NotAFolder(_))));
        assert!(matches!(Folder::open(&file.join("below")), Err(FolderError::NotCreated(..))));
    }

    #[test]
    fn one_node_at_a_time_and_the_second_hears_of_the_first() {
        let (_place, folder) = fresh();
        let now: Timestamp = "2026-03-01T19:30:00Z".parse().unwrap();
        let first = folder.lock(now).unwrap();
        let refusal = folder.lock(now).unwrap_err().to_string();
        assert!(refusal.contains(&format!("process {} (since 2026-03-01T19:30:00Z)", std::process::id())), "{refusal}");
        drop(first);
        folder.lock(now).unwrap();
    }

    #[test]
    fn files_are_replaced_whole_and_keys_never() {
        let (_place, folder) = fresh();
        let file = folder.root().join("file");
        write_over(&file, b"old").unwrap();
        write_over(&file, b"new").unwrap();
        assert_eq!(write_new(&file, b"other").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"new");
        let left: Vec<_> = fs::read_dir(folder.root()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".writing-")), "{left:?}");
    }

    #[test]
    fn workspaces_are_found_by_their_ids() {
        let (_place, folder) = fresh();
        let ids = [WorkspaceId::from_bytes([1; 16]), WorkspaceId::from_bytes([2; 16])];
        ids.iter().rev().for_each(|id| folder.workspace(*id).create().unwrap());
        fs::create_dir(folder.root().join("workspaces/notes")).unwrap();
        assert_eq!(folder.workspaces().unwrap(), ids);
        assert!(folder.workspace(ids[0]).backups().is_dir());
    }

    #[test]
    fn the_disk_is_measured() {
        let (_place, folder) = fresh();
        let space = folder.space().unwrap();
        assert!(0 < space.free_bytes && space.free_bytes <= space.total_bytes);
        assert!(folder.sync_time(3).unwrap() > Duration::ZERO);
    }
}
