//! The service. Nothing in it knows which runtime it is on.
//!
//! On Compio it need not be `Send`, and each worker may have its own; this one is, for Tokio's sake.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use tokio::sync::Notify;

/// A larger body is refused, where it is to be had as a whole.
const MAX_BODY: usize = 1 << 20;

pub(crate) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// What requests share.
#[derive(Clone, Debug, Default)]
pub(crate) struct App {
    /// A request for `/slow` has come.
    pub(crate) asked: Arc<Notify>,
    /// It may be answered.
    pub(crate) go_on: Arc<Notify>,
}

impl App {
    /// COPY: the shape. A wrong request is an answer, not an error: that would end the connection.
    pub(crate) async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let answer = match (request.method(), request.uri().path()) {
            (&Method::GET, "/hello") => whole(StatusCode::OK, "hello\n"),
            (&Method::GET, "/version") => whole(StatusCode::OK, format!("{:?}", request.version())),
            (&Method::GET, "/slow") => {
                self.asked.notify_one();
                self.go_on.notified().await;
                whole(StatusCode::OK, "at last\n")
            }
            // As it comes: the client is read no faster than it reads.
            (&Method::POST, "/echo") => Response::new(request.into_body().boxed_unsync()),
            (&Method::POST, "/length") => {
                match Limited::new(request.into_body(), MAX_BODY).collect().await {
                    Ok(body) => whole(StatusCode::OK, body.to_bytes().len().to_string()),
                    Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                        whole(StatusCode::PAYLOAD_TOO_LARGE, "")
                    }
                    Err(_) => whole(StatusCode::BAD_REQUEST, ""),
                }
            }
            (_, "/hello" | "/version" | "/slow" | "/echo" | "/length") => {
                whole(StatusCode::METHOD_NOT_ALLOWED, "")
            }
            _ => whole(StatusCode::NOT_FOUND, ""),
        };
        Ok(answer)
    }
}

fn whole(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = status;
    answer
}
