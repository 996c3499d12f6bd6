//! Canonical forms of domains and addresses: what two spellings of the same name share.

/// Why a text is not an address or a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@`, or nothing on one of its sides.
    #[error("an address has the form name@domain")]
    Form,
    /// RFC 5321 4.5.3.1.1.
    #[error("the part before @ is longer than 64 bytes")]
    LocalTooLong,
    /// RFC 5321 4.5.3.1.2.
    #[error("the domain is longer than 255 bytes")]
    DomainTooLong,
    /// Spaces, control characters and the like.
    #[error("it has characters that no address has")]
    Characters,
}

/// Splits at the last `@`.
pub fn split_address(address: &str) -> Result<(&str, &str), AddressError> {
    match address.rsplit_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok((local, domain)),
        _ => Err(AddressError::Form),
    }
}

/// A domain in lower case without a final dot. U-labels stay as they are written.
pub fn canonical_domain(domain: &str) -> Result<String, AddressError> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    if domain.is_empty() || domain.split('.').any(str::is_empty) {
        return Err(AddressError::Form);
    }
    if domain.len() > 255 {
        return Err(AddressError::DomainTooLong);
    }
    if !domain.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_')) {
        return Err(AddressError::Characters);
    }
    Ok(domain.to_lowercase())
}

/// An address in the one form that it is looked up by. Local parts are taken without regard to case:
/// RFC 5321 2.4 lets the receiving system decide, and every system that we stand in for does so.
/// A quoted local part that needs no quotes equals the same without (RFC 5321 4.1.2).
pub fn canonical_address(address: &str) -> Result<String, AddressError> {
    let (local, domain) = split_address(address)?;
    let domain = canonical_domain(domain)?;
    let unquoted = match local.strip_prefix('"').and_then(|l| l.strip_suffix('"')) {
        Some(quoted) => unquote(quoted)?,
        None if local.contains(['"', '(', ')', '<', '>', '[', ']', ':', ';', '\\', ',', ' ']) => {
            return Err(AddressError::Characters);
        }
        None => local.to_owned(),
    };
    if unquoted.is_empty() {
        return Err(AddressError::Form);
    }
    if unquoted.len() > 64 {
        return Err(AddressError::LocalTooLong);
    }
    if unquoted.chars().any(char::is_control) {
        return Err(AddressError::Characters);
    }
    Ok(format!("{}@{domain}", unquoted.to_lowercase()))
}

fn unquote(quoted: &str) -> Result<String, AddressError> {
    let mut plain = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next().ok_or(AddressError::Characters)?),
            '"' => return Err(AddressError::Characters),
            c => plain.push(c),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_address_meet() {
        for spelling in ["Ada@Example.ORG", "ada@example.org.", "\"ada\"@example.org"] {
            assert_eq!(canonical_address(spelling).as_deref(), Ok("ada@example.org"));
        }
        assert_eq!(canonical_address("jürgen@müller.de").as_deref(), Ok("jürgen@müller.de"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "@", "a@", "@b", "a", "a b@c", "a@b..c", "a@b c", "<a@b>", "\"a@b", "a\r@b"]
        {
            assert!(canonical_address(text).is_err(), "{text:?}");
        }
        assert_eq!(
            canonical_address(&format!("{}@b", "a".repeat(65))),
            Err(AddressError::LocalTooLong)
        );
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own(text in "[a-zA-Z0-9.+_\"\\\\@-]{0,20}") {
            if let Ok(once) = canonical_address(&text)
                && let Ok(twice) = canonical_address(&once)
            {
                prop_assert_eq!(once, twice);
            }
        }
    }
}
