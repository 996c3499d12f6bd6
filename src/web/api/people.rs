//! The tenant's own people, for whoever writes to them.

use super::Sought;
use crate::directory::PersonFound;
use crate::web::Web;
use crate::web::caller::Caller;
use crate::web::failure::Failure;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

/// Most answers: who sees more than a page types one more letter.
const PEOPLE_MAX: usize = 20;

#[derive(Deserialize)]
pub(super) struct Search {
    #[serde(default)]
    q: String,
}

#[derive(Serialize)]
pub(super) struct Person {
    name: String,
    address: String,
}

pub(super) async fn search(
    State(web): State<Web>,
    caller: Caller,
    Sought(search): Sought<Search>,
) -> Result<Json<Vec<Person>>, Failure> {
    let found = web.directory().people(caller.login.tenant, &search.q, PEOPLE_MAX)?;
    let person = |PersonFound { name, address }| Person { name, address };
    Ok(Json(found.into_iter().map(person).collect()))
}
