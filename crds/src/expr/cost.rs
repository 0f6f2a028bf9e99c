//! How much an expression may cost, from its text alone. Owns the estimate; must never evaluate.
//!
//! Every value of a request counts with [`INPUT_BYTES`] and the allowed number of entries. A loop multiplies the work in its body by
//! the entries of its range, and its entries share the bytes of the range.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr as Ast, IdedExpr, LiteralValue, operators};

use super::{
    ExprError, INPUT_BYTES, MAX_BYTES, MAX_WORK, Variable,
    library::{JOIN, MAX_PIECES, MAX_TEXT, REPLACE, SPLIT},
};

/// The cost of an expression as it adds up.
pub(super) struct Budget<'e> {
    work: u64,
    largest: u64,
    /// How often the node at hand is evaluated.
    times: u64,
    max_items: u64,
    scope: Vec<(&'e str, Size)>,
}

/// An upper bound on a value.
#[derive(Debug, Clone, Copy)]
struct Size {
    bytes: u64,
    /// Entries, if it is a list or a map.
    items: u64,
    /// Entries of an entry.
    inner: u64,
}

/// A bool, a number, a short text.
const SMALL: Size = Size { bytes: 32, items: 1, inner: 1 };
/// Bytes that text functions handle in the time of one step.
const BYTES_PER_STEP: u64 = 64;
/// Entries that `in` compares in the time of one step.
const ITEMS_PER_STEP: u64 = 8;

/// How deep `ast` is nested.
pub(super) fn depth(ast: &IdedExpr) -> usize {
    1 + children(ast).into_iter().map(depth).max().unwrap_or(0)
}

/// The direct parts of `ast`.
fn children(ast: &IdedExpr) -> Vec<&IdedExpr> {
    match &ast.expr {
        Ast::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Ast::Select(select) => vec![&select.operand],
        Ast::List(list) => list.elements.iter().collect(),
        Ast::Map(map) => entries(&map.entries),
        Ast::Struct(message) => entries(&message.entries),
        Ast::Comprehension(each) => {
            vec![&each.iter_range, &each.accu_init, &each.loop_cond, &each.loop_step, &each.result]
        }
        Ast::Ident(_) | Ast::Literal(_) | Ast::Unspecified => Vec::new(),
    }
}

fn entries(entries: &[cel::common::ast::IdedEntryExpr]) -> Vec<&IdedExpr> {
    entries
        .iter()
        .flat_map(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
            EntryExpr::StructField(field) => vec![&field.value],
        })
        .collect()
}

// === impl Size ===

impl Size {
    fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            items: self.items.saturating_add(other.items),
            inner: self.inner.max(other.inner),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.max(other.bytes),
            items: self.items.max(other.items),
            inner: self.inner.max(other.inner),
        }
    }

    fn times(self, times: u64) -> Self {
        Self { bytes: self.bytes.saturating_mul(times), items: self.items.saturating_mul(times), inner: self.inner }
    }

    /// A member, which may hold nearly all of it.
    fn member(self) -> Self {
        Self { bytes: self.bytes, items: self.inner, inner: self.inner }
    }

    /// One entry in a loop over all of them: they share the bytes.
    fn entry(self) -> Self {
        Self { bytes: (self.bytes / self.items.max(1)).max(SMALL.bytes), items: self.inner, inner: self.inner }
    }
}

// === impl Budget ===

impl<'e> Budget<'e> {
    pub(super) fn new(max_items: usize) -> Self {
        Self { work: 0, largest: 0, times: 1, max_items: max_items as u64, scope: Vec::new() }
    }

    pub(super) fn check(mut self, ast: &'e IdedExpr) -> Result<(), ExprError> {
        self.size(ast);
        if self.work > MAX_WORK {
            return Err(ExprError::TooMuchWork { steps: self.work });
        }
        if self.largest > MAX_BYTES {
            return Err(ExprError::TooLarge { bytes: self.largest });
        }
        Ok(())
    }

    fn spend(&mut self, steps: u64) {
        self.work = self.work.saturating_add(steps.saturating_mul(self.times));
    }

    fn size(&mut self, ast: &'e IdedExpr) -> Size {
        self.spend(1);
        let size = match &ast.expr {
            Ast::Literal(LiteralValue::String(text)) => Size { bytes: text.inner().len() as u64, ..SMALL },
            Ast::Literal(LiteralValue::Bytes(bytes)) => Size { bytes: bytes.inner().len() as u64, ..SMALL },
            Ast::Literal(_) | Ast::Unspecified => SMALL,
            Ast::Ident(name) => self.variable(name),
            Ast::Select(select) => {
                let operand = self.size(&select.operand);
                if select.test { SMALL } else { operand.member() }
            }
            Ast::Call(call) => self.call(call),
            Ast::Comprehension(each) => self.comprehension(each),
            Ast::List(_) | Ast::Map(_) | Ast::Struct(_) => {
                let parts: Vec<Size> = children(ast).into_iter().map(|part| self.size(part)).collect();
                let bytes = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.bytes));
                let inner = parts.iter().map(|part| part.items).max().unwrap_or(1);
                Size { bytes, items: parts.len() as u64, inner }
            }
        };
        self.largest = self.largest.max(size.bytes);
        size
    }

    fn variable(&self, name: &str) -> Size {
        if let Some((_, size)) = self.scope.iter().rev().find(|(own, _)| *own == name) {
            return *size;
        }
        match Variable::named(name) {
            Some(variable) if variable.is_map() => {
                Size { bytes: INPUT_BYTES, items: self.max_items, inner: self.max_items }
            }
            Some(variable) if variable.is_list() => Size { bytes: INPUT_BYTES, items: self.max_items, inner: 1 },
            Some(_) => Size { bytes: INPUT_BYTES, ..SMALL },
            None => SMALL,
        }
    }

    fn call(&mut self, call: &'e CallExpr) -> Size {
        let parts: Vec<Size> =
            call.target.as_deref().into_iter().chain(&call.args).map(|part| self.size(part)).collect();
        let part = |index: usize| parts.get(index).copied().unwrap_or(SMALL);
        let all = parts.iter().copied().reduce(Size::and).unwrap_or(SMALL);
        match call.func_name.as_str() {
            operators::CONDITIONAL => part(1).or(part(2)),
            operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE => {
                SMALL
            }
            operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT => part(0).member(),
            operators::IN => {
                self.spend(part(1).items / ITEMS_PER_STEP);
                SMALL
            }
            // Naive: every place of the one is compared with every place of the other.
            "indexOf" | "lastIndexOf" => {
                self.spend(part(0).bytes.saturating_mul(part(1).bytes) / BYTES_PER_STEP);
                SMALL
            }
            SPLIT => {
                self.spend(MAX_PIECES as u64);
                Size { bytes: part(0).bytes, items: MAX_PIECES as u64, inner: 1 }
            }
            JOIN | REPLACE => {
                self.spend(MAX_TEXT as u64 / BYTES_PER_STEP);
                Size { bytes: MAX_TEXT as u64, ..SMALL }
            }
            _ => {
                self.spend(all.bytes / BYTES_PER_STEP);
                all
            }
        }
    }

    fn comprehension(&mut self, each: &'e ComprehensionExpr) -> Size {
        let range = self.size(&each.iter_range);
        let start = self.size(&each.accu_init);
        let depth = self.scope.len();
        self.scope.push((&each.accu_var, start));
        self.scope.push((&each.iter_var, range.entry()));
        let times = self.times;
        self.times = times.saturating_mul(range.items);
        self.size(&each.loop_cond);
        let step = self.size(&each.loop_step);
        self.times = times;
        self.scope.truncate(depth);
        self.scope.push((&each.accu_var, start.or(step.times(range.items))));
        let result = self.size(&each.result);
        self.scope.truncate(depth);
        result
    }
}
