//! What `-v` shows, on stderr. Never bodies of requests or texts of SQL statements: that is where passwords would be.

use tracing_subscriber::EnvFilter;

/// What each number of `-v` lets through. The SDK's runtime and HTTP layers log request bodies below `info`, and sqlx the statements of
/// slow queries at `warn`, so neither is ever opened that far; `RUST_LOG` is not read for the same reason.
const LEVELS: [&str; 4] = [
    "off",
    "warn,labctl=info,sqlx::query=off",
    "warn,labctl=debug,sqlx::query=off",
    "warn,labctl=trace,aws_config=debug,aws_smithy_runtime=info,sqlx=info,sqlx::query=off",
];

/// Begins to log. Does nothing without `-v`.
pub(super) fn start(verbosity: u8, colour: bool) {
    if verbosity == 0 {
        return;
    }
    let level = LEVELS[usize::from(verbosity).min(LEVELS.len() - 1)];
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(verbosity > 1)
        .compact()
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_level_lets_bodies_or_statements_through() {
        for level in &LEVELS[1..] {
            assert!(EnvFilter::try_new(level).is_ok(), "{level}");
            assert!(level.contains("sqlx::query=off"), "{level}");
            assert!(!level.contains("aws_smithy_runtime=debug") && !level.contains("hyper"), "{level}");
        }
    }
}
