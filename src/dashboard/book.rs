//! The manual at `/book`: the pages of `docs`, so that warnings and problems can link to their explanation even without
//! a network.
//!
//! Pages are rendered from Markdown on each request, which takes less than a millisecond, and browsers cache them.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use crate::dashboard::files::{Pages, REVALIDATE, VERSION, data, send};

/// Routes of the manual's pages, and of the URLs in problem types.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/book", get(|| leads_to("book/introduction".to_owned())))
        .route("/book/{*page}", get(get_page))
        // The `type` of a problem is a reference to this path.
        .route("/problems/{kind}", get(get_problem))
}

/// A permanent redirect. The address is relative, so that it works below any path prefix.
async fn leads_to(address: String) -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, address)]).into_response()
}

async fn get_problem(Path(kind): Path<String>) -> Response {
    // A kind that is not a valid slug has no row on the page.
    let slug = kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let row = if slug { format!("#{kind}") } else { String::new() };
    leads_to(format!("../book/problems{row}")).await
}

async fn get_page(Path(page): Path<String>, headers: HeaderMap) -> Response {
    if page.ends_with(".png") {
        return match Pages::get(&page) {
            Some(file) => send(&headers, "image/png", REVALIDATE, data(file)),
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    match Pages::get(&format!("{page}.md")) {
        // The list of pages is shown beside every page, and is not a page itself.
        Some(file) if page != "SUMMARY" => {
            let text = String::from_utf8_lossy(&file.data);
            let body = whole_page(&page, &text);
            send(&headers, "text/html; charset=utf-8", REVALIDATE, body.into())
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

static SUMMARY: LazyLock<String> = LazyLock::new(|| {
    let file = Pages::get("SUMMARY.md").expect("a test reads it");
    String::from_utf8_lossy(&file.data).into_owned()
});

/// A page together with the list of all pages.
fn whole_page(page: &str, text: &str) -> String {
    let root = "../".repeat(1 + page.matches('/').count());
    let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or("Manual");
    let contents = rendered(&SUMMARY, &format!("{root}book/"));
    let body = rendered(text, "");
    let mut escaped = String::new();
    html::push_html(&mut escaped, [Event::Text(title.into())].into_iter());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{escaped} - Sparsity planner</title>\n\
         <link rel=\"icon\" href=\"{root}dashboard/{version}/icon.svg\">\n\
         <link rel=\"stylesheet\" href=\"{root}dashboard/{version}/style.css\">\n\
         <link rel=\"stylesheet\" href=\"{root}dashboard/{version}/book.css\">\n</head>\n<body class=\"book\">\n\
         <nav aria-label=\"Pages\"><p><a href=\"{root}\">Dashboard</a> <a href=\"{root}docs/\">API</a></p>\n\
         {contents}</nav>\n<main>\n{body}</main>\n</body>\n</html>\n",
        version = *VERSION,
    )
}

/// Renders Markdown as HTML. Headings get the anchors that links between the pages use, and so does code in the first
/// cell of a table row: codes of warnings and kinds of problems.
fn rendered(text: &str, root: &str) -> String {
    let mut shown = Vec::new();
    let mut heading: Option<(HeadingLevel, Vec<Event<'_>>)> = None;
    let mut first_cell = false;
    let mut left_out = Vec::new();
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        let event = match event {
            Event::Start(Tag::Heading { level, .. }) => {
                heading = Some((level, Vec::new()));
                continue;
            }
            Event::End(TagEnd::Heading(_)) => {
                let (level, words) = heading.take().expect("a heading begins before it ends");
                let anchor = anchor(&words);
                shown.push(Event::Html(format!("<{level} id=\"{anchor}\">").into()));
                shown.extend(words);
                Event::Html(format!("</{level}>\n").into())
            }
            Event::Start(Tag::TableRow) => {
                first_cell = true;
                event
            }
            Event::End(TagEnd::TableCell) => {
                first_cell = false;
                event
            }
            Event::Code(code) if first_cell && is_anchor(&code) => {
                Event::InlineHtml(format!("<code id=\"{code}\">{code}</code>").into())
            }
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let dest_url = address(&dest_url, root);
                left_out.push(dest_url.is_none());
                match dest_url {
                    Some(dest_url) => Event::Start(Tag::Link { link_type, dest_url, title, id }),
                    None => continue,
                }
            }
            Event::End(TagEnd::Link) if left_out.pop() == Some(true) => continue,
            event => event,
        };
        match &mut heading {
            Some((_, words)) => words.push(event),
            None => shown.push(event),
        }
    }
    let mut page = String::with_capacity(2 * text.len());
    html::push_html(&mut page, shown.into_iter());
    page
}

/// The address that a link in a page leads to, in the manual or elsewhere. `None` for files that are not part of the
/// program.
fn address(link: &str, root: &str) -> Option<CowStr<'static>> {
    if link.contains("://") || link.starts_with('#') {
        return Some(link.to_owned().into());
    }
    if link.starts_with("../") && !link.starts_with("../book") {
        let page = link.trim_start_matches("../").split('#').next().unwrap_or_default();
        Pages::get(page)?;
    }
    Some(format!("{root}{}", link.replacen(".md", "", 1)).into())
}

fn is_anchor(code: &str) -> bool {
    !code.is_empty()
        && code.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-'))
}

/// The anchor of a heading, as book generators make it: lower case, with hyphens between words.
fn anchor(words: &[Event<'_>]) -> String {
    let texts = words.iter().filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(&**text),
        _ => None,
    });
    let text = texts.collect::<String>().to_lowercase();
    let kept = text.chars().filter_map(|c| match c {
        c if c.is_alphanumeric() || matches!(c, '_' | '-') => Some(c),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(name: &str) -> String {
        let file = Pages::get(&format!("{name}.md")).unwrap();
        whole_page(name, std::str::from_utf8(&file.data).unwrap())
    }

    /// All texts between `begin` and `end`.
    fn between<'a>(text: &'a str, begin: &str, end: char) -> Vec<&'a str> {
        text.split(begin).skip(1).map(|rest| rest.split(end).next().unwrap()).collect()
    }

    #[test]
    fn every_link_leads_somewhere() {
        let mut looked_at = 0;
        for file in Pages::iter().filter(|file| file.ends_with(".md") && file != "SUMMARY.md") {
            let name = file.strip_suffix(".md").unwrap();
            let html = page(name);
            for link in between(&html, "<a href=\"", '"') {
                if link.contains("://")
                    || link.ends_with("docs/")
                    || link.trim_matches(['.', '/']).is_empty()
                {
                    continue;
                }
                let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
                let mut folder: Vec<&str> = name.split('/').collect();
                folder.pop();
                for part in target.split('/').filter(|part| !part.is_empty()) {
                    match part {
                        ".." => drop(folder.pop()),
                        "book" => folder.clear(),
                        part => folder.push(part),
                    }
                }
                let target = if target.is_empty() { name.to_owned() } else { folder.join("/") };
                if target.ends_with(".png") {
                    assert!(Pages::get(&target).is_some(), "{name}: {link}");
                    continue;
                }
                assert!(Pages::get(&format!("{target}.md")).is_some(), "{name}: {link}");
                let anchored =
                    anchor.is_empty() || page(&target).contains(&format!("id=\"{anchor}\""));
                assert!(anchored, "{name}: {link}");
                looked_at += 1;
            }
        }
        assert!(looked_at > 500, "{looked_at}");
    }

    #[test]
    fn kinds_of_problems_and_codes_of_warnings_have_their_places() {
        let problems = page("problems");
        for kind in ["invalid", "not-identified", "unavailable"] {
            assert!(problems.contains(&format!("<code id=\"{kind}\">")), "{kind}");
        }
        let trust = page("trust");
        for code in ["not_identified", "forecasts_missed", "extrapolation"] {
            assert!(trust.contains(&format!("<code id=\"{code}\">")), "{code}");
        }
    }

    #[test]
    fn headings_are_anchors_and_files_elsewhere_are_no_links() {
        let html = rendered("## What `ask` does, twice\n\n[a](../benches/x.md) [b](c.md#d)\n", "");
        assert!(html.contains("<h2 id=\"what-ask-does-twice\">"), "{html}");
        assert!(html.contains("<p>a <a href=\"c#d\">b</a></p>"), "{html}");
    }
}
