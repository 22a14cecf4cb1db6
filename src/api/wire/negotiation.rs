//! Content negotiation: which representation of an answer the caller wants, JSON or a picture as SVG or PNG.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::api::wire::problem::ApiError;

/// A representation of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Representation {
    /// The numbers, as JSON.
    Json,
    /// A picture of the answer.
    Picture(PictureFormat),
}

/// Format of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// Vector graphics.
    Svg,
    /// Pixel graphics.
    Png,
}

impl Representation {
    /// All representations; the first is used if the caller has no preference.
    const ALL: [Self; 3] =
        [Self::Json, Self::Picture(PictureFormat::Svg), Self::Picture(PictureFormat::Png)];

    /// The media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Picture(format) => format.media_type(),
        }
    }

    /// Suffix that this representation adds to the ETag of the answer.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Json => "",
            Self::Picture(PictureFormat::Svg) => ".svg",
            Self::Picture(PictureFormat::Png) => ".png",
        }
    }

    /// The representation that `Accept` prefers.
    ///
    /// # Errors
    /// [`ApiError::NotAcceptable`] if it accepts none of them.
    pub fn wanted(headers: &HeaderMap) -> Result<Self, ApiError> {
        negotiate(headers, &Self::ALL, Self::media_type)
    }
}

/// The offered representation that `Accept` prefers. Among equally preferred ones, the one that `Accept` names most
/// specifically, and then the one offered first. Without the header, the first.
///
/// # Errors
/// [`ApiError::NotAcceptable`] if the header accepts none of them.
pub fn negotiate<T: Copy>(
    headers: &HeaderMap,
    offered: &[T],
    media_type: impl Fn(T) -> &'static str,
) -> Result<T, ApiError> {
    let lists = headers.get_all(header::ACCEPT).iter();
    let accept: Vec<&str> = lists.filter_map(|value| value.to_str().ok()).collect();
    let anything = ["*/*"];
    let silent = accept.iter().all(|list| list.trim().is_empty());
    let lists = if silent { &anything[..] } else { &accept[..] };
    let ranges: Vec<Range<'_>> =
        lists.iter().flat_map(|list| list.split(',')).filter_map(Range::read).collect();
    let mut best: Option<(f64, u8, T)> = None;
    for &representation in offered {
        // The most specific range that matches the type determines its quality.
        let closest = ranges
            .iter()
            .filter_map(|range| Some((range.closeness(media_type(representation))?, range.quality)))
            .reduce(|a, b| if b.0 > a.0 { b } else { a });
        let Some((closeness, quality)) = closest.filter(|(_, quality)| *quality > 0.0) else {
            continue;
        };
        if best.is_none_or(|(q, c, _)| quality > q || (quality == q && closeness > c)) {
            best = Some((quality, closeness, representation));
        }
    }
    best.map(|(_, _, representation)| representation).ok_or_else(|| ApiError::NotAcceptable {
        accept: accept.join(", "),
        offered: offered.iter().map(|&one| media_type(one)).collect::<Vec<_>>().join(", "),
    })
}

impl PictureFormat {
    /// The media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Svg => "image/svg+xml",
            Self::Png => "image/png",
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Representation {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::wanted(&parts.headers)
    }
}

/// One entry of `Accept`, such as `image/*;q=0.8`.
struct Range<'a> {
    main: &'a str,
    sub: &'a str,
    quality: f64,
}

impl<'a> Range<'a> {
    /// Parses an entry; `None` if it is invalid, in which case it is ignored.
    fn read(entry: &'a str) -> Option<Self> {
        let mut parts = entry.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let mut quality = 1.0;
        for parameter in parts {
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim().eq_ignore_ascii_case("q")
            {
                quality = value.trim().parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
            }
        }
        Some(Self { main, sub, quality })
    }

    /// How specifically the entry matches the type: 2 by name, 1 as `type/*`, 0 as `*/*`; `None` if it does not match.
    fn closeness(&self, media_type: &str) -> Option<u8> {
        let (main, sub) = media_type.split_once('/')?;
        match (self.main, self.sub) {
            ("*", "*") => Some(0),
            (kind, "*") if kind.eq_ignore_ascii_case(main) => Some(1),
            (kind, name) if kind.eq_ignore_ascii_case(main) && name.eq_ignore_ascii_case(sub) => {
                Some(2)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &[&str]) -> Option<Representation> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        Representation::wanted(&headers).ok()
    }

    #[test]
    fn the_best_liked_representation_is_taken() {
        use Representation::Json;
        const SVG: Representation = Representation::Picture(PictureFormat::Svg);
        const PNG: Representation = Representation::Picture(PictureFormat::Png);
        let table: [(&[&str], Option<Representation>); 18] = [
            (&[], Some(Json)),
            (&[""], Some(Json)),
            (&["*/*"], Some(Json)),
            (&["application/*"], Some(Json)),
            (&["image/*"], Some(SVG)),
            (&["IMAGE/PNG"], Some(PNG)),
            (&["image/png;q=0.5, image/svg+xml;q=0.4"], Some(PNG)),
            (&["image/png", "application/json;q=0.9"], Some(PNG)),
            (&["application/json, image/png"], Some(Json)),
            (&["image/png, */*"], Some(PNG)),
            (&["image/*;q=0.8, image/svg+xml;q=0, */*;q=0.1"], Some(PNG)),
            (&["application/json;charset=utf-8"], Some(Json)),
            // A browser opening the URL, and one loading it as an image.
            (&["text/html,application/xml;q=0.9,image/webp,*/*;q=0.8"], Some(Json)),
            (&["image/avif,image/webp,image/svg+xml,image/*;q=0.8,*/*;q=0.5"], Some(SVG)),
            (&["text/html"], None),
            (&["application/json;q=0"], None),
            (&["*/*;q=0"], None),
            (&["image/png;q=2, nonsense"], None),
        ];
        for (accept, expected) in table {
            assert_eq!(wanted(accept), expected, "{accept:?}");
        }
    }
}
