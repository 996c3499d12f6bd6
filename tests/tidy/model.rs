//! The pair's rules hold in the model, and each of them is needed.

use super::root;
use std::process::Command;

/// About a minute of one core: see docs/model/README.md.
#[test]
fn the_model_holds_and_every_mutant_is_caught() {
    let output = Command::new("python3")
        .arg(root().join("docs/model/ha_model.py"))
        .arg("--quick")
        .output()
        .expect("python3 is needed for the model of the pair");
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the model of the pair does not hold:\n{said}{errors}");
}
