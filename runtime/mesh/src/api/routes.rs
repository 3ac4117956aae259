//! Which address does what.
// spec: API-2

use super::State;
use super::asked::{Asked, Named, Queried, Whole};
use super::door::{self, Problem};
use super::services::{Chunks, ImportReport, Stream};
use crate::ledger_file::{self, Trouble};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State as Extract};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use mesh_node::{Answer, Command, Draft, GrantRequest};
use mesh_protocol::invite::TicketKind;
use mesh_protocol::ledger::Rotation;
use mesh_protocol::rules::Rules;
use mesh_protocol::task::{Blob, Importance};
use serde::Deserialize;
use serde_json::{Value, json};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::{broadcast, mpsc};

/// Most bytes of a JSON request: the largest task with all its arguments, and room to spare.
const MAX_JSON: usize = 1 << 20;
/// Most bytes of one uploaded blob: as much as a task's input may have.
const MAX_BLOB: u64 = 16_000_000_000;
/// Most bytes of an imported ledger.
const MAX_IMPORT: usize = 512 << 20;
/// Pieces of a body on their way: each is some tens of kilobytes.
const PIECES: usize = 8;

type Result<T> = std::result::Result<T, Problem>;

/// An address: what each method of it does, in words, and what carries it out.
struct Address {
    path: &'static str,
    methods: &'static [(&'static str, &'static str)],
    route: MethodRouter<State>,
}

fn at(
    path: &'static str,
    methods: &'static [(&'static str, &'static str)],
    route: MethodRouter<State>,
) -> Address {
    Address { path, methods, route }
}

/// The one list of addresses: the router and the OpenAPI document are both made of it.
fn addresses() -> Vec<Address> {
    vec![
        at("/v1/status", &[("get", "How this peer is")], get(status)),
        at("/v1/net", &[("get", "Connections, ways and counters of the transport")], get(net)),
        at("/v1/peers", &[("get", "All peers, and by which path each is reached")], get(peers)),
        at(
            "/v1/community",
            &[("get", "The community, its rules and members"), ("post", "Begin a community: {name, rules?}")],
            get(community).post(found),
        ),
        at("/v1/invites", &[("post", "Make a ticket: {kind: Member|Device, valid_ms}")], post(invite)),
        at(
            "/v1/join",
            &[("post", "Join with a ticket: {ticket, as_device_of?}; answered when it is decided")],
            post(join),
        ),
        at(
            "/v1/devices/{device}/revoke",
            &[("post", "Say that a device of this user's is not theirs any more")],
            post(revoke_device),
        ),
        at(
            "/v1/devices/{device}/share",
            &[("post", "Give a device of this user's a part of the daily quota: {permille}")],
            post(share_quota),
        ),
        at(
            "/v1/keys/rotate",
            &[("post", "Replace this user's key: the recovery key's signed word")],
            post(rotate_key),
        ),
        at("/v1/members/{who}/sponsor", &[("post", "Vouch for somebody who waits")], post(sponsor)),
        at("/v1/members/{who}/expel", &[("post", "End a membership: {why}")], post(expel)),
        at(
            "/v1/permissions",
            &[("get", "All grants"), ("post", "Let a user's tasks run on a device")],
            get(permissions).post(grant),
        ),
        at("/v1/permissions/{grant}", &[("delete", "End a grant")], delete(revoke)),
        at(
            "/v1/trust",
            &[
                ("get", "Whom this device's tasks may go to"),
                ("put", "Choose them: {users}; none for everybody"),
            ],
            get(trust).put(set_trust),
        ),
        at("/v1/votes", &[("get", "The newest ballots, as this peer counts them")], get(ballots)),
        at(
            "/v1/votes/{task}",
            &[
                ("get", "One task's ballot"),
                ("post", "Say how important anybody's task is: {importance, comment?}"),
            ],
            get(ballot).post(vote),
        ),
        at(
            "/v1/votes/{task}/dispute",
            &[("post", "Say that a task is no matter of public health: {why}")],
            post(dispute),
        ),
        at(
            "/v1/quota",
            &[("get", "What a member may ask of others, and what is left: ?user=NAME")],
            get(quota),
        ),
        at(
            "/v1/stats",
            &[("get", "What tasks used and saved: of all, ?user=NAME or ?peer=DEVICE")],
            get(stats),
        ),
        at(
            "/v1/energy",
            &[(
                "get",
                "This device's energy: the reading, where it is read, its forecast, and what is the matter",
            )],
            get(energy),
        ),
        at("/v1/config", &[("get", "What this peer was told, and where each value came from")], get(config)),
        at("/v1/reputation", &[("get", "A member's reputation and its terms: ?user=NAME")], get(reputation)),
        at(
            "/v1/contributions",
            &[("post", "Record what a member contributed: {user, unit: money|hours, amount, month?}")],
            post(contribute),
        ),
        at("/v1/zone", &[("post", "Live in a time zone: {zone}")], post(zone)),
        at(
            "/v1/proposals",
            &[("get", "Rules that were proposed"), ("post", "Propose rules: {rules, why?}")],
            get(proposals).post(propose),
        ),
        at("/v1/proposals/{id}/vote", &[("post", "Vote on proposed rules: {yes}")], post(vote_rules)),
        at(
            "/v1/blobs",
            &[("post", "Keep bytes that a task will need; gives their hash and length")],
            post(put_blob).layer(DefaultBodyLimit::disable()),
        ),
        at(
            "/v1/tasks",
            &[
                ("get", "This device's tasks, newest first"),
                ("post", "Submit a task whose bytes are kept here"),
            ],
            get(tasks).post(submit),
        ),
        at("/v1/tasks/{id}", &[("get", "One task, with its attempts and its signed receipt")], get(task)),
        at("/v1/tasks/{id}/cancel", &[("post", "Take a task back")], post(cancel)),
        at("/v1/tasks/{id}/veto", &[("post", "End a delegation, as owner or as donor: {why}")], post(veto)),
        at("/v1/tasks/{id}/rerun", &[("post", "Submit the same once more")], post(rerun)),
        at(
            "/v1/tasks/{id}/logs",
            &[("get", "What it says, as it says it: ?stream=stdout|stderr&from=BYTE")],
            get(logs),
        ),
        at("/v1/tasks/{id}/output", &[("get", "Its result as tar: stdout, stderr and out/")], get(output)),
        at("/v1/events", &[("get", "What happens, as server-sent events")], get(events)),
        at("/v1/pause", &[("post", "Hold all tasks here and take no more: {for_ms?}")], post(pause)),
        at("/v1/resume", &[("post", "Go on after a pause")], post(resume)),
        at("/v1/finish", &[("post", "End what runs here and take no more")], post(finish)),
        at(
            "/v1/ledger",
            &[
                ("get", "All entries, as `mesh ledger export` writes them"),
                ("post", "Take entries from such a file"),
            ],
            get(ledger).post(import).layer(DefaultBodyLimit::max(MAX_IMPORT)),
        ),
        at("/v1/openapi.json", &[("get", "This list as an OpenAPI document")], get(openapi)),
    ]
}

pub(super) fn router(state: State) -> Router {
    addresses()
        .into_iter()
        .fold(Router::new(), |router, address| router.route(address.path, address.route))
        .layer(DefaultBodyLimit::max(MAX_JSON))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(state.clone(), door::guard))
        .with_state(state)
}

/// The OpenAPI document.
// spec: API-2
pub(super) fn document() -> Value {
    let paths: serde_json::Map<String, Value> = addresses()
        .iter()
        .map(|address| {
            let names = address.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            let parameters: Vec<Value> = names
                .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
                .collect();
            let methods: serde_json::Map<String, Value> = address
                .methods
                .iter()
                .map(|(method, summary)| {
                    let operation = json!({
                        "summary": summary,
                        "parameters": parameters,
                        "responses": {
                            "200": { "description": "Done" },
                            "default": { "$ref": "#/components/responses/Problem" },
                        },
                    });
                    ((*method).to_owned(), operation)
                })
                .collect();
            (address.path.to_owned(), Value::Object(methods))
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Task Mesh", "version": env!("CARGO_PKG_VERSION") },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "responses": {
                "Problem": {
                    "description": "What was tried, what went wrong, and how to mend it",
                    "content": { "application/json": { "schema": {
                        "type": "object",
                        "required": ["error", "kind"],
                        "properties": {
                            "error": { "type": "string" },
                            "hint": { "type": ["string", "null"] },
                            "kind": { "type": "string" },
                        },
                    } } },
                },
            },
        },
    })
}

async fn nothing() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "use the API: there is nothing at this address",
        Some("GET /v1/openapi.json lists all addresses"),
    )
}

async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "use the API: this address is not asked with that method",
        Some("GET /v1/openapi.json lists all addresses"),
    )
}

/// Asks the node and gives what stands inside its answer.
async fn ask(state: &State, command: Command) -> Result<Json<Value>> {
    let answer = state.handle.ask(command).await?;
    let problem = |error: serde_json::Error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("write the answer: {error}"), None)
    };
    let value = match answer {
        Answer::Done => json!({}),
        Answer::Entry(entry) => json!({ "entry": entry }),
        Answer::About { entry, about } => json!({ "entry": entry, "about": about }),
        Answer::Founded(community) => json!({ "community": community }),
        Answer::Ticket(ticket) => json!({ "ticket": ticket }),
        Answer::Joined { community, pending, of } => {
            json!({ "community": community, "pending": pending, "of": of })
        }
        Answer::Submitted { task, again, warning, advice, on } => {
            json!({ "task": task, "again": again, "warning": warning, "advice": advice, "on": on })
        }
        Answer::Community(view) => serde_json::to_value(view).map_err(problem)?,
        Answer::Permissions(views) => serde_json::to_value(views).map_err(problem)?,
        Answer::Trust(names) => serde_json::to_value(names).map_err(problem)?,
        Answer::Plan(view) => serde_json::to_value(view).map_err(problem)?,
        Answer::Tasks(views) => serde_json::to_value(views).map_err(problem)?,
        Answer::Task(view) => serde_json::to_value(view).map_err(problem)?,
        Answer::Ballots(views) => serde_json::to_value(views).map_err(problem)?,
        Answer::Quota(view) => serde_json::to_value(view).map_err(problem)?,
        Answer::Reputation(view) => serde_json::to_value(view).map_err(problem)?,
        Answer::Proposals(views) => serde_json::to_value(views).map_err(problem)?,
        Answer::Stats(view) => serde_json::to_value(view).map_err(problem)?,
        Answer::Status(view) => serde_json::to_value(view).map_err(problem)?,
        Answer::Peers(views) => serde_json::to_value(views).map_err(problem)?,
    };
    Ok(Json(value))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Counting {
    user: Option<String>,
    peer: Option<String>,
}

// spec: API-3
async fn stats(Extract(state): Extract<State>, Queried(of): Queried<Counting>) -> Result<Json<Value>> {
    ask(&state, Command::Stats { user: of.user, peer: of.peer }).await
}

async fn energy(Extract(state): Extract<State>) -> Json<Value> {
    Json(state.services.energy())
}

// spec: CLI-7
async fn config(Extract(state): Extract<State>) -> Json<Value> {
    Json(state.services.config())
}

async fn status(Extract(state): Extract<State>) -> Result<Json<Value>> {
    ask(&state, Command::Status).await
}

async fn net(Extract(state): Extract<State>) -> Json<Value> {
    Json(state.services.net_status())
}

/// What the ledger and the peers say of each, and by which path it is reached.
// spec: NET-6
async fn peers(Extract(state): Extract<State>) -> Result<Json<Value>> {
    let Json(mut peers) = ask(&state, Command::Peers).await?;
    let net = state.services.net_status();
    let about = |list: &str, device: &Value| {
        net[list].as_array().into_iter().flatten().find(|one| one["peer"] == *device).cloned()
    };
    for peer in peers.as_array_mut().into_iter().flatten() {
        let device = peer["device"].clone();
        peer["path"] = about("connections", &device).map_or(Value::Null, |conn| conn["way"].clone());
        peer["unreached"] = about("unreached", &device).map_or(Value::Null, |dial| dial["why"].clone());
    }
    Ok(Json(peers))
}

async fn community(Extract(state): Extract<State>) -> Result<Json<Value>> {
    ask(&state, Command::Community).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Founding {
    name: String,
    #[serde(default)]
    rules: Option<Rules>,
}

async fn found(Extract(state): Extract<State>, Asked(asked): Asked<Founding>) -> Result<Json<Value>> {
    let rules = Box::new(asked.rules.unwrap_or_default());
    ask(&state, Command::Found { name: asked.name, rules }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inviting {
    kind: TicketKind,
    valid_ms: u64,
}

async fn invite(Extract(state): Extract<State>, Asked(asked): Asked<Inviting>) -> Result<Json<Value>> {
    let addrs = state.services.addrs();
    ask(&state, Command::Invite { kind: asked.kind, valid_ms: asked.valid_ms, addrs }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Joining {
    ticket: String,
    #[serde(default)]
    as_device_of: Option<String>,
}

async fn join(Extract(state): Extract<State>, Asked(asked): Asked<Joining>) -> Result<Json<Value>> {
    ask(&state, Command::Join { ticket: asked.ticket, as_device_of: asked.as_device_of }).await
}

async fn revoke_device(Extract(state): Extract<State>, Named(device): Named) -> Result<Json<Value>> {
    ask(&state, Command::RevokeDevice { device }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sharing {
    permille: u16,
}

async fn share_quota(
    Extract(state): Extract<State>,
    Named(device): Named,
    Asked(asked): Asked<Sharing>,
) -> Result<Json<Value>> {
    ask(&state, Command::ShareQuota { device, permille: asked.permille }).await
}

async fn rotate_key(Extract(state): Extract<State>, Asked(rotation): Asked<Rotation>) -> Result<Json<Value>> {
    ask(&state, Command::RotateKey(Box::new(rotation))).await
}

async fn sponsor(Extract(state): Extract<State>, Named(user): Named) -> Result<Json<Value>> {
    ask(&state, Command::Sponsor { user }).await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Because {
    #[serde(default)]
    why: String,
}

async fn expel(
    Extract(state): Extract<State>,
    Named(user): Named,
    Asked(asked): Asked<Because>,
) -> Result<Json<Value>> {
    ask(&state, Command::Expel { user, why: asked.why }).await
}

async fn permissions(Extract(state): Extract<State>) -> Result<Json<Value>> {
    ask(&state, Command::Permissions).await
}

async fn grant(Extract(state): Extract<State>, Asked(asked): Asked<GrantRequest>) -> Result<Json<Value>> {
    ask(&state, Command::Grant(asked)).await
}

async fn revoke(Extract(state): Extract<State>, Named(grant): Named) -> Result<Json<Value>> {
    ask(&state, Command::Revoke { grant }).await
}

async fn trust(Extract(state): Extract<State>) -> Result<Json<Value>> {
    ask(&state, Command::Trust { users: None }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trusting {
    users: Vec<String>,
}

async fn set_trust(Extract(state): Extract<State>, Asked(asked): Asked<Trusting>) -> Result<Json<Value>> {
    ask(&state, Command::Trust { users: Some(asked.users) }).await
}

async fn ballots(Extract(state): Extract<State>) -> Result<Json<Value>> {
    ask(&state, Command::Ballots { task: None }).await
}

async fn ballot(Extract(state): Extract<State>, Named(task): Named) -> Result<Json<Value>> {
    ask(&state, Command::Ballots { task: Some(task) }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Voting {
    importance: Importance,
    #[serde(default)]
    comment: String,
}

async fn vote(
    Extract(state): Extract<State>,
    Named(task): Named,
    Asked(asked): Asked<Voting>,
) -> Result<Json<Value>> {
    ask(&state, Command::Vote { task, importance: asked.importance, comment: asked.comment }).await
}

async fn dispute(
    Extract(state): Extract<State>,
    Named(task): Named,
    Asked(asked): Asked<Because>,
) -> Result<Json<Value>> {
    ask(&state, Command::Dispute { task, why: asked.why }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    user: Option<String>,
}

async fn quota(Extract(state): Extract<State>, Queried(whose): Queried<Whose>) -> Result<Json<Value>> {
    ask(&state, Command::Quota { user: whose.user }).await
}

async fn reputation(Extract(state): Extract<State>, Queried(whose): Queried<Whose>) -> Result<Json<Value>> {
    ask(&state, Command::Reputation { user: whose.user }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contributing {
    user: String,
    unit: String,
    amount: u64,
    #[serde(default)]
    month: Option<u32>,
}

async fn contribute(
    Extract(state): Extract<State>,
    Asked(asked): Asked<Contributing>,
) -> Result<Json<Value>> {
    let Contributing { user, unit, amount, month } = asked;
    ask(&state, Command::Contribute { user, unit, amount, month }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Living {
    zone: String,
}

async fn zone(Extract(state): Extract<State>, Asked(asked): Asked<Living>) -> Result<Json<Value>> {
    ask(&state, Command::SetZone { zone: asked.zone }).await
}

async fn proposals(Extract(state): Extract<State>) -> Result<Json<Value>> {
    ask(&state, Command::Proposals).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposing {
    rules: Rules,
    #[serde(default)]
    why: String,
}

async fn propose(Extract(state): Extract<State>, Asked(asked): Asked<Proposing>) -> Result<Json<Value>> {
    ask(&state, Command::Propose { rules: Box::new(asked.rules), why: asked.why }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answering {
    yes: bool,
}

async fn vote_rules(
    Extract(state): Extract<State>,
    Named(proposal): Named,
    Asked(asked): Asked<Answering>,
) -> Result<Json<Value>> {
    ask(&state, Command::VoteRules { proposal, yes: asked.yes }).await
}

async fn tasks(Extract(state): Extract<State>) -> Result<Json<Value>> {
    ask(&state, Command::Tasks).await
}

async fn submit(Extract(state): Extract<State>, Asked(draft): Asked<Draft>) -> Result<Json<Value>> {
    // What the task needs must be here before the node promises to run it. To say where it would run takes no bytes.
    // spec: CLI-3
    if draft.dry_run {
        return ask(&state, Command::Submit(Box::new(draft))).await;
    }
    let module = Blob { hash: draft.module.into(), len: draft.module_len };
    let given = draft.inputs.iter().map(|file| file.blob).chain(draft.stdin).chain([module]);
    all_here(&state, given.collect(), "submit", "upload them first with POST /v1/blobs").await?;
    ask(&state, Command::Submit(Box::new(draft))).await
}

async fn all_here(state: &State, blobs: Vec<Blob>, to: &str, hint: &str) -> Result<()> {
    for blob in blobs {
        if state.services.need_blob(blob.hash).await? != Some(blob.len) {
            let what = format!("{to}: the bytes {} of {} are not here", blob.hash.short(), blob.len);
            return Err(Problem::new(StatusCode::CONFLICT, what, Some(hint)));
        }
    }
    Ok(())
}

async fn task(Extract(state): Extract<State>, Named(task): Named) -> Result<Json<Value>> {
    ask(&state, Command::Task { task }).await
}

async fn cancel(Extract(state): Extract<State>, Named(task): Named) -> Result<Json<Value>> {
    ask(&state, Command::Cancel { task }).await
}

async fn veto(
    Extract(state): Extract<State>,
    Named(task): Named,
    Asked(asked): Asked<Because>,
) -> Result<Json<Value>> {
    ask(&state, Command::Veto { task, why: asked.why }).await
}

// spec: ARC-7
async fn rerun(Extract(state): Extract<State>, Named(task): Named) -> Result<Json<Value>> {
    let given = state.services.given_to(view(&state, task.clone()).await?.task);
    let hint = "what was given to a task that has ended is kept for a day: submit it anew with `mesh submit`";
    all_here(&state, given, "run it again", hint).await?;
    ask(&state, Command::Rerun { task }).await
}

async fn view(state: &State, task: String) -> Result<Box<mesh_node::TaskView>> {
    match state.handle.ask(Command::Task { task }).await? {
        Answer::Task(view) => Ok(view),
        _ => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "find the task", None)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Following {
    #[serde(default = "stdout")]
    stream: Stream,
    #[serde(default)]
    from: u64,
}

fn stdout() -> Stream {
    Stream::Stdout
}

// spec: DEL-5
async fn logs(
    Extract(state): Extract<State>,
    Named(task): Named,
    Queried(following): Queried<Following>,
) -> Result<Response> {
    let task = view(&state, task).await?.task;
    let chunks = state.services.follow(task, following.stream, following.from).await?;
    Ok(bytes_of(chunks))
}

fn bytes_of(chunks: Chunks) -> Response {
    let body = Body::from_stream(Received(chunks));
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}

async fn output(Extract(state): Extract<State>, Named(task): Named) -> Result<Response> {
    let view = view(&state, task).await?;
    let Some(result) = view.result else {
        let what = format!("give the task's result: it has none; it is {}", view.state);
        return Err(Problem::new(
            StatusCode::CONFLICT,
            what,
            Some("`mesh task why ID` says what it waits for"),
        ));
    };
    let path = state.services.blob_path(result.output.hash);
    let path = path.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "give the task's result: its bytes are not kept here any more",
            None,
        )
    })?;
    let mut file = tokio::fs::File::open(path).await?;
    let (send, chunks) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        use tokio::io::AsyncReadExt as _;
        loop {
            let mut piece = vec![0; 64 * 1024];
            let piece = match file.read(&mut piece).await {
                Ok(0) => return,
                Ok(len) => {
                    piece.truncate(len);
                    Ok(Bytes::from(piece))
                }
                Err(error) => Err(error),
            };
            let failed = piece.is_err();
            if send.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    Ok(bytes_of(chunks))
}

async fn put_blob(Extract(state): Extract<State>, body: Body) -> Result<Json<Blob>> {
    let (send, chunks) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        use http_body_util::BodyExt as _;
        let mut body = body;
        while let Some(frame) = body.frame().await {
            let piece = match frame {
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) => Ok(bytes),
                    Err(_trailers) => continue,
                },
                Err(error) => Err(std::io::Error::other(error)),
            };
            let failed = piece.is_err();
            if send.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    Ok(Json(state.services.put_blob(chunks, MAX_BLOB).await?))
}

/// A channel as a stream.
struct Received<T>(mpsc::Receiver<T>);

impl<T> futures_core::Stream for Received<T> {
    type Item = T;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(context)
    }
}

async fn events(Extract(state): Extract<State>) -> Response {
    let mut happenings = state.handle.watch();
    let (send, receive) = mpsc::channel::<std::result::Result<Event, std::convert::Infallible>>(PIECES);
    tokio::spawn(async move {
        loop {
            let happening = tokio::select! {
                happening = happenings.recv() => happening,
                // However long nothing happens, nobody is watched for who has gone.
                () = send.closed() => return,
            };
            let event = match happening {
                Ok(happening) => match Event::default().json_data(&happening) {
                    Ok(event) => event,
                    Err(_not_shown) => continue,
                },
                // Whoever reads too slowly is told that something is missing, so that they can ask anew.
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    Event::default().data(json!({ "event": "missed", "count": missed }).to_string())
                }
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if send.send(Ok(event)).await.is_err() {
                return;
            }
        }
    });
    Sse::new(Received(receive)).keep_alive(KeepAlive::default()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pausing {
    #[serde(default)]
    for_ms: Option<u64>,
}

async fn pause(Extract(state): Extract<State>, Asked(asked): Asked<Pausing>) -> Result<Json<Value>> {
    ask(&state, Command::Pause { for_ms: asked.for_ms }).await
}

async fn resume(Extract(state): Extract<State>) -> Result<Json<Value>> {
    ask(&state, Command::Resume).await
}

async fn finish(Extract(state): Extract<State>) -> Result<Json<Value>> {
    ask(&state, Command::Finish).await
}

async fn ledger(Extract(state): Extract<State>) -> Result<Response> {
    let entries = state.services.ledger().await?;
    let file = ledger_file::encode(entries.iter().map(Vec::as_slice));
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], file).into_response())
}

async fn import(Extract(state): Extract<State>, Whole(body): Whole) -> Result<Json<ImportReport>> {
    let wrong = |trouble: Trouble| {
        let what = match trouble {
            Trouble::Bad(fault) => format!("byte {}: {}", fault.at, fault.what),
            Trouble::Read(error) => error.to_string(),
        };
        let hint = "give a file written by `mesh ledger export`";
        Problem::new(StatusCode::BAD_REQUEST, format!("read the ledger file: {what}"), Some(hint))
    };
    let mut file = ledger_file::Entries::new(&body[..]).map_err(wrong)?;
    let mut entries = Vec::new();
    while let Some(framed) = file.next().map_err(wrong)? {
        entries.push(framed.bytes);
    }
    Ok(Json(state.services.import(entries).await))
}

async fn openapi() -> Json<Value> {
    Json(document())
}
