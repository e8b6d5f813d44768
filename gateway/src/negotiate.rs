//! HTML or JSON: what a client's `Accept` prefers, with q-values (RFC 9110 §12.5.1).

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A page for a person.
    Html,
    /// A document for a program.
    Json,
}

/// What the client prefers. A browser names `text/html`; whoever names nothing or anything is taken for a program.
pub fn form(accept: Option<&str>) -> Form {
    let Some(accept) = accept else { return Form::Json };
    let quality = |types: [&str; 2]| {
        accept
            .split(',')
            .filter_map(|range| {
                let mut parts = range.split(';');
                let name = parts.next()?.trim().to_ascii_lowercase();
                let q = parts
                    .filter_map(|p| p.trim().strip_prefix("q="))
                    .find_map(|q| q.trim().parse::<f32>().ok())
                    .unwrap_or(1.0);
                types.contains(&name.as_str()).then_some(q)
            })
            .fold(0.0f32, f32::max)
    };
    let html = quality(["text/html", "application/xhtml+xml"]);
    let json = quality(["application/json", "application/problem+json"]);
    if html > 0.0 && html >= json { Form::Html } else { Form::Json }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let cases = [
            (Some(browser), Form::Html),
            (Some("TEXT/HTML"), Form::Html),
            (Some("application/json, */*"), Form::Json),
            (Some("text/html;q=0.5, application/json"), Form::Json),
            (Some("text/html;q=0, */*"), Form::Json),
            (Some("*/*"), Form::Json),
            (Some("application/json;q=0.5, text/html;q=0.9"), Form::Html),
            (Some(";;;,,q="), Form::Json),
            (None, Form::Json),
        ];
        for (accept, expected) in cases {
            assert_eq!(form(accept), expected, "{accept:?}");
        }
    }
}
