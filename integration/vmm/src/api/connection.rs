//! One client: its requests, one after the other, and their answers.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, EXPECT, HeaderValue, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::answer::ApiError;
use super::openapi;
use super::routes::{self, Act, Answer, Gives, Route};
use super::timed::{Activity, Timed};
use super::workers::Workers;
use crate::config::MAX_CONFIG_BYTES;
use crate::lifecycle::Vmm;
use crate::quoted;

/// The longest body, in bytes: a configuration is the largest of them.
const MAX_BODY_BYTES: usize = MAX_CONFIG_BYTES as usize;

/// How much of a longer one is read, to be thrown away.
const HEARD_BYTES: usize = 16 << 20;

/// How often it is tried to have the VMM end where many others wait.
const NO_ROOM_WAIT: Duration = Duration::from_millis(10);

/// The longest head, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Who answers.
#[derive(Debug, Clone)]
pub(super) struct Answerer {
    pub(super) vmm: Vmm,
    pub(super) workers: Workers,
}

/// Serves a client until it goes, or does what nobody waits for.
pub(super) async fn serve(
    stream: UnixStream,
    activity: Activity,
    answerer: Answerer,
    stop: impl Future<Output = ()>,
) {
    let service = service_fn(|request| {
        let (activity, answerer) = (activity.clone(), answerer.clone());
        async move {
            let answer = answerer.answer(request, &activity).await;
            activity.rest();
            Ok::<_, Infallible>(answer)
        }
    });
    let stream = TokioIo::new(Timed::new(stream, activity.clone()));
    let connection = http1::Builder::new()
        // Some clients look for names of headers letter by letter.
        .title_case_headers(true)
        .half_close(true)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let mut stop = std::pin::pin!(stop);
    let mut is_stopping = false;
    let ended = std::future::poll_fn(|cx| {
        if !is_stopping && stop.as_mut().poll(cx).is_ready() {
            is_stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    });
    if let Err(error) = ended.await {
        log::debug!("a client of the API: {error}");
    }
}

impl Answerer {
    async fn answer(
        &self,
        request: Request<Incoming>,
        activity: &Activity,
    ) -> Response<Full<Bytes>> {
        let is_get = request.method() == Method::GET;
        let mut media = "application/json";
        let answer = self.work(request, activity, &mut media).await;
        if let Err(error) = &answer {
            log::log!(
                if is_get { log::Level::Debug } else { log::Level::Info },
                "API: {}",
                quoted::message(&error.reasons().join(": "))
            );
        }
        response(answer, media)
    }

    async fn work(
        &self,
        request: Request<Incoming>,
        activity: &Activity,
        media: &mut &'static str,
    ) -> Answer {
        let path = request.uri().path();
        let no_path = || ApiError::NoPath(quoted::text(path));
        let route = routes::find(path).ok_or_else(no_path)?;
        if matches!(route.gives, Gives::Text) {
            *media = "text/plain; version=0.0.4";
        }
        if request.method() != route.method() {
            let allowed = if route.method() == Method::GET { "GET" } else { "PUT" };
            return Err(ApiError::Method { path: route.name, allowed });
        }
        let asks_first = request.headers().contains_key(EXPECT);
        let body = body(request.into_body(), asks_first).await?;
        activity.work();
        self.act(route, body).await
    }

    async fn act(&self, route: &'static Route, body: Bytes) -> Answer {
        if route.takes.is_none() && !body.iter().all(u8::is_ascii_whitespace) {
            return Err(ApiError::NoBody(route.name));
        }
        match route.act {
            Act::Tell(tell) => tell(&self.vmm),
            Act::Describe => Ok(Some(openapi::document())),
            Act::Ask(ask) => {
                let vmm = self.vmm.clone();
                let told = self.workers.ask(move || ask(&vmm))?;
                told.await.unwrap_or(Err(ApiError::GivenUp))
            }
            Act::Leave(leave) => {
                // Before its turn: whoever is waited for, or waits, is told, and makes room.
                self.vmm.begin_to_leave();
                let left = loop {
                    let vmm = self.vmm.clone();
                    match self.workers.ask(move || leave(&vmm)) {
                        Ok(left) => break left,
                        Err(_) => tokio::time::sleep(NO_ROOM_WAIT).await,
                    }
                };
                left.await.unwrap_or(Err(ApiError::GivenUp))
            }
            Act::Do(act) => {
                let vmm = self.vmm.clone();
                let done = self.workers.ask(move || act(&vmm, &body))?;
                done.await.unwrap_or(Err(ApiError::GivenUp))
            }
        }
    }
}

/// All of a body. Whoever sends too much is heard out, up to a limit: many look for the answer only
/// then.
async fn body(mut body: Incoming, asks_first: bool) -> Result<Bytes, ApiError> {
    let announced = body.size_hint().lower();
    let is_too_large = announced > MAX_BODY_BYTES as u64;
    if is_too_large && (asks_first || announced > HEARD_BYTES as u64) {
        return Err(ApiError::TooLarge(MAX_BODY_BYTES));
    }
    let (mut all, mut heard) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::Unread(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        heard = heard.saturating_add(data.len());
        if heard <= MAX_BODY_BYTES {
            all.extend_from_slice(&data);
        } else if heard <= HEARD_BYTES {
            all = Vec::new();
        } else {
            break;
        }
    }
    if heard > MAX_BODY_BYTES { Err(ApiError::TooLarge(MAX_BODY_BYTES)) } else { Ok(all.into()) }
}

fn response(answer: Answer, media: &'static str) -> Response<Full<Bytes>> {
    let (status, text) = match &answer {
        Ok(None) => (StatusCode::NO_CONTENT, String::new()),
        Ok(Some(json)) => (StatusCode::OK, json.clone()),
        Err(error) => (error.status(), serde_json::to_string(&error.reasons()).unwrap_or_default()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("pseries-vmm"));
    if status != StatusCode::NO_CONTENT {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    }
    if let Err(ApiError::Method { allowed, .. }) = answer {
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}
