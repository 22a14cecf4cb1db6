//! Answers as pictures: their parameters, and how they are sent.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::layers::owner::Owner;
use crate::api::state::AppState;
use crate::api::wire::caching::{Freshness, KnownTags, Validator};
use crate::api::wire::negotiation::{PictureFormat, Representation};
use crate::api::wire::problem::ApiError;
use crate::api::wire::views::WarningView;
use crate::domain::checks::Checks;
use crate::domain::law::Law;
use crate::domain::law_origin::Origin;
use crate::draw::{self, Canvas, Caption, SparsityAxis, Theme, Window};

/// An answer drawn as SVG.
#[derive(Debug, ToSchema)]
#[schema(value_type = String)]
pub struct SvgPicture(#[allow(dead_code, reason = "a name in the document")] String);

/// An answer drawn as PNG.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct PngPicture(#[allow(dead_code, reason = "a name in the document")] Vec<u8>);

/// Colours of a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Theme)]
pub enum ThemeView {
    /// White background, for paper.
    #[default]
    Light,
    /// Dark background, for screens.
    Dark,
}

/// Scale of the sparsity axis of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SparsityAxis)]
pub enum SparsityAxisView {
    /// Linear in the logarithm of the density.
    Density,
    /// Linear in the sparsity.
    Linear,
}

impl From<SparsityAxisView> for SparsityAxis {
    fn from(axis: SparsityAxisView) -> Self {
        match axis {
            SparsityAxisView::Density => Self::Density,
            SparsityAxisView::Linear => Self::Linear,
        }
    }
}

/// The requested appearance of a picture.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Width in pixels.
    pub width: Option<u32>,
    /// Height in pixels.
    pub height: Option<u32>,
    /// Colours.
    pub theme: Option<ThemeView>,
    /// Whether title and notes are left out.
    pub bare: bool,
    /// Ends of the horizontal axis, as `low,high`.
    pub x_range: Option<&'a str>,
    /// Ends of the vertical axis, as `low,high`.
    pub y_range: Option<&'a str>,
}

/// The requested canvas. A JSON answer has no canvas, but wrong values are refused all the same, so that a URL is valid
/// either in every representation or in none.
pub fn check_canvas(
    width: Option<u32>,
    height: Option<u32>,
    theme: Option<ThemeView>,
    checks: &mut Checks,
) -> Canvas {
    let look = Look { width, height, theme, bare: false, x_range: None, y_range: None };
    look.check(checks)
}

impl Look<'_> {
    /// The requested canvas; errors are recorded in `checks`.
    pub fn check(&self, checks: &mut Checks) -> Canvas {
        let width = self.width.unwrap_or(Canvas::WIDTH);
        let height = self.height.unwrap_or(Canvas::HEIGHT);
        let (widths, heights) = match self.bare {
            true => (Canvas::BARE_WIDTHS, Canvas::BARE_HEIGHTS),
            false => (Canvas::WIDTHS, Canvas::HEIGHTS),
        };
        for (field, value, range) in [("width", width, widths), ("height", height, heights)] {
            if !range.contains(&value) {
                let (start, end) = (range.start(), range.end());
                checks.refuse(field, format!("must be between {start} and {end}, not {value}"));
            }
        }
        let theme = match self.theme.unwrap_or_default() {
            ThemeView::Light => Theme::Light,
            ThemeView::Dark => Theme::Dark,
        };
        let canvas = match self.bare {
            true => Canvas::bare(width, height, theme),
            false => Canvas::new(width, height, theme),
        };
        canvas.showing(Window {
            x: self.x_range.and_then(|range| check_range("x_range", range, checks)),
            y: self.y_range.and_then(|range| check_range("y_range", range, checks)),
        })
    }
}

fn check_range(field: &str, text: &str, checks: &mut Checks) -> Option<[f64; 2]> {
    let ends = check_pair(field, text, checks)?;
    if ends[0] >= ends[1] {
        checks.refuse(field, format!("must rise from its first number to its second, not {text}"));
        return None;
    }
    Some(ends)
}

/// Parses two numbers such as `1e6,1e9`.
pub fn check_pair(field: &str, text: &str, checks: &mut Checks) -> Option<[f64; 2]> {
    let read = |number: &str| number.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    let pair = text.split_once(',').and_then(|(a, b)| Some([read(a)?, read(b)?]));
    if pair.is_none() {
        checks.refuse(field, format!("must be two numbers such as 1e6,1e9, not {text}"));
    }
    pair
}

/// The caption of a picture, about the law behind it.
pub fn caption<'a>(
    family: &str,
    law: &Law,
    warnings: impl IntoIterator<Item = &'a WarningView>,
) -> Caption {
    let content = &law.content;
    let made = match content.origin {
        Origin::Fitted(_) => "fitted",
        Origin::Published(_) => "published",
    };
    let runs =
        content.origin.runs().map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
    let day = content.fitted_at.format("%Y-%m-%d");
    let version = law.version;
    let mut notes = vec![format!("Law {version} of {family}, {made} {day} on {runs} runs")];
    let mut codes: Vec<&str> = Vec::new();
    for warning in warnings {
        if !codes.contains(&warning.code.as_str()) {
            codes.push(&warning.code);
        }
    }
    if !codes.is_empty() {
        notes.push(format!(
            "Warnings, in words in the JSON answer: {}",
            codes.join(", ").replace('_', " ")
        ));
    }
    Caption { family: family.to_owned(), law_version: version, notes }
}

/// How an answer is to be sent.
#[derive(Debug)]
pub struct Sending<'a> {
    /// On whose behalf the answer is computed.
    pub owner: Owner,
    /// ETags of the answers that the caller already has.
    pub known: &'a KnownTags,
    /// The representation that the caller's `Accept` prefers.
    pub representation: Representation,
    /// Identifies the state on which the answer depends.
    pub tag: String,
    /// How long the answer may be reused.
    pub freshness: Freshness,
}

impl Sending<'_> {
    /// Computes the answer on a separate thread, draws it if a picture is wanted, and sends it with its ETag; sends 304
    /// if the caller already has it.
    ///
    /// # Errors
    /// Those of `answer`.
    pub async fn send<T: Serialize + 'static>(
        self,
        state: &AppState,
        answer: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
        draw: impl FnOnce(&T) -> String + Send + 'static,
    ) -> Result<Response, ApiError> {
        let representation = self.representation;
        let body = move || {
            let answer = answer()?;
            match representation {
                Representation::Json => Ok(Json(answer).into_response()),
                Representation::Picture(format) => picture(format, &draw(&answer)),
            }
        };
        self.respond(state, body).await
    }

    /// Like [`Self::send`], for an answer that is always a picture.
    ///
    /// # Errors
    /// [`ApiError::Internal`].
    pub async fn send_picture(
        self,
        state: &AppState,
        format: PictureFormat,
        draw: impl FnOnce() -> String + Send + 'static,
    ) -> Result<Response, ApiError> {
        self.respond(state, move || picture(format, &draw())).await
    }

    /// A 304 response if the caller already has the answer; call this before anything is read for it.
    pub fn not_modified(&self) -> Option<Response> {
        self.validator().not_modified().map(varying)
    }

    fn validator(&self) -> Validator {
        let tag = format!("{}{}", self.tag, self.representation.tag());
        Validator::new(self.known, &tag, self.freshness)
    }

    async fn respond(
        self,
        state: &AppState,
        body: impl FnOnce() -> Result<Response, ApiError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let validator = self.validator();
        let response = match validator.not_modified() {
            Some(response) => response,
            None => validator.attach(state.threads.run(self.owner, body).await?),
        };
        Ok(varying(response))
    }
}

fn picture(format: PictureFormat, svg: &str) -> Result<Response, ApiError> {
    let media_type = [(header::CONTENT_TYPE, format.media_type())];
    Ok(match format {
        PictureFormat::Svg => (media_type, svg.to_owned()).into_response(),
        PictureFormat::Png => {
            let png = draw::png(svg).map_err(|error| ApiError::Internal(error.into()))?;
            (media_type, png).into_response()
        }
    })
}

/// Adds the `Vary` header for answers that depend on `Accept`.
pub fn varying(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let others = headers.insert(header::VARY, HeaderValue::from_static("accept"));
    if let Some(others) = others {
        headers.append(header::VARY, others);
    }
    response
}
