//! Running: rows and pages of a checked query on one view.

use openprod_model::ids::EntityId;

use super::check::{Checked, Context, Predicate};
use super::error::{QueryError, QueryProblem};
use super::eval::{self, Row, Sortable};
use super::plan::{self, Access};
use crate::read::{self, Table};
use crate::view::{Read, Reading, View};

/// How many records are simply looked at before an index is read that is slow to start. Most pages are full by then.
const PATIENCE: usize = 1_000;

/// The rows of a query.
#[derive(Debug, Clone)]
pub struct Found {
    /// The table that they are records of.
    pub table: Table,
    /// The records, in the order that was asked for, otherwise in that of their creation.
    pub rows: Vec<EntityId>,
    /// How they were found, in a sentence.
    pub plan: String,
    /// How many records were looked at.
    pub examined: usize,
}

/// Some rows of a query, and where the next begin.
#[derive(Debug, Clone)]
pub struct Page {
    /// The rows.
    pub found: Found,
    /// Where the next page begins; none if this is the last.
    pub next: Option<PageKey>,
}

/// Where a page begins: opaque to clients, good for the query that gave it.
///
/// Without ORDER BY it names the row before, and so holds even while records come and go. With ORDER BY it counts
/// rows, and is exact on the revision that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageKey(Vec<u8>);

impl PageKey {
    /// From the bytes that [`PageKey::as_bytes`] gave. They are checked where the key is used.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// Its bytes, to be given to a client.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What has been turned over already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    /// The rows of earlier pages.
    given: usize,
    /// The last of them, where rows come in the order of creation.
    last: Option<EntityId>,
}

/// What a walk over records came to.
#[derive(Debug, Default)]
struct Walked {
    rows: Vec<EntityId>,
    examined: usize,
}

impl Checked {
    /// The table that the query is about.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// How the query would be run on `view`, in a sentence, and what a person should know of it.
    pub fn explain(&self, view: &dyn View, context: &Context) -> Read<String> {
        let unions = view.unions()?;
        Ok(self.sentence(&Access::choose(view, &unions, self, &self.filter.bound(context, &unions))))
    }

    fn sentence(&self, access: &Access) -> String {
        let sorted = if self.order.is_empty() { "" } else { ", then sorts what matches" };
        let notes = self.notes.iter().map(|note| format!(" {note}."));
        format!("{}{sorted}.{}", access.words(self), notes.collect::<String>())
    }

    /// All rows, within the query's LIMIT and OFFSET.
    pub fn run(&self, view: &dyn View, context: &Context) -> Read<Found> {
        Ok(self.rows(view, context, Mark::default(), usize::MAX)?.found)
    }

    /// At most `size` rows behind `after`, or the first ones, within the query's LIMIT and OFFSET.
    pub fn page(
        &self,
        view: &dyn View,
        context: &Context,
        after: Option<&PageKey>,
        size: usize,
    ) -> Result<Page, QueryProblem> {
        let mark = match after {
            Some(key) => self.mark(key)?,
            None => Mark::default(),
        };
        Ok(self.rows(view, context, mark, size.max(1))?)
    }

    fn rows(&self, view: &dyn View, context: &Context, mark: Mark, size: usize) -> Read<Page> {
        let unions = view.unions()?;
        let filter = self.filter.bound(context, &unions);
        let access = Access::choose(view, &unions, self, &filter);
        let skip = if mark.last.is_some() { 0 } else { self.offset.saturating_add(mark.given) };
        let left = self.limit.map_or(usize::MAX, |limit| limit.saturating_sub(mark.given));
        let wanted = size.min(left);
        // One more tells whether there is a next page, where the query's LIMIT does not tell.
        let enough =
            if wanted == 0 { 0 } else { skip.saturating_add(wanted).saturating_add(usize::from(wanted < left)) };
        let walked = if self.order.is_empty() {
            self.walk(view, &filter, &access, mark.last, enough)?
        } else {
            self.sorted(view, &filter, &access, enough)?
        };
        let mut rows = walked.rows.into_iter().skip(skip);
        let page: Vec<EntityId> = rows.by_ref().take(wanted).collect();
        let more = rows.next().is_some();
        let next = page.last().filter(|_| more).map(|last| self.key(mark.given + page.len(), *last));
        let plan = self.sentence(&access);
        Ok(Page { found: Found { table: self.table.clone(), rows: page, plan, examined: walked.examined }, next })
    }

    fn sorted(&self, view: &dyn View, filter: &Predicate, access: &Access, enough: usize) -> Read<Walked> {
        if enough == 0 {
            return Ok(Walked::default());
        }
        let Walked { rows, examined } = self.walk(view, filter, access, None, usize::MAX)?;
        let keyed = rows.into_iter().map(|entity| Ok((self.row(view, entity).sort_values(&self.order)?, entity)));
        let mut keyed = keyed.collect::<Read<Vec<Sortable>>>()?;
        let order = |a: &Sortable, b: &Sortable| eval::order(&self.order, a, b);
        if enough < keyed.len() {
            keyed.select_nth_unstable_by(enough, order);
            keyed.truncate(enough);
        }
        keyed.sort_unstable_by(order);
        Ok(Walked { rows: keyed.into_iter().map(|(_, entity)| entity).collect(), examined })
    }

    fn row<'a>(&'a self, view: &'a dyn View, entity: EntityId) -> Row<'a> {
        Row::new(view, &self.table.key, &self.columns, entity)
    }

    /// The first `enough` records behind `after`, in the order of creation, for which `filter` holds.
    fn walk(
        &self,
        view: &dyn View,
        filter: &Predicate,
        access: &Access,
        after: Option<EntityId>,
        enough: usize,
    ) -> Read<Walked> {
        let mut walked = Walked::default();
        let mut after = after;
        if enough < usize::MAX && access.is_slow_to_start() {
            for entity in read::records(view, &self.table.key, after).take(PATIENCE) {
                let entity = entity?;
                after = Some(entity);
                walked.examined += 1;
                if self.row(view, entity).satisfies(filter)? {
                    walked.rows.push(entity);
                }
                if walked.rows.len() >= enough {
                    return Ok(walked);
                }
            }
        }
        for entity in self.candidates(view, filter, access, after)? {
            if walked.rows.len() >= enough {
                break;
            }
            walked.examined += 1;
            walked.rows.extend(entity?);
        }
        Ok(walked)
    }

    /// What `access` leads to behind `after`: the record if it matches.
    fn candidates<'a>(
        &'a self,
        view: &'a dyn View,
        filter: &'a Predicate,
        access: &Access,
        after: Option<EntityId>,
    ) -> Read<Reading<'a, Option<EntityId>>> {
        let table = &self.table.key;
        let checked = move |entity| Ok(self.row(view, entity).satisfies(filter)?.then_some(entity));
        Ok(match access {
            Access::Scan => Box::new(read::records(view, table, after).map(move |entity| checked(entity?))),
            Access::Except(probes) => {
                let suspects = plan::named(view, probes)?;
                Box::new(read::records(view, table, after).map(move |entity| match entity? {
                    entity if suspects.binary_search(&entity).is_ok() => checked(entity),
                    entity => Ok(Some(entity)),
                }))
            }
            Access::Among(probes) => {
                let named = plan::named(view, probes)?;
                let from = after.map_or(0, |after| named.partition_point(|entity| *entity <= after));
                Box::new(
                    named.into_iter().skip(from).map(move |entity| {
                        if read::is_record(view, table, entity)? { checked(entity) } else { Ok(None) }
                    }),
                )
            }
        })
    }

    /// What tells this query's keys from those of others.
    fn tag(&self) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.table.key.as_str().as_bytes()).update(&[0]).update(self.text.as_bytes());
        *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
    }

    fn key(&self, given: usize, last: EntityId) -> PageKey {
        PageKey([&self.tag()[..], &(given as u64).to_be_bytes(), last.as_bytes()].concat())
    }

    fn mark(&self, key: &PageKey) -> Result<Mark, QueryError> {
        self.mark_in(&key.0).ok_or_else(|| {
            let next = "Begin again without a page key.";
            QueryError::new(&self.text, 0, "The page key is not of this query.", next)
        })
    }

    fn mark_in(&self, key: &[u8]) -> Option<Mark> {
        let (tag, rest) = key.split_first_chunk::<8>()?;
        let (given, last) = rest.split_first_chunk::<8>()?;
        let last = EntityId::from_bytes(last.try_into().ok()?);
        let given = usize::try_from(u64::from_be_bytes(*given)).ok().filter(|_| *tag == self.tag())?;
        Some(Mark { given, last: self.order.is_empty().then_some(last) })
    }
}
