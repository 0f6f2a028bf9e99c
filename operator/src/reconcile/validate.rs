//! Phase 2: the compile step of `gatewright check`. Nothing is decided here, and nothing twice.

use std::sync::Arc;

use crds::{
    compile::{Compiled, Compiler, Verdict},
    documents::Objects,
    push::Pushed,
};

/// A policy set with its verdicts. Made by [`validate`] only.
pub(super) struct Validated {
    compiled: Compiled,
    objects: Arc<Objects>,
}

// === impl Validated ===

impl Validated {
    pub(super) fn verdicts(&self) -> &[Verdict] {
        &self.compiled.verdicts
    }

    pub(super) fn pushed(&self) -> &[Pushed] {
        &self.compiled.pushed
    }

    pub(super) fn objects(&self) -> Arc<Objects> {
        self.objects.clone()
    }

    pub(super) fn rejected(&self) -> usize {
        self.verdicts().iter().filter(|verdict| !verdict.is_accepted()).count()
    }
}

/// Compiles what was dereferenced.
pub(super) fn validate(compiler: &mut Compiler, objects: Objects) -> Validated {
    let compiled = compiler.compile(&objects);
    Validated { compiled, objects: Arc::new(objects) }
}
