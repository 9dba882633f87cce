//! What a bundle touched, as people see it: a write under any id of a record, or into any of several mapped columns, is
//! a change of whatever reads as one with it; merging and mapping change what was never written.

use std::collections::{BTreeMap, BTreeSet};

use openprod_api::v1;
use openprod_domain::cell::{Cell, Content};
use openprod_domain::fold;
use openprod_domain::read::{self, Table};
use openprod_domain::unions::Unions;
use openprod_domain::view::{Read, View};
use openprod_model::bundle::Bundle;
use openprod_model::ids::{EdgeId, EntityId};
use openprod_model::operation::ColumnRef;
use openprod_model::value::Name;

use super::{MAX_CHANGED, Scope};

/// What a bundle touched, within a scope.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// The records, under the ids by which they were and are known, and which of their fields.
    pub(super) records: BTreeMap<(Name, EntityId), Fields>,
    /// The records that were put into tables or taken out.
    pub(super) moved: BTreeSet<EntityId>,
    /// All ids of the records that were merged or split: edges at them join others now.
    pub(super) renamed: BTreeSet<EntityId>,
    /// The edges.
    pub(super) edges: BTreeSet<EdgeId>,
    /// The fields that were edited in part, under the ids by which their records were and are known, and the updates.
    pub(super) documents: BTreeMap<(Name, EntityId, Name), Vec<Vec<u8>>>,
    /// Whether tables or columns are not what they were.
    pub(super) schema: bool,
    /// Whether settings, members or names are not what they were.
    pub(super) workspace: bool,
    /// Tables of which too much changed to be told: two columns became one, or ceased to be.
    pub(super) anew: BTreeSet<Name>,
}

/// Some fields of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fields {
    /// All of them.
    All,
    /// These.
    These(BTreeSet<Name>),
}

impl Fields {
    /// Their keys.
    pub(super) fn names(
        &self,
        before: &dyn View,
        after: &dyn View,
        known: Option<&Table>,
        table: &Name,
        entity: EntityId,
    ) -> Read<BTreeSet<Name>> {
        let Self::All = self else { return Ok(self.these()) };
        let mut names: BTreeSet<Name> = known.iter().flat_map(|table| &table.columns).map(|c| c.key.clone()).collect();
        for view in [before, after] {
            names.extend(read::fields(view, table, entity)?.into_iter().map(|(name, _)| name));
        }
        Ok(names)
    }

    fn these(&self) -> BTreeSet<Name> {
        match self {
            Self::All => BTreeSet::new(),
            Self::These(names) => names.clone(),
        }
    }

    fn add(&mut self, more: Self) {
        match (&mut *self, more) {
            (Self::These(names), Self::These(more)) => names.extend(more),
            _ => *self = Self::All,
        }
    }
}

/// The writes of a bundle, and what was united before and behind it.
struct Tracing<'a> {
    before: &'a dyn View,
    after: &'a dyn View,
    scope: &'a Scope,
    unions: [std::sync::Arc<Unions>; 2],
    touched: Touched,
}

impl Touched {
    /// What `bundle` touched, between the views before and behind it.
    pub(super) fn by(bundle: &Bundle, before: &dyn View, after: &dyn View, scope: &Scope) -> Read<Self> {
        let unions = [before.unions()?, after.unions()?];
        let mut tracing = Tracing { before, after, scope, unions, touched: Self::default() };
        for operation in bundle.ops().iter().filter_map(|op| op.operation.as_ref()) {
            for write in fold::writes(operation) {
                if let (Content::Edit(update), Cell::Field { table, entity, field }) = (&write.content, &write.cell) {
                    tracing.edit(table, *entity, field, update);
                }
                tracing.add(write.cell)?;
            }
        }
        Ok(tracing.touched)
    }

    /// What to read anew in place of all this.
    pub(super) fn too_large(&self) -> v1::TooLarge {
        let mut tables: BTreeSet<&Name> = self.records.keys().map(|(table, _)| table).collect();
        tables.extend(&self.anew);
        let edges = !self.edges.is_empty() || !self.moved.is_empty() || !self.renamed.is_empty();
        v1::TooLarge { tables: tables.into_iter().map(Name::to_string).collect(), edges }
    }

    /// Whether it is too much to be told one by one.
    pub(super) fn is_too_large(&self) -> bool {
        let most = self.records.len().max(self.edges.len()).max(self.moved.len()).max(self.renamed.len());
        most > MAX_CHANGED || !self.anew.is_empty()
    }
}

impl Tracing<'_> {
    fn add(&mut self, cell: Cell) -> Read<()> {
        let touched = &mut self.touched;
        match cell {
            Cell::Table { table } | Cell::Column { table, .. } => touched.schema |= self.scope.holds(&table),
            Cell::Facet { table, entity } => {
                touched.moved.insert(entity);
                self.membership(&table, entity);
            }
            Cell::Field { table, entity, field } => self.field(&table, entity, &field),
            Cell::Edge { edge } | Cell::EdgeProperty { edge, .. } | Cell::EdgePosition { edge } => {
                touched.edges.insert(edge);
            }
            Cell::Setting { .. } | Cell::Member { .. } | Cell::ActorName { .. } | Cell::Asset { .. } => {
                touched.workspace |= self.scope.is_everything();
            }
            Cell::Merge { low, high } => self.pair(&[low, high])?,
            Cell::Mapping { low, high } => self.mapping(&low, &high),
        }
        Ok(())
    }

    /// A record that comes into a table or leaves it, and what mapped columns elsewhere show through it.
    fn membership(&mut self, table: &Name, entity: EntityId) {
        self.note(table, entity, &Fields::These(BTreeSet::new()));
        for unions in self.unions.clone() {
            for field in unions.mapped_in(table) {
                self.field_in(&unions, table, entity, field);
            }
        }
    }

    fn field(&mut self, table: &Name, entity: EntityId, field: &Name) {
        for unions in self.unions.clone() {
            self.field_in(&unions, table, entity, field);
        }
    }

    /// A field, with all that are one with it by these unions.
    fn field_in(&mut self, unions: &Unions, table: &Name, entity: EntityId, field: &Name) {
        let own = [ColumnRef { table: table.clone(), column: field.clone() }];
        for ColumnRef { table, column } in unions.mapped(table, field).unwrap_or(&own) {
            self.note(table, entity, &Fields::These(BTreeSet::from([column.clone()])));
        }
    }

    /// An edit of a field in part, for all that are one with it.
    fn edit(&mut self, table: &Name, entity: EntityId, field: &Name, update: &[u8]) {
        let mut places = BTreeSet::new();
        let own = [ColumnRef { table: table.clone(), column: field.clone() }];
        for unions in &self.unions {
            let columns = unions.mapped(table, field).unwrap_or(&own).iter().cloned();
            places.extend(columns.map(|ColumnRef { table, column }| (table, unions.canonical(entity), column)));
        }
        for place in places.into_iter().filter(|(table, ..)| self.scope.holds(table)) {
            self.touched.documents.entry(place).or_default().push(update.to_vec());
        }
    }

    /// Notes a record under the ids by which it was and is known.
    fn note(&mut self, table: &Name, entity: EntityId, fields: &Fields) {
        if !self.scope.holds(table) {
            return;
        }
        for unions in &self.unions {
            let key = (table.clone(), unions.canonical(entity));
            let noted = self.touched.records.entry(key).or_insert(Fields::These(BTreeSet::new()));
            noted.add(fields.clone());
        }
    }

    /// Entities that were merged or split: all records that they belonged or belong to.
    fn pair(&mut self, pair: &[EntityId]) -> Read<()> {
        let mut ids = BTreeSet::new();
        for unions in &self.unions {
            ids.extend(pair.iter().flat_map(|id| unions.ids(id)).copied());
        }
        ids.retain(|id| !self.touched.renamed.contains(id));
        for id in ids {
            self.touched.renamed.insert(id);
            for view in [self.before, self.after] {
                for table in read::tables_of(view, id)? {
                    self.note(&table, id, &Fields::All);
                }
            }
        }
        Ok(())
    }

    fn mapping(&mut self, low: &ColumnRef, high: &ColumnRef) {
        self.touched.schema |= self.scope.holds(&low.table) || self.scope.holds(&high.table);
        let [before, after] = &self.unions;
        if before.groups() == after.groups() {
            return;
        }
        let columns = [before, after].into_iter().flat_map(|unions| {
            [low, high].into_iter().flat_map(|side| unions.mapped(&side.table, &side.column).into_iter().flatten())
        });
        let tables: BTreeSet<Name> = columns.map(|column| column.table.clone()).collect();
        self.touched.anew.extend(tables.into_iter().filter(|table| self.scope.holds(table)));
    }
}

#[cfg(test)]
mod tests {
    use openprod_domain::view::Empty;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn traced(scope: &Scope, cells: impl IntoIterator<Item = Cell>) -> Touched {
        let unions = [Empty.unions().unwrap(), Empty.unions().unwrap()];
        let mut tracing = Tracing { before: &Empty, after: &Empty, scope, unions, touched: Touched::default() };
        for cell in cells {
            tracing.add(cell).unwrap();
        }
        tracing.touched
    }

    #[test]
    fn a_scope_takes_what_is_in_its_tables() {
        let entity = EntityId::from_bytes([7; 16]);
        let scope = Scope { tables: Some(BTreeSet::from([name("cues")])) };
        let touched = traced(
            &scope,
            [
                Cell::Field { table: name("cues"), entity, field: name("label") },
                Cell::Facet { table: name("people"), entity },
                Cell::Setting { setting: name("name") },
                Cell::Table { table: name("people") },
            ],
        );
        assert_eq!(touched.records.len(), 1);
        assert!(!touched.schema && !touched.workspace);
        assert_eq!(touched.too_large(), v1::TooLarge { tables: vec!["cues".into()], edges: true });
    }

    #[test]
    fn a_batch_of_too_many_records_names_their_tables() {
        let ids = (0..=u128::try_from(MAX_CHANGED).unwrap()).map(|number| EntityId::from_bytes(number.to_be_bytes()));
        let cells = ids.map(|entity| Cell::Field { table: name("cues"), entity, field: name("x") });
        let touched = traced(&Scope::default(), cells);
        assert!(touched.is_too_large());
        assert_eq!(touched.too_large(), v1::TooLarge { tables: vec!["cues".into()], edges: false });
    }
}
