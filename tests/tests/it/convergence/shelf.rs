//! A shelf: where the files of a replica lie, in memory, with the index beside them. What befalls disks befalls it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use openprod_blobs::folder::{Folder, Patching, Reading, Writing};
use openprod_disk::{MemoryDisk, Trouble};

/// Troubles in which nothing can be written.
const NO_WRITING: [Trouble; 3] = [Trouble::Dead, Trouble::Full, Trouble::WriteError];
/// Troubles in which nothing can be made durable.
const NO_SYNCING: [Trouble; 3] = [Trouble::Dead, Trouble::WriteError, Trouble::SyncError];
/// Troubles in which no file can be made.
const NO_MAKING: [Trouble; 4] = [Trouble::Dead, Trouble::Full, Trouble::CannotGrow, Trouble::WriteError];

/// A shelf. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    pub(crate) index: MemoryDisk,
    rack: Arc<Mutex<Rack>>,
}

/// Files by their names. What is whole has its name for good; what is coming in does not.
#[derive(Default)]
struct Rack {
    incoming: BTreeMap<String, MemoryDisk>,
    whole: BTreeMap<String, MemoryDisk>,
    /// What was coming in and was removed: after a power cut it may be back.
    dropped: BTreeMap<String, MemoryDisk>,
    trouble: Option<(Trouble, u64)>,
}

impl Shelf {
    fn rack(&self) -> MutexGuard<'_, Rack> {
        self.rack.lock().unwrap()
    }

    /// Another shelf with the same files, as a copy of the folder would be.
    pub(crate) fn copied(&self) -> Self {
        let rack = self.rack();
        let copied = |files: &BTreeMap<String, MemoryDisk>| {
            files.iter().map(|(name, file)| (name.clone(), file.copied())).collect()
        };
        let (incoming, whole) = (copied(&rack.incoming), copied(&rack.whole));
        Self::of(self.index.copied(), incoming, whole)
    }

    fn of(index: MemoryDisk, incoming: BTreeMap<String, MemoryDisk>, whole: BTreeMap<String, MemoryDisk>) -> Self {
        let rack = Rack { incoming, whole, ..Rack::default() };
        Self { index, rack: Arc::new(Mutex::new(rack)) }
    }

    /// Another shelf as it may be found after a power cut: whole files have their names, and of all that was not synced
    /// any part may be there. Which, `dice` tells.
    pub(crate) fn torn(&self, mut dice: impl FnMut() -> bool) -> Self {
        let (rack, mut incoming) = (self.rack(), BTreeMap::new());
        for (name, file) in rack.dropped.iter().chain(&rack.incoming) {
            if dice() {
                incoming.insert(name.clone(), file.torn(&mut dice));
            }
        }
        let whole = rack.whole.iter().map(|(name, file)| (name.clone(), file.torn(&mut dice))).collect();
        Self::of(self.index.torn(&mut dice), incoming, whole)
    }

    /// Begins to have this trouble after some more accesses; the index has it after as many of its own.
    pub(crate) fn has(&self, trouble: Trouble, after: u64) {
        self.rack().trouble = Some((trouble, after));
        self.index.has(trouble, after);
    }

    /// Is well again.
    pub(crate) fn heals(&self) {
        self.rack().trouble = None;
        self.index.heals();
    }

    /// Everything that lies there, one after the other.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (rack, mut all) = (self.rack(), self.index.bytes());
        for (name, file) in rack.incoming.iter().chain(&rack.whole) {
            all.extend_from_slice(name.as_bytes());
            all.extend_from_slice(&file.bytes());
        }
        all
    }

    /// Fails if it was told to, at an access that these troubles concern.
    fn access(&self, concerned: &[Trouble]) -> io::Result<MutexGuard<'_, Rack>> {
        let mut rack = self.rack();
        match &mut rack.trouble {
            Some((trouble, left)) if concerned.contains(trouble) => match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None if matches!(trouble, Trouble::Full | Trouble::CannotGrow) => {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                None => return Err(io::Error::other("the disk gave up")),
            },
            _ => {}
        }
        Ok(rack)
    }

    fn file(&self, file: MemoryDisk) -> OpenFile {
        OpenFile { shelf: self.clone(), file }
    }
}

/// A file that is open: it can be used also when its name is gone.
struct OpenFile {
    shelf: Shelf,
    file: MemoryDisk,
}

impl OpenFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        drop(self.shelf.access(&NO_WRITING)?);
        self.file.open().write(offset, bytes)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        drop(self.shelf.access(&[Trouble::Dead])?);
        self.file.open().read(offset, bytes)
    }

    fn length(&self) -> io::Result<u64> {
        drop(self.shelf.access(&[Trouble::Dead])?);
        self.file.open().len()
    }
}

impl Writing for OpenFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_at(bytes, self.file.open().len()?)
    }

    fn sync(&mut self) -> io::Result<()> {
        drop(self.shelf.access(&NO_SYNCING)?);
        self.file.open().sync_data()
    }
}

impl Patching for OpenFile {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(bytes, offset)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(bytes, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.length()
    }
}

impl Reading for OpenFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(bytes, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.length()
    }
}

impl Folder for Shelf {
    fn begin(&self, name: &str) -> io::Result<Box<dyn Writing>> {
        let mut rack = self.access(&NO_MAKING)?;
        let file = MemoryDisk::default();
        match rack.incoming.insert(name.to_owned(), file.clone()) {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => Ok(Box::new(self.file(file))),
        }
    }

    fn patch(&self, name: &str) -> io::Result<Box<dyn Patching>> {
        let mut rack = self.access(&NO_MAKING)?;
        let file = rack.incoming.entry(name.to_owned()).or_default().clone();
        Ok(Box::new(self.file(file)))
    }

    fn keep(&self, begun: &str, name: &str) -> io::Result<()> {
        let mut rack = self.access(&NO_MAKING)?;
        let file = rack.incoming.remove(begun).ok_or(io::ErrorKind::NotFound)?;
        rack.whole.insert(name.to_owned(), file);
        drop(rack);
        self.access(&NO_SYNCING).map(drop)
    }

    fn drop_begun(&self, begun: &str) -> io::Result<()> {
        let mut rack = self.access(&[Trouble::Dead, Trouble::WriteError])?;
        if let Some(file) = rack.incoming.remove(begun) {
            rack.dropped.insert(begun.to_owned(), file);
        }
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Reading>>> {
        let file = self.access(&[Trouble::Dead])?.whole.get(name).cloned();
        Ok(file.map(|file| Box::new(self.file(file)) as Box<dyn Reading>))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.access(&[Trouble::Dead, Trouble::WriteError])?.whole.remove(name);
        self.access(&NO_SYNCING).map(drop)
    }

    fn begun(&self) -> io::Result<Vec<String>> {
        Ok(self.access(&[Trouble::Dead])?.incoming.keys().cloned().collect())
    }

    fn names(&self, first: u8) -> io::Result<Vec<String>> {
        let (rack, of) = (self.access(&[Trouble::Dead])?, format!("{first:02x}/"));
        Ok(rack.whole.keys().filter(|name| name.starts_with(&of)).cloned().collect())
    }
}

#[test]
fn a_power_cut_leaves_what_is_whole_and_any_part_of_the_rest() {
    let shelf = Shelf::default();
    for (begun, is_synced) in [("whole", true), ("hasty", false)] {
        let mut file = shelf.begin(begun).unwrap();
        file.write_all(b"all of it").unwrap();
        if is_synced {
            file.sync().unwrap();
        }
        shelf.keep(begun, &format!("ab/{begun}")).unwrap();
    }
    shelf.patch("fetch").unwrap().write_all_at(b"some", 3).unwrap();
    shelf.begin("gone").unwrap();
    shelf.drop_begun("gone").unwrap();
    let (least, most) = (shelf.torn(|| false), shelf.torn(|| true));
    let size = |shelf: &Shelf, name: &str| Folder::open(shelf, name).unwrap().unwrap().size().unwrap();
    assert_eq!((size(&least, "ab/whole"), size(&least, "ab/hasty")), (9, 0));
    assert_eq!((size(&most, "ab/whole"), size(&most, "ab/hasty")), (9, 9));
    assert!(least.begun().unwrap().is_empty());
    assert_eq!(most.begun().unwrap(), ["fetch", "gone"]);
    assert_eq!(shelf.begun().unwrap(), ["fetch"], "the shelf itself is as it was");
}
