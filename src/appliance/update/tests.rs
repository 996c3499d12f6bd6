//! Histories of updates.
