//! Tables: YAML in, verdicts and snapshot out.
