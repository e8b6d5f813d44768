//! The summary as one HTML page that needs nothing else: inline style, inline drawings, no script.

use std::fmt::{self, Write};

use super::summary::Summary;
use crate::meter::Second;

/// A drawing is at most so many points wide; longer runs are thinned.
const POINTS: usize = 600;
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 150.0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:820px;padding:0 1rem;color:#1d2430;background:#fff}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .5rem;text-align:right;border-bottom:1px solid #e3e7ee}th:first-child,td:first-child{text-align:left}\
.ok{color:#12683c}.bad{color:#a3162c;font-weight:600}svg{width:100%;height:auto;background:#f7f8fb;border-radius:6px}\
@media(prefers-color-scheme:dark){body{color:#e6e9ef;background:#14171d}th,td{border-color:#2c323d}svg{background:#1c212a}.ok{color:#6fd49c}.bad{color:#ff8c9b}}";

/// The page.
pub fn page(summary: &Summary, seconds: &[Second]) -> String {
    let mut out = String::with_capacity(1 << 15);
    // Writing to a string cannot fail.
    let _ = write_page(&mut out, summary, seconds);
    out
}

fn write_page(out: &mut String, s: &Summary, seconds: &[Second]) -> fmt::Result {
    let name = escaped(&s.scenario);
    write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Load run {name}</title><style>{STYLE}</style><h1>Load run: {name}</h1>\
         <p>Seed {}, started {}, {:.1} s, {:.0} requests/s, against {}.</p>",
        s.seed,
        escaped(&s.started_at),
        s.elapsed_s,
        s.requests_per_s,
        escaped(&s.targets.join(", "))
    )?;
    verdict(out, s)?;
    chart(out, "Fans", seconds, &[("in the line", "#3b6fd4", |x| x.waiting), ("inside", "#d48a1f", |x| x.inside)])?;
    chart(
        out,
        "Each second",
        seconds,
        &[
            ("got in", "#3b6fd4", |x| x.got_in),
            ("bought", "#1f9d5b", |x| x.confirmed),
            ("arrived", "#8a93a3", |x| x.arrived),
        ],
    )?;
    chart(
        out,
        "Requests each second",
        seconds,
        &[("requests", "#3b6fd4", |x| x.requests), ("errors", "#c8283f", |x| x.errors)],
    )?;
    operations(out, s)?;
    write!(out, "<h2>Fans</h2><table><tr><th>outcome</th><th>fans</th></tr>")?;
    for (outcome, count) in &s.fans.outcomes {
        write!(out, "<tr><td>{}</td><td>{count}</td></tr>", outcome.replace('_', " "))?;
    }
    write!(out, "</table></html>")
}

fn verdict(out: &mut String, s: &Summary) -> fmt::Result {
    let class = if s.exit == 0 { "ok" } else { "bad" };
    let word = match s.exit {
        0 => "ok",
        98 => "an invariant is broken",
        99 => "a threshold is missed",
        _ => "aborted",
    };
    write!(
        out,
        "<p class=\"{class}\">Verdict: {word}.</p><p>{} fans came, {} joined, {} got in. {} bookings, {} seats, {} places sold.</p>",
        s.fans.arrived, s.fans.joined, s.fans.got_in, s.sold.bookings, s.sold.seats, s.sold.places
    )?;
    for line in s.broken.iter().chain(&s.missed).chain(&s.generator.warnings) {
        write!(out, "<p class=\"bad\">{}</p>", escaped(line))?;
    }
    Ok(())
}

fn operations(out: &mut String, s: &Summary) -> fmt::Result {
    write!(
        out,
        "<h2>Operations</h2><p>Milliseconds from the intended moment, so that waiting for a slow system counts.</p><table>\
         <tr><th>operation</th><th>count</th><th>refused</th><th>errors</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th>\
         <th>max</th><th>p99 from sending</th></tr>"
    )?;
    for op in &s.operations {
        let (i, sent) = (op.intended_ms.unwrap_or_default(), op.sent_ms.unwrap_or_default());
        write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td></tr>",
            op.operation, op.count, op.refused, op.errors, i.p50, i.p90, i.p99, i.p999, i.max, sent.p99
        )?;
    }
    write!(out, "</table>")
}

type Series = (&'static str, &'static str, fn(&Second) -> u64);

fn chart(out: &mut String, title: &str, seconds: &[Second], series: &[Series]) -> fmt::Result {
    let highest = series.iter().flat_map(|(_, _, of)| seconds.iter().map(of)).max().unwrap_or(0).max(1);
    write!(out, "<h2>{title}</h2><p>")?;
    for (name, colour, _) in series {
        write!(out, "<span style=\"color:{colour}\">&#9632;</span> {name} ")?;
    }
    write!(
        out,
        "(0 to {highest}, {} s)</p><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">",
        seconds.len()
    )?;
    for (_, colour, of) in series {
        write!(out, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"")?;
        let step = seconds.len().div_ceil(POINTS).max(1);
        for (index, chunk) in seconds.chunks(step).enumerate() {
            let value = chunk.iter().map(of).max().unwrap_or(0);
            let x = WIDTH * (index * step) as f64 / seconds.len().max(2) as f64;
            let y = (HEIGHT - 4.0) * (1.0 - value as f64 / highest as f64) + 2.0;
            write!(out, "{x:.1},{y:.1} ")?;
        }
        write!(out, "\"/>")?;
    }
    write!(out, "</svg>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("<b> & \"c\""), "&lt;b&gt; &amp; &quot;c&quot;");
    }

    #[test]
    fn a_long_run_is_thinned() {
        let seconds = vec![Second { requests: 5, ..Second::default() }; 100_000];
        let mut out = String::new();
        chart(&mut out, "t", &seconds, &[("r", "#000", |x| x.requests)]).expect("a string takes all");
        assert!(out.len() < 20_000, "{}", out.len());
    }
}
