# What the jobs share. A job sources this file first; from then on it stands in the root of the repository and ends at the
# first command that fails.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# A job builds everything once: what would make building it again faster takes an eighth longer.
export CARGO_INCREMENTAL=0
# Many tests panic on purpose, in workers: with a backtrace for each of them the tests of pools take a fifth longer.
export RUST_BACKTRACE=0

# Prints a command, and runs it.
step() {
    printf '\n== %s\n' "$*"
    "$@"
}

# Says what a job cannot do on this machine. The job goes on without it.
note() {
    printf '\n== note: %s\n' "$*"
}

# Whether rustup has, or can install, a component of a toolchain: `has_component clippy [TOOLCHAIN]`.
has_component() {
    rustup component add "$1" ${2:+--toolchain "$2"} >/dev/null 2>&1
}

# The same for the standard library of another target: `has_target TRIPLE`.
has_target() {
    rustup target add "$1" >/dev/null 2>&1
}

# The same for a whole toolchain, which is not updated if it is there: `has_toolchain 1.86`.
has_toolchain() {
    rustup run "$1" rustc --version >/dev/null 2>&1 || rustup toolchain install "$1" --profile minimal >/dev/null 2>&1
}
