//! The socket answers what it should, refuses what it must, and outlives both.

use super::*;
use crate::base::secret::Secret;
use crate::ops::request::*;
use crate::ops::status::StatusReport;
use std::sync::Mutex;

/// Remembers what was asked; knows one tenant.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>, Mutex<Vec<AuditEntry>>);

impl Recorder {
    fn saw(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }
}

fn no<T>() -> Outcome<T> {
    Err(Failure::new("not in this test", "none"))
}

impl Operator for Recorder {
    async fn status(&self) -> Outcome<StatusReport> {
        no()
    }
    async fn tenant_create(&self, name: &str) -> Outcome<()> {
        self.saw(format!("create {name}"));
        Ok(())
    }
    async fn tenant_list(&self) -> Outcome<Vec<TenantEntry>> {
        Ok(vec![TenantEntry { id: 1, name: "acme".into(), domains: 0, accounts: 0 }])
    }
    async fn tenant_export(&self, _: &Export) -> Outcome<Carried> {
        no()
    }
    async fn tenant_import(&self, _: &Import) -> Outcome<Carried> {
        no()
    }
    async fn tenant_progress(&self) -> Outcome<Carried> {
        no()
    }
    async fn domain_add(&self, _: &str, _: &str) -> Outcome<()> {
        no()
    }
    async fn domain_list(&self, _: Option<&str>) -> Outcome<Vec<DomainEntry>> {
        no()
    }
    async fn domain_remove(&self, _: &str) -> Outcome<()> {
        no()
    }
    async fn account_create(&self, _: &str) -> Outcome<()> {
        no()
    }
    async fn account_list(&self, _: Option<&str>) -> Outcome<Vec<AccountEntry>> {
        no()
    }
    async fn account_quota(&self, _: &QuotaOf) -> Outcome<QuotaEntry> {
        no()
    }
    async fn tenant_quota(&self, _: &QuotaOf) -> Outcome<QuotaEntry> {
        no()
    }
    async fn update_piece(&self, _: &UpdatePiece) -> Outcome<u64> {
        no()
    }
    async fn update_install(&self, _: UpdateInstall, _: &By) -> Outcome<()> {
        no()
    }
    async fn update_rollback(&self, _: UpdateRollback) -> Outcome<()> {
        no()
    }
    async fn update_progress(&self) -> Outcome<UpdateReport> {
        no()
    }
    async fn account_remove(&self, _: &str) -> Outcome<()> {
        no()
    }
    async fn alias_add(&self, _: &str, _: &str) -> Outcome<()> {
        no()
    }
    async fn alias_remove(&self, _: &str) -> Outcome<()> {
        no()
    }
    async fn alias_list(&self, _: Option<&str>) -> Outcome<Vec<AliasEntry>> {
        no()
    }
    async fn credential_password(&self, account: &str, p: &Secret<String>) -> Outcome<()> {
        self.saw(format!("password {account} {}", p.expose()));
        Ok(())
    }
    async fn credential_app_password(
        &self,
        _: &str,
        _: &str,
        _: Option<u32>,
    ) -> Outcome<MadePassword> {
        Ok(MadePassword { id: 3, password: Secret::new("made".to_owned()) })
    }
    async fn credential_list(&self, _: &str) -> Outcome<Vec<CredentialEntry>> {
        no()
    }
    async fn credential_revoke(&self, _: &str, _: u64) -> Outcome<()> {
        no()
    }
    async fn credential_totp_reset(&self, _: &str) -> Outcome<()> {
        no()
    }
    async fn queue_list(&self) -> Outcome<Vec<QueueEntry>> {
        no()
    }
    async fn queue_retry(&self, _: &str, _: u64) -> Outcome<()> {
        no()
    }
    async fn queue_remove(&self, _: &str, _: u64) -> Outcome<()> {
        no()
    }
    async fn branches(&self) -> Outcome<Vec<BranchEntry>> {
        no()
    }
    async fn handover(&self, _: &By) -> Outcome<()> {
        panic!("a broken operator")
    }
    async fn account_administrator(&self, _: &str, _: bool) -> Outcome<()> {
        no()
    }
    async fn operator_add(&self, _: &str) -> Outcome<MadeOperator> {
        no()
    }
    async fn operator_list(&self) -> Outcome<Vec<OperatorEntry>> {
        no()
    }
    async fn operator_remove(&self, _: &str) -> Outcome<()> {
        no()
    }
    async fn operator_password(&self, _: &str, _: &Secret<String>) -> Outcome<()> {
        no()
    }
    async fn audit(&self, _: usize) -> Outcome<Vec<AuditEntry>> {
        no()
    }
    async fn keep(&self, entry: AuditEntry) {
        self.1.lock().unwrap().push(entry);
    }
    fn certificate_list(&self) -> Outcome<Vec<CertificateEntry>> {
        no()
    }
    async fn pair_token(&self) -> Outcome<Token> {
        no()
    }
    fn pair_show(&self) -> Outcome<PairFacts> {
        no()
    }
    async fn address_list(&self) -> Outcome<Vec<AddressEntry>> {
        no()
    }
    async fn address_claim(&self, _: &str, _: bool) -> Outcome<()> {
        no()
    }
    async fn address_release(&self, _: &str) -> Outcome<()> {
        no()
    }
    async fn pair_force_solo(&self, by: &By) -> Outcome<()> {
        self.saw(format!("solo {by}"));
        Ok(())
    }
}

async fn ask(dir: &Path, line: &[u8]) -> String {
    let mut stream = UnixStream::connect(dir.join(SOCKET_NAME)).await.unwrap();
    // The server may answer and close before it has read all of a request that is too long.
    drop(stream.write_all(line).await);
    let mut text = String::new();
    drop(stream.read_to_string(&mut text).await);
    text
}

#[tokio::test]
async fn requests_are_answered_and_rubbish_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let operator = Arc::new(Recorder::default());
    let server = task::spawn("tests", bind(dir.path()).unwrap().serve(operator.clone()));
    let mode = std::fs::metadata(dir.path().join(SOCKET_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let create = br#"{"cmd":"tenant-create","args":{"name":"acme"}}"#;
    assert_eq!(ask(dir.path(), &[create.as_slice(), b"\n"].concat()).await, "{\"ok\":\"done\"}\n");
    let list = ask(dir.path(), b"{\"cmd\":\"tenant-list\"}\n").await;
    assert!(list.contains(r#"{"ok":{"tenants":[{"id":1,"name":"acme""#), "{list}");
    let password = b"{\"cmd\":\"credential-password\",\"args\":{\"account\":\"a@b\",\"password\":\"geheim\"}}\n";
    assert_eq!(ask(dir.path(), password).await, "{\"ok\":\"done\"}\n");
    let made =
        b"{\"cmd\":\"credential-app-password\",\"args\":{\"account\":\"a@b\",\"label\":\"x\"}}\n";
    assert!(ask(dir.path(), made).await.contains(r#""password":"made""#));
    assert_eq!(*operator.0.lock().unwrap(), ["create acme", "password a@b geheim"]);

    for rubbish in [b"\n".as_slice(), b"{}\n", b"{\"cmd\":\"x\"}\n", b"\xff\xfe\n"] {
        assert!(
            ask(dir.path(), rubbish).await.starts_with("{\"error\":{\"what\":\"the request is")
        );
    }
    {
        let kept = operator.1.lock().unwrap();
        let kept: Vec<_> = kept.iter().map(|e| (e.command.as_str(), e.about.as_str())).collect();
        let wanted = [("tenant-create", "acme"), ("credential-password", "a@b")];
        assert_eq!(kept, [wanted[0], wanted[1], ("credential-app-password", "a@b x")]);
    }
    // Who asks is what the kernel says, and no word of the request.
    let solo = b"{\"cmd\":\"pair-force-solo\",\"args\":{\"confirmed\":true}}\n";
    assert_eq!(ask(dir.path(), solo).await, "{\"ok\":\"done\"}\n");
    let own = format!("solo {}", By::User(nix::unistd::geteuid().as_raw()));
    assert_eq!(operator.0.lock().unwrap().last(), Some(&own));
    let long = vec![b' '; 100_000];
    drop(ask(dir.path(), &long).await);

    // An operator that panics ends its connection only.
    assert_eq!(ask(dir.path(), b"{\"cmd\":\"handover\"}\n").await, "");
    assert!(ask(dir.path(), b"{\"cmd\":\"tenant-list\"}\n").await.contains("acme"));
    server.abort();
}

#[tokio::test]
async fn going_on_alone_needs_a_confirmation() {
    let operator = Recorder::default();
    let ask = |confirmed| Request::PairForceSolo(ForceSolo { confirmed });
    assert!(matches!(answer(&operator, &ask(false), &By::User(1_000)).await, Reply::Error(_)));
    assert!(operator.0.lock().unwrap().is_empty());
    assert!(matches!(
        answer(&operator, &ask(true), &By::User(1_000)).await,
        Reply::Ok(Answer::Done)
    ));
    assert_eq!(*operator.0.lock().unwrap(), ["solo uid 1000"]);
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = bind(dir.path()).unwrap();
    assert!(matches!(bind(dir.path()), Err(ControlError::AlreadyRunning(_))));
    drop(first);
    assert!(bind(dir.path()).is_ok());
    let missing = dir.path().join("missing");
    assert!(bind(&missing).unwrap_err().to_string().contains("Does `data_dir` exist"));
}

#[tokio::test]
async fn the_group_is_heard_where_the_folder_lets_it_in_alone() {
    for (folder, socket) in [(0o710, 0o660), (0o700, 0o600), (0o755, 0o600), (0o750, 0o600)] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(folder)).unwrap();
        let control = bind(dir.path()).unwrap();
        let path = dir.path().join(SOCKET_NAME);
        let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode, control.group), (socket, folder == 0o710), "{folder:o}");
    }
}
