//! The routes as a whole.

use super::*;
use crate::store::disk::{Disk, RealDisk};
use crate::store::{Store, StoreOptions};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use tower::ServiceExt;
use understudy_proto::directory::DirectoryRules;
use understudy_proto::id::NodeId;
use understudy_proto::rule::Registry;

#[tokio::test]
async fn what_nobody_answers_is_the_app_for_browsers_and_nothing_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(dir.path(), NodeId(0));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = Store::open(disk, options, Registry::default().with(DirectoryRules)).unwrap();
    let (directory, mail) = (Directory::new(store.clone()), Mail::new(store.clone()));
    let router = Web::new(directory, mail, Facts::default()).router();
    for (method, path, accept, wanted) in [
        ("GET", "/", "text/html", StatusCode::OK),
        ("HEAD", "/inbox/7", "text/html", StatusCode::OK),
        ("GET", "/api/none", "text/html", StatusCode::NOT_FOUND),
        ("GET", "/inbox/7", "application/json", StatusCode::NOT_FOUND),
        ("POST", "/inbox/7", "text/html", StatusCode::METHOD_NOT_ALLOWED),
        ("GET", "/message.html", "text/html", StatusCode::OK),
    ] {
        let request = Request::builder().method(method).uri(path).header("accept", accept);
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), wanted, "{method} {path}");
    }
    store.close();
}
