//! The floor under whatever is stored: how long the bare engine takes for rows like those of a given file.

use std::path::Path;
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition, TableHandle};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Rows of one commit: far more share one here than ever do in a node.
const ROWS_A_COMMIT: u64 = 100_000;
/// The memory of the engine, as the stores of a node have it.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The table's name.
    pub table: String,
    /// How many rows.
    pub rows: u64,
    /// Bytes of keys and values of all of them.
    pub bytes: u64,
}

impl Rows {
    fn a_row(&self) -> usize {
        usize::try_from(self.bytes / self.rows.max(1)).unwrap_or(usize::MAX)
    }
}

/// What the tables of a file hold, by name. Nobody else may have it open.
pub fn rows_of(file: &Path) -> Result<Vec<Rows>, Failure> {
    let database = Database::open(file)?;
    let reading = database.begin_read()?;
    let tables = reading.list_tables()?.map(|handle| {
        let table = reading.open_untyped_table(handle.clone())?;
        let (rows, bytes) = (table.len()?, table.stats()?.stored_bytes());
        Ok(Rows { table: handle.name().to_owned(), rows, bytes })
    });
    tables.collect()
}

/// Hashes as many bytes as `rows` hold beyond `before`, and loads rows of their number and size into a new file, in the
/// order of their keys and in few durable commits: how long that takes.
pub fn load(rows: &[Rows], before: &[Rows], file: &Path) -> Result<Duration, Failure> {
    let start = Instant::now();
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(file)?;
    for table in rows {
        let there = before.iter().find(|one| one.table == table.table).map_or(0, |one| one.rows);
        load_table(&database, table, table.rows.saturating_sub(there))?;
    }
    Ok(start.elapsed())
}

fn load_table(database: &Database, like: &Rows, rows: u64) -> Result<(), Failure> {
    let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(&like.table);
    let mut row = vec![0; like.a_row().saturating_sub(8)];
    for from in (0..rows).step_by(usize::try_from(ROWS_A_COMMIT)?) {
        let writing = database.begin_write()?;
        {
            let mut table = writing.open_table(definition)?;
            for number in from..rows.min(from + ROWS_A_COMMIT) {
                // No two rows are alike, as in life.
                let hash = blake3::hash(&row);
                let different = row.len().min(32);
                row[..different].copy_from_slice(&hash.as_bytes()[..different]);
                table.insert(&number.to_be_bytes()[..], &*row)?;
            }
        }
        writing.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_has_as_many_rows_of_that_size() {
        let folder = std::env::temp_dir().join(format!("openprod-floor-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("floor.redb");
        let wanted = vec![Rows { table: "things".to_owned(), rows: 1_000, bytes: 100_000 }];
        let there = vec![Rows { table: "things".to_owned(), rows: 200, bytes: 20_000 }];
        load(&wanted, &there, &file).unwrap();
        let loaded = rows_of(&file).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(loaded, [Rows { table: "things".to_owned(), rows: 800, bytes: 80_000 }]);
    }
}
