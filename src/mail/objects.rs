//! JSON objects of an account, and what is sent by them: what JMAP asks for besides mail.
//!
//! The rules are [`understudy_proto::objects`]; this room splits long lists into changes of bounded
//! size, adds bodies, and forgets in time what was to be kept for a while. What returns is committed
//! and visible. Absent: what is in the JSON, and who may send as whom.

use super::{Mail, MailError};
use crate::base::clock;
use crate::directory::Login;
use crate::store::{BodyWriter, PrimaryLease, WriteError};
use std::time::Duration;
use understudy_proto::directory;
use understudy_proto::id::{AccountId, EmailId, ModSeq, TenantId};
use understudy_proto::objects::{
    self, CHANGE_LEN_MAX, Changes, ForgetObjects, KeepUpload, NewObject, OBJECTS_PER_CHANGE_MAX,
    Object, ObjectId, ObjectRefusal, ObjectType, PUT_OVERHEAD, SetAnswer, SetObjects, Submit,
    Unsend, Written,
};
use understudy_proto::queue::Item;
use understudy_proto::rule::Command;
use understudy_proto::time::UnixMs;

/// How often what is old is looked for.
const UPKEEP: Duration = Duration::from_hours(1);
/// What is forgotten when nobody has changed it for so long.
const KEPT: [(ObjectType, Duration); 3] = [
    (ObjectType::Upload, Duration::from_hours(24)),
    (ObjectType::EmailSubmission, Duration::from_hours(30 * 24)),
    // RFC 3834 2: it is asked for less time than this.
    (ObjectType::Answered, Duration::from_hours(8 * 24)),
];

/// Why objects could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// A rule says no.
    #[error("{0}")]
    Refused(#[from] ObjectRefusal),
    /// As for mail.
    #[error(transparent)]
    Mail(#[from] MailError),
}

impl From<WriteError<ObjectRefusal>> for ObjectError {
    fn from(e: WriteError<ObjectRefusal>) -> Self {
        match e {
            WriteError::Refused(why) => Self::Refused(why),
            unknown @ WriteError::Unknown => MailError::Unknown(unknown.to_string()).into(),
            other => MailError::NotWritten(other.to_string()).into(),
        }
    }
}

/// Objects as of one moment.
#[derive(Clone, Debug, Default)]
pub struct ObjectsFound {
    /// The type's state at that moment.
    pub state: ModSeq,
    /// Objects that are there: in the order that was asked for, or by id.
    pub objects: Vec<Object>,
    /// Ids of which there is none.
    pub missing: Vec<ObjectId>,
}

/// A message of the account that is to be sent, now or later. The caller has checked that the account
/// may send so.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Which message.
    pub email: EmailId,
    /// Reverse-path.
    pub from: String,
    /// Forward-paths, here or elsewhere, no two alike.
    pub to: Vec<String>,
    /// When it is sent; now when absent or past.
    pub hold_until: Option<UnixMs>,
    /// What its `EmailSubmission` says.
    pub json: String,
}

/// A file on its way in. Dropping it abandons it.
pub struct NewUpload(BodyWriter);

impl NewUpload {
    /// Adds content, in pieces of any length. Waits where the log's credit is used up.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), MailError> {
        Ok(self.0.write(bytes).await?)
    }
}

impl Mail {
    /// The account's objects of a type: all, or those named.
    pub fn objects(
        &self,
        login: &Login,
        object_type: ObjectType,
        ids: Option<&[ObjectId]>,
    ) -> Result<ObjectsFound, MailError> {
        let view = self.store.read(login.tenant)?;
        let state = objects::state(&view, login.account, object_type)?;
        let mut found = ObjectsFound { state: state.modseq, ..ObjectsFound::default() };
        let Some(ids) = ids else {
            let most = usize::try_from(state.count).unwrap_or(usize::MAX);
            found.objects = objects::objects(&view, login.account, object_type, None, most)?;
            return Ok(found);
        };
        for id in ids {
            match objects::object(&view, login.account, object_type, id)? {
                Some(object) => found.objects.push(object),
                None => found.missing.push(id.clone()),
            }
        }
        Ok(found)
    }

    /// The state of a type: the modseq of its last change.
    pub fn object_state(
        &self,
        login: &Login,
        object_type: ObjectType,
    ) -> Result<ModSeq, MailError> {
        let view = self.store.read(login.tenant)?;
        Ok(objects::state(&view, login.account, object_type)?.modseq)
    }

    /// RFC 8620 5.2: what changed since a state, at most `most` objects; `None` for a state that was
    /// never given.
    pub fn object_changes(
        &self,
        login: &Login,
        object_type: ObjectType,
        since: ModSeq,
        most: usize,
    ) -> Result<Option<Changes>, MailError> {
        let view = self.store.read(login.tenant)?;
        Ok(objects::changes(&view, login.account, object_type, since, most)?)
    }

    /// RFC 8620 5.3: creates, replaces and removes objects, each as far as it can be. A long list is
    /// several changes; `if_state` guards the first.
    pub async fn set_objects(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        object_type: ObjectType,
        if_state: Option<ModSeq>,
        put: Vec<NewObject>,
        destroy: Vec<ObjectId>,
    ) -> Result<SetAnswer, ObjectError> {
        let account = login.account;
        let mut all: Option<SetAnswer> = None;
        let mut put = put.into_iter().peekable();
        let mut destroy = destroy.into_iter().peekable();
        loop {
            let if_state = if_state.filter(|_| all.is_none());
            let mut next =
                SetObjects { account, object_type, if_state, put: vec![], destroy: vec![] };
            let (mut count, mut len) = (0_usize, 0_usize);
            let mut fits = |bytes: usize| {
                let more = len.saturating_add(bytes).saturating_add(PUT_OVERHEAD);
                let fits = count == 0 || count < OBJECTS_PER_CHANGE_MAX && more <= CHANGE_LEN_MAX;
                if fits {
                    (count, len) = (count.saturating_add(1), more);
                }
                fits
            };
            while let Some(new) = put.next_if(|new| fits(new.len())) {
                next.put.push(new);
            }
            while put.peek().is_none()
                && let Some(id) = destroy.next_if(|id| fits(id.as_str().len()))
            {
                next.destroy.push(id);
            }
            let answer = self.write_object(lease, login.tenant, next).await?;
            match &mut all {
                None => all = Some(answer),
                Some(all) => {
                    all.new = answer.new;
                    all.put.extend(answer.put);
                    all.destroyed.extend(answer.destroyed);
                }
            }
            if put.peek().is_none()
                && destroy.peek().is_none()
                && let Some(all) = all
            {
                return Ok(all);
            }
        }
    }

    /// Begins a file of the account's.
    pub async fn begin_upload(
        &self,
        lease: &PrimaryLease,
        login: &Login,
    ) -> Result<NewUpload, MailError> {
        Ok(NewUpload(self.store.begin_body(lease, login.tenant).await?))
    }

    /// Keeps a file for a day: RFC 8620 6.1.
    pub async fn keep_upload(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        upload: NewUpload,
        media: String,
        name: String,
    ) -> Result<ObjectId, ObjectError> {
        let body = upload.0.finish().await.map_err(MailError::from)?;
        let command = KeepUpload { account: login.account, body, media, name };
        self.write_object(lease, login.tenant, command).await
    }

    /// A file of the account's; `None` when it is gone. Its bytes: [`Mail::read`].
    pub fn upload(&self, login: &Login, id: &ObjectId) -> Result<Option<Object>, MailError> {
        let view = self.store.read(login.tenant)?;
        Ok(objects::object(&view, login.account, ObjectType::Upload, id)?)
    }

    /// RFC 8621 7: sends a message of the account, or holds it until its time. It and its
    /// `EmailSubmission` are one change.
    pub async fn submit(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        submission: Submission,
    ) -> Result<Written, ObjectError> {
        let Submission { email, from, to, hold_until, json } = submission;
        let (account, at) = (login.account, hold_until.unwrap_or_default());
        let command = Submit { account, email, from, to, at, json };
        let written = self.write_object(lease, login.tenant, command).await?;
        self.queue_again();
        Ok(written)
    }

    /// Cancels a submission, which says `json` then. [`ObjectRefusal::Changed`]: it is too late.
    pub async fn unsend(
        &self,
        lease: &PrimaryLease,
        login: &Login,
        id: &ObjectId,
        json: String,
    ) -> Result<Written, ObjectError> {
        let command = Unsend { account: login.account, id: id.clone(), json };
        self.write_object(lease, login.tenant, command).await
    }

    /// What of a submission is still in the queue; nothing once it was sent or cancelled.
    pub fn submission_items(&self, login: &Login, id: &ObjectId) -> Result<Vec<Item>, MailError> {
        Ok(objects::held(&self.store.read(login.tenant)?, login.account, id)?)
    }

    /// Forgets what was to be kept for a while, until the lease is revoked. Call it once for each lease.
    pub async fn forget_in_time(self, lease: PrimaryLease) {
        let forget = async {
            loop {
                if let Err(e) = self.forget_once(&lease).await {
                    log::warn!(err:% = e; "old objects cannot be removed");
                }
                tokio::time::sleep(UPKEEP).await;
            }
        };
        tokio::select! {
            () = lease.revoked() => {}
            () = forget => {}
        }
    }

    async fn forget_once(&self, lease: &PrimaryLease) -> Result<(), ObjectError> {
        let accounts = || -> Result<Vec<(TenantId, AccountId)>, MailError> {
            let mut all = Vec::new();
            for tenant in directory::tenants(&self.store.read(TenantId::SYSTEM)?)? {
                let accounts = directory::accounts(&self.store.read(tenant.id)?)?;
                all.extend(accounts.into_iter().map(|account| (tenant.id, account.id)));
            }
            Ok(all)
        };
        for (tenant, account) in accounts()? {
            for (object_type, kept) in KEPT {
                let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
                let before = UnixMs(clock::now_ms().0.saturating_sub(kept));
                let any = |view| objects::state(&view, account, object_type).map(|s| s.count > 0);
                if any(self.store.read(tenant).map_err(MailError::from)?)
                    .map_err(MailError::from)?
                {
                    let forget = ForgetObjects { account, object_type, before };
                    while self.write_object(lease, tenant, forget).await? > 0 {}
                }
            }
        }
        Ok(())
    }

    /// One change, committed and visible when it returns.
    pub(super) async fn write_object<C>(
        &self,
        lease: &PrimaryLease,
        tenant: TenantId,
        command: C,
    ) -> Result<C::Answer, ObjectError>
    where
        C: Command<Refusal = ObjectRefusal>,
    {
        let written = self.store.write(lease, tenant, command).await?;
        // It is committed: whatever fails now, "it was not done" would be wrong.
        let shown = self.store.applied(tenant, written.lsn).await;
        shown.map_err(|e| MailError::Unknown(e.to_string()))?;
        Ok(written.answer)
    }
}
