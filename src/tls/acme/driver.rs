//! Does what the plans say, while this node is primary.

use super::super::challenge::{Asked, Challenges, Posted};
use super::super::vault::Vault;
use super::super::{Service, TlsError, sha256};
use super::client::Client;
use super::plan::{Alarm, Life, Next, Plan};
use super::{ACCOUNT, AcmeError, CERTIFICATE, Obtained};
use crate::base::clock;
use crate::base::secret::{self, Secret};
use crate::config;
use crate::store::PrimaryLease;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use understudy_proto::time::UnixMs;

/// Most time that one certificate may take.
const ORDER_TIMEOUT: Duration = Duration::from_secs(300);
/// How often plans are looked at when nothing is due: the clock may have been set.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// How long and how often the authority is asked whether it is done.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(90));
/// The profile of certificates for addresses where the authority has profiles.
const SHORT_LIVED: &str = "shortlived";

/// How an authority can reach this appliance.
#[derive(Clone, Copy, Debug)]
pub struct Ways {
    /// Port 80 is open (http-01).
    pub http: bool,
    /// Port 443 is open (tls-alpn-01).
    pub tls: bool,
}

/// One certificate that is wanted.
struct Wanted {
    id: &'static str,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// The account as it lies in the vault.
#[derive(Serialize, Deserialize)]
struct Known {
    directory: String,
    #[serde(serialize_with = "secret::serialize_exposed")]
    credentials: Secret<String>,
}

/// Keeps the appliance's certificates. Clones are the same.
#[derive(Clone)]
pub struct Acme(Arc<Inner>);

struct Inner {
    config: config::Acme,
    service: Service,
    vault: Vault,
    ways: Ways,
    client: Client,
    wanted: Vec<Wanted>,
    /// One for each that is wanted.
    plans: Mutex<Vec<Plan>>,
}

impl Acme {
    /// Of `config`, for `service`.
    ///
    /// # Errors
    /// The operator's own root cannot be read.
    pub fn new(config: config::Acme, service: Service, ways: Ways) -> Result<Self, TlsError> {
        let client = Client::new(config.root.as_deref())?;
        let mut wanted = Vec::new();
        // Apart: those for addresses hold for days only (RFC 8738 says nothing; authorities do).
        let (names, addresses) = (config.names.clone(), config.addresses.clone());
        if !names.is_empty() {
            wanted.push(Wanted { id: "names", names, addresses: Vec::new() });
        }
        if !addresses.is_empty() {
            wanted.push(Wanted { id: "addresses", names: Vec::new(), addresses });
        }
        let plans = Mutex::new(vec![Plan::default(); wanted.len()]);
        let vault = service.vault();
        Ok(Self(Arc::new(Inner { config, service, vault, ways, client, wanted, plans })))
    }

    /// What an operator should know, with whose certificate it is: its first name or address.
    #[must_use]
    pub fn alarms(&self, now: UnixMs) -> Vec<(String, Alarm)> {
        let mut plans = self.0.plans();
        let pairs = self.0.wanted.iter().zip(plans.iter_mut());
        pairs
            .filter_map(|(wanted, plan)| {
                plan.hold(self.0.held(wanted).map(|(life, _)| life));
                plan.alarm(now).map(|alarm| (wanted.subject(), alarm))
            })
            .collect()
    }

    /// Obtains and renews under each lease; never ends.
    pub async fn run(self, mut leases: watch::Receiver<Option<PrimaryLease>>) {
        loop {
            let lease = leases.borrow_and_update().clone().filter(PrimaryLease::valid);
            let wait = match lease {
                None => LOOK_EVERY,
                Some(lease) => tokio::select! {
                    biased;
                    () = lease.revoked() => continue,
                    wait = self.0.round() => wait,
                },
            };
            tokio::select! {
                changed = leases.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
                () = tokio::time::sleep(wait.min(LOOK_EVERY)) => {}
            }
        }
    }
}

impl Inner {
    fn plans(&self) -> MutexGuard<'_, Vec<Plan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate that is just as wanted: its life, and a number that is its own.
    fn held(&self, wanted: &Wanted) -> Option<(Life, u64)> {
        let text = self.vault.get(&wanted.item())?;
        let found = Obtained::read(text.expose()).ok()?;
        if found.names != wanted.names || found.addresses != wanted.addresses {
            return None;
        }
        let hash = sha256(found.chain.as_bytes());
        let chance = hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Some((found.life()?, chance))
    }

    /// Obtains what is due; when to look again.
    async fn round(&self) -> Duration {
        let mut least = LOOK_EVERY;
        for (number, wanted) in self.wanted.iter().enumerate() {
            let now = clock::now_ms();
            let held = self.held(wanted);
            let (next, failures) = {
                let mut plans = self.plans();
                let Some(plan) = plans.get_mut(number) else { continue };
                plan.hold(held.map(|(life, _)| life));
                (plan.next(now, held.map_or(0, |(_, chance)| chance)), plan.failures())
            };
            if let Next::Wait(wait) = next {
                least = least.min(wait);
                continue;
            }
            let obtained =
                Box::pin(tokio::time::timeout(ORDER_TIMEOUT, self.obtain(wanted, failures)));
            match obtained.await.unwrap_or(Err(AcmeError::Timeout)) {
                Ok(()) => {
                    log::info!(host = wanted.subject(); "a certificate was obtained");
                    let held = self.held(wanted);
                    let (life, chance) = held.map_or((None, 0), |(life, n)| (Some(life), n));
                    if let Some(plan) = self.plans().get_mut(number) {
                        plan.obtained(life, clock::now_ms(), chance);
                    }
                }
                Err(e) => {
                    log::warn!(host = wanted.subject(), attempts = failures + 1, err:% = e,
                        runbook = "certificate-renewal"; "no certificate was obtained");
                    if let Some(plan) = self.plans().get_mut(number) {
                        plan.failed(clock::now_ms(), self.client.retry_after());
                    }
                }
            }
            // What it comes to is seen at once.
            least = Duration::ZERO;
        }
        least
    }

    async fn obtain(&self, wanted: &Wanted, failures: u32) -> Result<(), AcmeError> {
        let account = self.account().await?;
        let identifiers = wanted.identifiers();
        let mut order = NewOrder::new(&identifiers);
        if !wanted.addresses.is_empty() && account.profiles().any(|p| p.name == SHORT_LIVED) {
            order = order.profile(SHORT_LIVED);
        }
        let mut order = account.new_order(&order).await?;
        let posted = self.prove(&mut order, failures).await?;
        let status = order.poll_ready(&PATIENCE).await?;
        if status != OrderStatus::Ready {
            return Err(why_not(&mut order).await);
        }
        drop(posted);
        let key = KeyPair::generate().map_err(TlsError::from)?;
        order.finalize_csr(&wanted.request(&key)?).await?;
        let chain = order.poll_certificate(&PATIENCE).await?;
        let obtained = Obtained {
            names: wanted.names.clone(),
            addresses: wanted.addresses.clone(),
            chain,
            key: Secret::new(key.serialize_pem()),
        };
        // Nothing is kept that could not be shown.
        obtained.shown()?;
        let text = Secret::new(serde_json::to_string(&obtained)?);
        self.keep(wanted.item(), text).await?;
        self.service.refresh();
        Ok(())
    }

    /// Posts an answer for whatever is not proven yet, and says so to the authority.
    async fn prove(&self, order: &mut Order, failures: u32) -> Result<Vec<Posted>, AcmeError> {
        let challenges: Challenges = self.service.challenges();
        let mut posted = Vec::new();
        let mut list = order.authorizations();
        while let Some(found) = list.next().await {
            let mut authorization = found?;
            let subject = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => {
                    let why = format!("its authorisation is {other:?}");
                    return Err(AcmeError::Unproven { asked: subject, why });
                }
            }
            let asked = match authorization.identifier().identifier {
                Identifier::Ip(ip) => Asked::Address(*ip),
                _ => Asked::Name(subject.clone()),
            };
            let offered: Vec<&ChallengeType> =
                authorization.challenges.iter().map(|c| &c.r#type).collect();
            let way = self.ways.choose(&offered, failures);
            let way = way.ok_or_else(|| AcmeError::NoWay(subject.clone()))?;
            let by_tls = way == ChallengeType::TlsAlpn01;
            let challenge = authorization.challenge(way);
            let mut challenge = challenge.ok_or_else(|| AcmeError::NoWay(subject.clone()))?;
            let proof = challenge.key_authorization();
            posted.push(if by_tls {
                challenges.post_tls(&asked, proof.digest().as_ref())?
            } else {
                challenges.post_http(&challenge.token, proof.as_str())
            });
            challenge.set_ready().await?;
        }
        Ok(posted)
    }

    async fn account(&self) -> Result<Account, AcmeError> {
        let known = self.vault.get(ACCOUNT);
        let known = known.and_then(|text| serde_json::from_str::<Known>(text.expose()).ok());
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        if let Some(known) = known.filter(|known| known.directory == self.config.directory) {
            let credentials: AccountCredentials = serde_json::from_str(known.credentials.expose())?;
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contact: Vec<&str> = self.config.contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            // The configuration is refused without it.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.config.directory.clone();
        let (account, credentials) = builder.create(&new, directory.clone(), None).await?;
        let credentials = Secret::new(serde_json::to_string(&credentials)?);
        let text = Secret::new(serde_json::to_string(&Known { directory, credentials })?);
        self.keep(ACCOUNT.to_owned(), text).await?;
        Ok(account)
    }

    async fn keep(&self, item: String, text: Secret<String>) -> Result<(), AcmeError> {
        let vault = self.vault.clone();
        let kept = tokio::task::spawn_blocking(move || vault.put(&item, text)).await;
        Ok(kept.unwrap_or_else(|e| {
            let source = std::io::Error::other(e);
            Err(TlsError::File { path: "the vault".into(), source })
        })?)
    }
}

impl Wanted {
    fn item(&self) -> String {
        format!("{CERTIFICATE}{}", self.id)
    }

    fn subject(&self) -> String {
        let address = self.addresses.first().map(IpAddr::to_string);
        self.names.first().cloned().or(address).unwrap_or_default()
    }

    fn identifiers(&self) -> Vec<Identifier> {
        let names = self.names.iter().cloned().map(Identifier::Dns);
        names.chain(self.addresses.iter().copied().map(Identifier::Ip)).collect()
    }

    /// The request to sign (RFC 8555 7.4), DER.
    fn request(&self, key: &KeyPair) -> Result<Vec<u8>, TlsError> {
        let mut params = CertificateParams::new(self.names.clone())?;
        params.subject_alt_names.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(key)?.der().to_vec())
    }
}

impl Ways {
    /// One way after the other, where one does not work.
    fn choose(self, offered: &[&ChallengeType], failures: u32) -> Option<ChallengeType> {
        let open = [(self.http, ChallengeType::Http01), (self.tls, ChallengeType::TlsAlpn01)];
        let mut open = open.into_iter().filter(|(open, way)| *open && offered.contains(&way));
        let (first, second) = (open.next()?.1, open.next());
        Some(second.filter(|_| failures % 2 == 1).map_or(first, |(_, way)| way))
    }
}

/// What the authority says of an order that came to nothing.
async fn why_not(order: &mut Order) -> AcmeError {
    let mut list = order.authorizations();
    while let Some(Ok(mut authorization)) = list.next().await {
        let asked = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else { break };
        if state.status == AuthorizationStatus::Valid {
            continue;
        }
        let said = state.challenges.iter().find_map(|c| c.error.as_ref());
        let why = said.map_or_else(|| "it does not say why".to_owned(), ToString::to_string);
        return AcmeError::Unproven { asked, why };
    }
    AcmeError::Timeout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_way_is_taken_after_a_failure_where_there_is_one() {
        let (http, tls) = (ChallengeType::Http01, ChallengeType::TlsAlpn01);
        let all = [&ChallengeType::Dns01, &tls, &http];
        let both = Ways { http: true, tls: true };
        assert_eq!(both.choose(&all, 0), Some(http.clone()));
        assert_eq!(both.choose(&all, 1), Some(tls.clone()));
        assert_eq!(both.choose(&[&tls], 0), Some(tls.clone()));
        let one = Ways { http: false, tls: true };
        assert_eq!(one.choose(&all, 0), Some(tls.clone()));
        assert_eq!(one.choose(&[&http], 3), None);
    }
}
