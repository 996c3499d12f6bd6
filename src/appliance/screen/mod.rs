//! The page that staff see when they plug in a monitor: how things are, and what to do.
//!
//! [`gather`] finds the facts out, [`render()`] makes lines of them, [`menu`] decides what keys do,
//! [`driver`] owns a terminal and brings them together, one process for each terminal.
//!
//! Invariants: reading needs no log-in; every action but unlocking the data disk stands behind the
//! recovery code and asks once more; nothing typed ends the page, reaches a shell or is logged.
//! Deliberately absent: a shell, settings, anything that is not also a command.

pub mod action;
mod advice;
mod canvas;
mod code;
pub mod driver;
mod facts;
pub mod gather;
mod keys;
pub mod menu;
mod render;
mod terminal;
mod verdict;
mod view;

use crate::ops::status::Language;
pub use canvas::{Level, Line, Screen, Style};
pub use facts::{Clock, DiskUse, Facts, Interface, Program};
pub use keys::Key;
pub use render::render;
pub use view::view;

/// A text in the language of the page.
const fn pick<'a>(language: Language, en: &'a str, de: &'a str) -> &'a str {
    match language {
        Language::En => en,
        Language::De => de,
    }
}

#[cfg(test)]
mod tests;
