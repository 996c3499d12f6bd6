//! Answers for those who are away: RFC 8621 8, RFC 3834.
//!
//! Every half minute the primary looks at the new mail of each account whose VacationResponse is on.
//! How far it has looked is an object of the account (`Answered`, `seen`), and so is whom it answered,
//! in one change with the answer: a takeover looks again at what it may have seen, and answers nobody
//! twice. Nothing of this is in the path of a delivery. Absent: the rules ([`away`]), other mailboxes
//! than INBOX, mail that is older than a day.

use super::objects::ObjectError;
use super::{Mail, MailError};
use crate::base::{clock, secret};
use crate::store::PrimaryLease;
use log::{info, warn};
use std::time::Duration;
use understudy_proto::directory::{self, Account};
use understudy_proto::id::{AccountId, TenantId, Uid};
use understudy_proto::jmap::Map;
use understudy_proto::jmap::objects::is_away;
use understudy_proto::mailbox::{self, Entry, INBOX};
use understudy_proto::objects::{
    self, GiveAnswer, NewObject, Object, ObjectId, ObjectRefusal, ObjectType, SetObjects,
};
use understudy_proto::smtp::away;
use understudy_proto::time::{UnixMs, parse_utc_date};

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Most messages of one account that one look goes through.
const MESSAGES_MAX: usize = 1_000;
/// Older mail is answered no more: its sender has other worries by now.
const AGE_MAX: Duration = Duration::from_hours(24);
/// Longest header that is read.
const HEADER_MAX: u64 = 256 * 1024;

/// Somebody who is away.
struct Away {
    tenant: TenantId,
    account: Account,
    vacation: Map,
    /// His addresses, in lower case.
    own: Vec<String>,
    /// Mail before is not answered.
    since: UnixMs,
}

impl Mail {
    /// Answers for those who are away, until the lease is revoked. Call it once for each lease.
    pub async fn answer_for_the_away(self, lease: PrimaryLease) {
        let answer = async {
            loop {
                self.answer_once(&lease).await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = lease.revoked() => {}
            () = answer => {}
        }
    }

    /// One look at all accounts.
    pub(crate) async fn answer_once(&self, lease: &PrimaryLease) {
        let accounts = match self.who_may_be_away() {
            Ok(accounts) => accounts,
            Err(e) => return warn!(err:% = e; "accounts cannot be read, nobody is answered now"),
        };
        for (tenant, account, vacation) in accounts {
            let id = account.id;
            if let Err(e) = self.answer_for(lease, tenant, account, vacation).await {
                warn!(tenant:% = tenant, account:% = id, err:% = e; "mail is not answered now");
            }
        }
    }

    /// The open accounts that ever set a VacationResponse.
    fn who_may_be_away(&self) -> Result<Vec<(TenantId, Account, Object)>, MailError> {
        let mut all = Vec::new();
        for tenant in directory::tenants(&self.store.read(TenantId::SYSTEM)?)? {
            let view = self.store.read(tenant.id)?;
            for account in directory::accounts(&view)?.into_iter().filter(|a| !a.closed) {
                let (kind, id) = (ObjectType::VacationResponse, ObjectId::singleton());
                if let Some(vacation) = objects::object(&view, account.id, kind, &id)? {
                    all.push((tenant.id, account, vacation));
                }
            }
        }
        Ok(all)
    }

    async fn answer_for(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        account: Account,
        row: Object,
    ) -> Result<(), ObjectError> {
        let Ok(vacation) = serde_json::from_str::<Map>(&row.json) else { return Ok(()) };
        let (now, id) = (clock::now_ms(), account.id);
        let seen = self.seen(tenant, id)?;
        if !is_away(&vacation, now) {
            if seen.is_some() {
                self.note_seen(lease, tenant, id, None).await?;
            }
            return Ok(());
        }
        let (entries, own) = {
            let view = self.store.read(tenant).map_err(MailError::from)?;
            let range = (seen.unwrap_or_default().next(), Uid(u32::MAX));
            let entries = mailbox::entries_range(&view, id, INBOX, range);
            let aliases = directory::aliases(&view).map_err(MailError::from)?.into_iter();
            let mut own: Vec<String> = aliases.filter(|a| a.1 == id).map(|a| a.0).collect();
            own.push(account.address.to_lowercase());
            (entries.map_err(MailError::from)?, own)
        };
        let age = u64::try_from(AGE_MAX.as_millis()).unwrap_or(u64::MAX);
        let mut since = UnixMs(now.0.saturating_sub(age));
        if seen.is_none() {
            // It was put on since the last look: what had arrived before is not answered.
            since = since.max(row.updated);
        }
        let from =
            vacation.get("fromDate").and_then(serde_json::Value::as_str).and_then(parse_utc_date);
        since = since.max(from.unwrap_or_default());
        let away = Away { tenant, account, vacation, own, since };
        let new = entries.iter().filter(|entry| entry.internal_date >= away.since);
        let mut last = entries.last().map(|entry| entry.uid);
        for (n, entry) in new.enumerate() {
            if n >= MESSAGES_MAX {
                last = Some(Uid(entry.uid.0.saturating_sub(1)));
                break;
            }
            self.answer(lease, &away, entry).await?;
        }
        if last.is_some() || seen.is_none() {
            let last = last.or(seen).unwrap_or_default();
            self.note_seen(lease, tenant, id, Some(last)).await?;
        }
        Ok(())
    }

    /// Answers one message, if it asks for it.
    async fn answer(
        &self,
        lease: &PrimaryLease,
        away: &Away,
        entry: &Entry,
    ) -> Result<(), ObjectError> {
        let (tenant, account, now) = (away.tenant, away.account.id, clock::now_ms());
        let asked = {
            let view = self.store.read(tenant).map_err(MailError::from)?;
            let email = mailbox::email(&view, account, entry.email).map_err(MailError::from)?;
            // It may be gone by now.
            let Some(email) = email else { return Ok(()) };
            let len = u64::from(email.summary.header_len).min(HEADER_MAX);
            let header = self.read_body(tenant, &email.body, 0..len)?;
            let Some(asked) = away::asks(&header, &away.own) else { return Ok(()) };
            let before = objects::was_answered(&view, account, &asked.to, now);
            if before.map_err(MailError::from)? {
                return Ok(());
            }
            asked
        };
        let unique: String = secret::random::<12>().iter().map(|b| format!("{b:02x}")).collect();
        let text = |name: &str| away.vacation.get(name).and_then(serde_json::Value::as_str);
        let message = away::message(&away::Answer {
            from: &away.account.address,
            name: &away.account.name,
            asked: &asked,
            subject: text("subject"),
            text: text("textBody"),
            html: text("htmlBody"),
            at: now,
            unique: &unique,
        });
        let mut writer = self.store.begin_body(lease, tenant).await.map_err(MailError::from)?;
        writer.write(&message).await.map_err(MailError::from)?;
        let body = writer.finish().await.map_err(MailError::from)?;
        let to = asked.to;
        let command = GiveAnswer { account, to: to.clone(), body };
        match self.write_object(lease, tenant, command).await {
            Ok(()) => {
                info!(tenant:% = tenant, account:% = account, to = to.as_str(); "answered for somebody who is away");
                self.queue_again();
                Ok(())
            }
            // As many as may be were answered this week: no more are.
            Err(ObjectError::Refused(ObjectRefusal::Changed | ObjectRefusal::Full)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Up to where the account's INBOX was looked through while its owner was away.
    fn seen(&self, tenant: TenantId, account: AccountId) -> Result<Option<Uid>, MailError> {
        let Some(id) = seen_id() else { return Ok(None) };
        let view = self.store.read(tenant)?;
        let row = objects::object(&view, account, ObjectType::Answered, &id)?;
        Ok(row.and_then(|row| row.json.parse().ok()).map(Uid))
    }

    async fn note_seen(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        account: AccountId,
        uid: Option<Uid>,
    ) -> Result<(), ObjectError> {
        let Some(id) = seen_id() else { return Ok(()) };
        let (mut put, mut destroy) = (Vec::new(), Vec::new());
        match uid {
            Some(uid) => {
                put.push(NewObject { id: Some(id), json: uid.to_string(), if_modseq: None });
            }
            None => destroy.push(id),
        }
        let (object_type, if_state) = (ObjectType::Answered, None);
        let command = SetObjects { account, object_type, if_state, put, destroy };
        self.write_object(lease, tenant, command).await.map(|_| ())
    }
}

/// The object that says how far the INBOX was looked through: a number.
fn seen_id() -> Option<ObjectId> {
    ObjectId::parse("seen")
}
