//! `gatewright check`: the verdicts of a policy set, in the words of status conditions.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use crds::{
    compile::{Compiler, LastGood, Options, Verdict},
    documents::Objects,
};

use crate::{
    USAGE,
    cli::{CheckArgs, Output},
    config,
};

/// Exit 1: an object is not accepted, or holds a weak or wrong secret; with `--strict` also for a missing reference. Exit 2: a file
/// that cannot be read or parsed.
pub(crate) fn command(args: &CheckArgs, out: &mut impl Write) -> u8 {
    let objects = match config::load(&args.paths) {
        Ok(objects) => objects,
        Err(code) => return code,
    };
    let verdicts = Compiler::new(options(), LastGood::default()).compile(&objects).verdicts;
    let written = match args.output {
        Output::Text => text(out, &verdicts),
        Output::Json => {
            serde_json::to_string_pretty(&verdicts).map_err(io::Error::other).and_then(|json| writeln!(out, "{json}"))
        }
    };
    // A reader that went away does not change the verdict.
    drop(written);
    notes(&objects, &verdicts);
    if !objects.unreadable.is_empty() {
        return USAGE;
    }
    let bad = |verdict: &Verdict| {
        !verdict.is_accepted() || verdict.has_unfit_reference() || (args.strict && !verdict.is_resolved())
    };
    u8::from(verdicts.iter().any(bad))
}

/// The options of a policy set that is served from files.
pub(crate) fn options() -> Options {
    Options { lone_policy_answers_all: true, fallback_namespace: None, ..Options::default() }
}

/// What is no verdict: on standard error, so that the output stays a list of verdicts.
fn notes(objects: &Objects, verdicts: &[Verdict]) {
    let mut err = anstream::stderr();
    for (place, what) in &objects.foreign {
        let _ = writeln!(err, "note: {place}: {what} is none of our kinds and was skipped");
    }
    for (place, what) in &objects.replaced {
        let _ = writeln!(err, "warning: {place}: {what}");
    }
    if verdicts.is_empty() && objects.unreadable.is_empty() {
        let _ = writeln!(err, "note: there is no AuthPolicy and no DataSource in these files");
    }
}

fn text(out: &mut impl Write, verdicts: &[Verdict]) -> io::Result<()> {
    let bold = Style::new().bold();
    for verdict in verdicts {
        writeln!(out, "{bold}{} {}{bold:#}  ({})", verdict.kind, verdict.name, verdict.place)?;
        for condition in &verdict.conditions {
            let colour = if condition.status { AnsiColor::Green } else { AnsiColor::Red }.on_default();
            let status = if condition.status { "True" } else { "False" };
            writeln!(
                out,
                "  {:<13} {colour}{status:<5}{colour:#}  {:<18} {}",
                condition.r#type.to_string(),
                condition.reason.to_string(),
                condition.message
            )?;
        }
        if !verdict.hostnames.is_empty() {
            let hosts: Vec<String> = verdict.hostnames.iter().map(ToString::to_string).collect();
            writeln!(out, "  hosts         {}", hosts.join(", "))?;
        }
    }
    Ok(())
}
