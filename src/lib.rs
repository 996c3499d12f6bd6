//! Understudy: the mail, calendar and meeting system that stands in when a company's own fails.

pub mod base;
pub mod vrrp;
