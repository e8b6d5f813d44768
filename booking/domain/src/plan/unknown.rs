//! Which properties of a plan file the format does not have.
//!
//! The format forbids them, yet editors write them; they are dropped when a plan is read, and an
//! organiser should be told. Members of known objects only: what stands inside an unknown property
//! is not looked at.

use std::collections::BTreeSet;

use serde_json::Value;

/// How many are named before the rest is left out.
const MAX_NAMED: usize = 50;

/// Collects the names of properties that the format does not have.
pub(super) fn collect(plan: &Value, named: &mut BTreeSet<String>) {
    name_unknown(plan, ROOT, named);
}

/// The known properties of one kind of object, each with the kind it holds.
struct Kind(&'static [(&'static str, Option<&'static Kind>)]);

static LEAF: Option<&Kind> = None;
static POINT: Kind = Kind(&[("x", LEAF), ("y", LEAF)]);
static CATEGORY: Kind = Kind(&[("name", LEAF), ("color", LEAF)]);
static SEAT: Kind = Kind(&[
    ("seat_guid", LEAF),
    ("seat_number", LEAF),
    ("position", Some(&POINT)),
    ("category", LEAF),
    ("radius", LEAF),
    ("start_direction", LEAF),
    ("uuid", LEAF),
]);
static ROW: Kind = Kind(&[
    ("row_number", LEAF),
    ("row_label", LEAF),
    ("seat_label", LEAF),
    ("row_number_position", LEAF),
    ("position", Some(&POINT)),
    ("uuid", LEAF),
    ("seats", Some(&SEAT)),
]);
static TEXT: Kind = Kind(&[("text", LEAF), ("position", Some(&POINT)), ("color", LEAF), ("size", LEAF)]);
static POLYGON: Kind = Kind(&[("points", Some(&POINT))]);
static EXTENT: Kind = Kind(&[("width", LEAF), ("height", LEAF)]);
static ELLIPSE: Kind = Kind(&[("radius", Some(&POINT))]);
static CIRCLE: Kind = Kind(&[("radius", LEAF)]);
static AREA: Kind = Kind(&[
    ("shape", LEAF),
    ("polygon", Some(&POLYGON)),
    ("rectangle", Some(&EXTENT)),
    ("ellipse", Some(&ELLIPSE)),
    ("circle", Some(&CIRCLE)),
    ("text", Some(&TEXT)),
    ("color", LEAF),
    ("border_color", LEAF),
    ("rotation", LEAF),
    ("position", Some(&POINT)),
    ("uuid", LEAF),
    ("width", LEAF),
    ("height", LEAF),
]);
static ZONE: Kind = Kind(&[
    ("name", LEAF),
    ("zone_id", LEAF),
    ("uuid", LEAF),
    ("position", Some(&POINT)),
    ("rows", Some(&ROW)),
    ("areas", Some(&AREA)),
    ("displayed", LEAF),
]);
static ROOT: &Kind =
    &Kind(&[("name", LEAF), ("categories", Some(&CATEGORY)), ("zones", Some(&ZONE)), ("size", Some(&EXTENT))]);

/// Collects the names of properties that `kind` does not have. The depth is that of the table.
fn name_unknown(value: &Value, kind: &Kind, ignored: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| name_unknown(item, kind, ignored)),
        Value::Object(members) => {
            for (name, member) in members {
                match kind.0.iter().find(|(known, _)| known == name) {
                    Some((_, Some(inner))) => name_unknown(member, inner, ignored),
                    Some((_, None)) => {}
                    None if ignored.len() < MAX_NAMED => {
                        ignored.insert(name.chars().take(60).collect());
                    }
                    None => {}
                }
            }
        }
        _ => {}
    }
}
