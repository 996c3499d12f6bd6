//! Runs every parser on its saved inputs and on seeded mutations of them (`fuzz/`).

#[path = "../../fuzz/src/lib.rs"]
#[expect(dead_code, unreachable_pub, reason = "the binaries of fuzz/ use the rest")]
mod targets;

use std::path::Path;

/// Mutations per parser and build; `FUZZ_MUTATIONS` overrides it, `FUZZ_SEED` gives others.
const MUTATIONS: u64 = 20_000;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn no_saved_input_and_no_mutation_panics_a_parser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let (mutations, seed) = (number("FUZZ_MUTATIONS", MUTATIONS), number("FUZZ_SEED", 1));
    for (name, entry) in targets::TARGETS {
        let saved = targets::corpus(&root, name).unwrap();
        assert!(!saved.is_empty(), "fuzz/corpus/{name} needs at least one input");
        for (file, bytes) in &saved {
            println!("{}", file.display());
            entry(bytes);
        }
        let inputs: Vec<Vec<u8>> = saved.into_iter().map(|(_, bytes)| bytes).collect();
        // The generator takes odd numbers only.
        let mut mutator = targets::Mutator::new(seed.wrapping_mul(2).wrapping_sub(1));
        for i in 0..mutations {
            let input = mutator.mutate(&inputs);
            if std::panic::catch_unwind(|| entry(&input)).is_err() {
                let shown = String::from_utf8_lossy(&input);
                panic!(
                    "{name} panics at mutation {i} of seed {seed}; save this in fuzz/corpus/{name}:\n{shown:?}"
                );
            }
        }
    }
}

#[test]
fn every_corpus_has_a_parser_and_every_parser_a_binary() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for entry in std::fs::read_dir(root.join("corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(targets::entry(&name).is_some(), "fuzz/corpus/{name} belongs to no target");
    }
    for (name, _) in targets::TARGETS {
        assert!(root.join(format!("src/bin/{name}.rs")).exists(), "fuzz/src/bin/{name}.rs");
    }
}
