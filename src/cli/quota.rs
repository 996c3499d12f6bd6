//! `understudy account quota` and `understudy tenant quota`: how much mail there may be.

use super::error::CliError;
use super::{client, output};
use crate::ops::request::{Answer, QuotaEntry, QuotaOf, Request, SaidLimit};
use std::path::Path;

#[derive(clap::Args)]
pub(super) struct Args {
    /// From now on so much: 10GiB, 500MiB, `none`, or `default`.
    #[arg(long, value_parser = limit)]
    limit: Option<SaidLimit>,
}

const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

fn limit(text: &str) -> Result<SaidLimit, String> {
    match text {
        "none" => return Ok(SaidLimit::None),
        "default" => return Ok(SaidLimit::Default),
        _ => {}
    }
    let found = UNITS.iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(1 << shift)
    });
    found.map(SaidLimit::Bytes).ok_or_else(|| "such as 10GiB, 500MiB, none or default".to_owned())
}

pub(super) fn of_account(config: &Path, name: String, args: &Args) -> Result<(), CliError> {
    let entry = ask(config, &Request::AccountQuota(QuotaOf { name, limit: args.limit }))?;
    let whose = if entry.said == SaidLimit::Default { " (its tenant's)" } else { "" };
    let limit = entry.limit.map_or_else(|| "none".to_owned(), size);
    let used = size(entry.used.unwrap_or(0));
    output::say(&format!("Used   {used}\nLimit  {limit}{whose}\n"))
}

pub(super) fn of_tenant(config: &Path, name: String, args: &Args) -> Result<(), CliError> {
    let entry = ask(config, &Request::TenantQuota(QuotaOf { name, limit: args.limit }))?;
    let limit = match entry.said {
        SaidLimit::Bytes(n) => size(n),
        SaidLimit::None | SaidLimit::Default => "none".to_owned(),
    };
    output::say(&format!("Limit  {limit}, for accounts of which nothing else is said\n"))
}

fn ask(config: &Path, request: &Request) -> Result<QuotaEntry, CliError> {
    match client::ask(config, request)? {
        Answer::Quota(entry) => Ok(entry),
        other => Err(client::strange(&other)),
    }
}

/// In the largest unit of which there is one, with a decimal.
fn size(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, shift)| bytes >> shift > 0);
    let Some((unit, shift)) = unit else { return "0 B".to_owned() };
    if *shift == 0 {
        return format!("{bytes} B");
    }
    let tenths = (bytes >> (shift - 10)).saturating_mul(10) >> 10;
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_shown() {
        assert_eq!(limit("10GiB"), Ok(SaidLimit::Bytes(10 << 30)));
        assert_eq!(limit("3 MiB"), Ok(SaidLimit::Bytes(3 << 20)));
        assert_eq!(limit("17B"), Ok(SaidLimit::Bytes(17)));
        assert_eq!(limit("none"), Ok(SaidLimit::None));
        assert_eq!(limit("default"), Ok(SaidLimit::Default));
        for wrong in ["", "10", "10GB", "-1GiB", "99999999999TiB", "GiB", "0x1MiB"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            [0, 17, 1 << 20, 10 << 30, 1_610_612_736].map(size),
            ["0 B", "17 B", "1.0 MiB", "10.0 GiB", "1.5 GiB"]
        );
    }
}
