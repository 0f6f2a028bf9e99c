//! The tables of the audiences that somebody listens for.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::table::{Audience, Diff, Published, Table};

/// Shared by all streams.
#[derive(Debug, Default)]
pub(super) struct Audiences {
    cells: Mutex<HashMap<Audience, Arc<Cell>>>,
}

/// The newest table of one audience, and the ways to it from older ones: most streams come from the same one.
#[derive(Debug, Default)]
pub(super) struct Cell {
    newest: Mutex<Newest>,
}

#[derive(Debug, Default)]
struct Newest {
    table: Arc<Table>,
    ways: HashMap<u64, Arc<Diff>>,
}

// === impl Audiences ===

impl Audiences {
    /// The cell of an audience, made when somebody asks.
    pub(super) fn cell(&self, audience: &Audience) -> Arc<Cell> {
        self.cells.lock().entry(audience.clone()).or_default().clone()
    }

    /// Works out the tables of a publication before anybody waits for them, and forgets audiences without listeners.
    pub(super) fn advance(&self, published: &Published) {
        let cells: Vec<(Audience, Arc<Cell>)> = {
            let mut cells = self.cells.lock();
            // Each stream holds its cell.
            cells.retain(|_, cell| Arc::strong_count(cell) > 1);
            cells.iter().map(|(audience, cell)| (audience.clone(), cell.clone())).collect()
        };
        for (audience, cell) in cells {
            cell.table(published, &audience);
        }
    }
}

// === impl Cell ===

impl Cell {
    /// The table of this publication; that of a newer one, if there is one already.
    pub(super) fn table(&self, published: &Published, audience: &Audience) -> Arc<Table> {
        let mut newest = self.newest.lock();
        if newest.table.counter < published.counter {
            *newest = Newest { table: Table::next(&newest.table, published, audience).into(), ways: HashMap::new() };
        }
        newest.table.clone()
    }

    /// The way from one table to another.
    pub(super) fn way(&self, from: &Table, to: &Table) -> Arc<Diff> {
        let mut newest = self.newest.lock();
        if newest.table.counter != to.counter {
            return Diff::between(from, to).into();
        }
        newest.ways.entry(from.counter).or_insert_with(|| Diff::between(from, to).into()).clone()
    }
}
