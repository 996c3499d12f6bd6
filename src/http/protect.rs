//! Headers that every answer carries.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Response};

/// What a page may do that says nothing about itself: nothing. The app's pages say more.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; sandbox";
/// Short and for this host alone. While a browser remembers it, nobody may go on to a host whose
/// certificate it does not know: an appliance that has to fall back to its own authority would be out of
/// reach for so long.
const TRANSPORT: &str = "max-age=604800";
const PERMISSIONS: &str = "accelerometer=(), autoplay=(), browsing-topics=(), camera=(), \
                           display-capture=(), encrypted-media=(), geolocation=(), gyroscope=(), \
                           hid=(), magnetometer=(), microphone=(), midi=(), payment=(), \
                           screen-wake-lock=(), serial=(), usb=(), xr-spatial-tracking=()";

/// Always so.
static FIXED: [(HeaderName, &str); 4] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
/// So, unless the handler says otherwise.
static DEFAULT: [(HeaderName, &str); 3] = [
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (HeaderName::from_static("permissions-policy"), PERMISSIONS),
];

/// Adds them to `response`, which went through TLS if `secure`.
pub(super) fn protect<B>(response: &mut Response<B>, secure: bool) {
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in &FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in &DEFAULT {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    // RFC 6797 7.2: never in the clear.
    if secure {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(TRANSPORT));
    }
}
