//! Asks a service for JSON, within bounds that it cannot move, and says in words what went wrong. A token comes from a
//! file or the environment, is read anew for each request, and stands in no error.
// spec: EN-1, EN-3

use super::observed::Trouble;
use crate::config::secret::Secret;
use serde_json::Value;
use std::io::Read as _;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use ureq::http::{HeaderValue, Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long an answer may take, all in all: a feed over a slow line. Meanwhile the last value holds.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most bytes of an answer: four days of forecast in five-minute steps are a fifth of it.
const MAX_ANSWER: u64 = 1 << 20;
/// Longest time for which a service that says so is left alone. An hour: what it says is not to silence it for ever.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// Where to ask, and with which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asking {
    /// The address.
    pub(crate) url: String,
    /// The key, if it needs one.
    pub(crate) token: Option<Secret>,
    /// The header that it goes into; `Authorization`, as a bearer's, if none is named.
    pub(crate) header: Option<String>,
}

/// An address that may be asked: over HTTP, with a host, and without a password in it, which would be shown.
pub(crate) fn check(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no address; write http://HOST:PORT/PATH"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(format!("{url:?} is no address; write http://HOST:PORT/PATH or https://HOST/PATH"));
    }
    let inside = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    match inside {
        true => Err("an address with a password in it would be shown; name a file with token_file".into()),
        false => Ok(()),
    }
}

/// The address as it is shown: without its query, in which some services want a key.
pub(crate) fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

/// Is it on this machine or in this home? No proxy leads there.
fn is_near(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(addr)) => addr.is_loopback() || addr.is_private() || addr.is_link_local(),
        Ok(IpAddr::V6(addr)) => addr.is_loopback() || addr.is_unique_local() || addr.is_unicast_link_local(),
        Err(_) => bare == "localhost" || bare.ends_with(".local") || !bare.contains('.'),
    }
}

/// The authorities that this machine trusts, its owner's own among them; read once.
fn roots() -> RootCerts {
    static ROOTS: OnceLock<RootCerts> = OnceLock::new();
    let read = || {
        let found = rustls_native_certs::load_native_certs();
        let own: Vec<_> =
            found.certs.iter().map(|cert| Certificate::from_der(cert.as_ref()).to_owned()).collect();
        if own.is_empty() {
            tracing::warn!("this machine has no list of authorities, so that no https address can be asked");
        }
        RootCerts::from(own)
    };
    ROOTS.get_or_init(read).clone()
}

fn agent(host: &str, secure: bool, patience: Duration) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("taskmesh/", env!("CARGO_PKG_VERSION")))
        .accept("application/json");
    if is_near(host) {
        config = config.proxy(None);
    }
    if secure {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder().root_certs(roots()).unversioned_rustls_crypto_provider(ring);
        config = config.tls_config(tls.build());
    }
    config.build().new_agent()
}

impl Asking {
    /// Asks once, at this address below its own.
    pub(crate) fn get(&self, below: &str) -> Result<Value, Trouble> {
        self.get_within(below, PATIENCE)?
            .ok_or_else(|| Trouble::from(format!("{} has nothing to tell", shown(&self.url))))
    }

    /// The same; none if there is nothing to tell.
    pub(crate) fn get_if_any(&self, below: &str) -> Result<Option<Value>, Trouble> {
        self.get_within(below, PATIENCE)
    }

    pub(super) fn get_within(&self, below: &str, patience: Duration) -> Result<Option<Value>, Trouble> {
        let url = format!("{}{below}", self.url);
        let place = shown(&url);
        let failed = |why: String| Trouble::from(format!("{place}: {why}"));
        let uri: Uri = url.parse().map_err(|_| failed("it is no address".into()))?;
        let agent = agent(uri.host().unwrap_or_default(), uri.scheme_str() == Some("https"), patience);
        let mut request = agent.get(&url);
        if let Some(token) = &self.token {
            let token = token.read().map_err(failed)?;
            let text = match &self.header {
                Some(_) => token,
                None => format!("Bearer {token}"),
            };
            let mut value = HeaderValue::from_str(&text)
                .map_err(|_| failed("the token has characters that no header takes".into()))?;
            value.set_sensitive(true);
            request = request.header(self.header.as_deref().unwrap_or("Authorization"), value);
        }
        let response = request.call().map_err(|error| failed(said(&error, patience)))?;
        self.answer(response, patience).map_err(|trouble| Trouble { why: failed(trouble.why).why, ..trouble })
    }

    fn answer(&self, response: Response<ureq::Body>, patience: Duration) -> Result<Option<Value>, Trouble> {
        let status = response.status();
        if !status.is_success() {
            let rest = response.headers().get("retry-after").and_then(|value| rest(value.to_str().ok()?));
            return Err(Trouble { why: refused(status.as_u16(), self.token.is_some(), rest), rest });
        }
        if status.as_u16() == 204 {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        // One more than is taken, so that what is too long is known to be.
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader().take(MAX_ANSWER + 1);
        body.read_to_end(&mut bytes).map_err(|error| {
            match error.get_ref().and_then(|it| it.downcast_ref()) {
                Some(inner) => Trouble::from(said(inner, patience)),
                None => Trouble::from(format!("its answer broke off: {error}")),
            }
        })?;
        if bytes.len() as u64 > MAX_ANSWER {
            return Err(Trouble::from(format!("its answer has more than {MAX_ANSWER} bytes")));
        }
        let wrong = |error: serde_json::Error| Trouble::from(format!("its answer is no JSON: {error}"));
        serde_json::from_slice(&bytes).map(Some).map_err(wrong)
    }
}

/// Seconds that a service wants to be left alone.
fn rest(header: &str) -> Option<Duration> {
    header.trim().parse().ok().map(|seconds| Duration::from_secs(seconds).min(LONGEST_REST))
}

/// What a status means, and what mends it.
fn refused(status: u16, with_token: bool, rest: Option<Duration>) -> String {
    let what = match status {
        401 | 403 if with_token => {
            "it does not take the token; make a new one and put it where it is read from"
        }
        401 | 403 => "it wants a token; name a file that holds one with token_file",
        404 | 410 => "it has nothing at this address; check it",
        429 => "it was asked too often; ask it less often with every",
        300..=399 => "it answers from elsewhere; write that address",
        400..=499 => "it does not take the question",
        _ => "it is in trouble itself",
    };
    let rest = rest.map(|rest| format!(", and wants {} s of rest", rest.as_secs())).unwrap_or_default();
    format!("status {status}: {what}{rest}")
}

fn said(error: &ureq::Error, patience: Duration) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("it did not answer within {} s", patience.as_secs_f64()),
        ureq::Error::HostNotFound => "there is no host of that name".into(),
        ureq::Error::Io(error) => format!("it could not be reached or broke off: {error}"),
        ureq::Error::Rustls(error) => format!("its certificate does not hold: {error}"),
        other => other.to_string(),
    }
}
