//! A library that uses pools, under the programs that run its tests, its documentation and its benchmarks.

use crate::crates::cargo;

/// A library with tests of all kinds.
pub(crate) const CRATE: &[(&str, &str)] = &[
    (
        "harness/Cargo.toml",
        r#"
[package]
name = "harness"
version = "0.0.0"
# Each doctest is a program of its own; since 2024 they share one, as those of multiproc do.
edition = "2021"

[dependencies]
multiproc = { workspace = true, features = ["auto"] }

[[bench]]
name = "bench"
harness = false
"#,
    ),
    (
        "harness/src/lib.rs",
        r#"
/// ```
/// assert_eq!(harness::squares(4), [0, 1, 4, 9]);
/// ```
///
/// ```
/// let pool = multiproc::Pool::new(1).unwrap();
/// assert_eq!(pool.apply(|x: u64| harness::squares(x), (4,)).unwrap(), [0, 1, 4, 9]);
/// ```
pub fn squares(up_to: u64) -> Vec<u64> {
    multiproc::Pool::new(2).unwrap().map(|x: u64| x * x, 0..up_to).unwrap()
}

#[cfg(test)]
mod tests {
    #[test]
    fn inside() {
        assert_eq!(super::squares(4), [0, 1, 4, 9]);
    }

    #[test]
    fn a_closure_of_a_test() {
        let pool = multiproc::Pool::new(1).unwrap();
        assert!(pool.map_each(|x: u64| assert_eq!(x, 0), 0..2)[1].as_ref().unwrap_err().is_panic());
    }
}
"#,
    ),
    (
        "harness/tests/outside.rs",
        r#"
#[test]
fn outside() {
    assert_eq!(harness::squares(4), [0, 1, 4, 9]);
}
"#,
    ),
    (
        "harness/benches/bench.rs",
        r#"
fn main() {
    println!("bench main");
    println!("bench {:?}", harness::squares(4));
}
"#,
    ),
];

#[test]
fn cargo_test() {
    let ran = cargo(&["test", "--package", "harness", "--lib", "--test", "outside"]).good();
    for name in ["tests::inside", "tests::a_closure_of_a_test", "outside"] {
        assert!(ran.contains(&format!("test {name} ... ok\n")), "{ran}");
    }
    assert_eq!(ran.matches("test result: ok.").count(), 2, "{ran}");
}

#[test]
fn doctests() {
    let ran = cargo(&["test", "--package", "harness", "--doc"]).good();
    assert!(ran.contains("test result: ok. 2 passed"), "{ran}");
}

#[test]
fn nextest() {
    if !cargo(&["nextest", "--version"]).status.success() {
        println!("skipped: there is no cargo nextest");
        return;
    }
    let ran = cargo(&["nextest", "run", "--package", "harness", "--no-fail-fast"]);
    // It reports on stderr.
    assert!(ran.status.success() && ran.err.contains("3 tests run: 3 passed"), "{ran}");
}

#[test]
fn benches() {
    let ran = cargo(&["bench", "--quiet", "--package", "harness", "--bench", "bench"]).good();
    assert_eq!(ran, "bench main\nbench [0, 1, 4, 9]\n");
}
