//! The public pretix seating-plan format as plain types.
//!
//! Reading is tolerant: older files lack `size`, write a `displayed` flag on zones, give areas a
//! bare `width` and `height`, or say `left` and `right` where newer ones say `start` and `end`;
//! some write numbers where the format wants text. Properties that the format does not have are
//! dropped, and [`Parsed::ignored`] says which. Writing is strict: only what the format has, in
//! its newest form. Whether the content makes sense is the business of [`super::check`].

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::unknown;

/// Largest plan file that is read.
pub const MAX_PLAN_BYTES: usize = 64 * 1024 * 1024;

/// A whole seating plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What people call the hall.
    pub name: String,
    /// Price categories, by name.
    pub categories: Vec<Category>,
    /// Parts of the hall, in document order.
    pub zones: Vec<Zone>,
    /// Canvas size; older files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

/// The canvas on which the plan is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Width in plan units.
    #[serde(deserialize_with = "whole")]
    pub width: u32,
    /// Height in plan units.
    #[serde(deserialize_with = "whole")]
    pub height: u32,
}

/// A price category; seats refer to it by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// Its name, unique in the plan.
    pub name: String,
    /// CSS colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
}

/// A point in plan units, relative to what contains it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// To the right.
    #[serde(serialize_with = "shortest")]
    pub x: f64,
    /// Downwards.
    #[serde(serialize_with = "shortest")]
    pub y: f64,
}

impl std::ops::Add for Position {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { x: self.x + other.x, y: self.y + other.y }
    }
}

impl std::ops::Sub for Position {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { x: self.x - other.x, y: self.y - other.y }
    }
}

impl Position {
    /// Distance between two points.
    #[must_use]
    pub fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }
}

/// A part of the hall: a block, a balcony, or only drawings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its identifier; falls back to the name.
    #[serde(default, deserialize_with = "label_or_none", skip_serializing_if = "Option::is_none")]
    pub zone_id: Option<String>,
    /// Editor's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Where it lies on the canvas.
    pub position: Position,
    /// Its rows, in document order.
    #[serde(default)]
    pub rows: Vec<Row>,
    /// Drawings: stage, bar, standing area.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub areas: Vec<Area>,
}

impl Zone {
    /// The name of this zone as a buyer reads it, if it has any.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        [&self.name, &self.zone_id].into_iter().flatten().map(|text| text.trim()).find(|text| !text.is_empty())
    }
}

/// A row of seats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its number or letter.
    #[serde(deserialize_with = "label")]
    pub row_number: String,
    /// How the row is spoken of; may hold `%s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_label: Option<String>,
    /// How its seats are spoken of; may hold `%s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat_label: Option<String>,
    /// At which end the number is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_number_position: Option<RowNumberPosition>,
    /// Where it lies in its zone.
    #[serde(default)]
    pub position: Position,
    /// Editor's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its seats, in document order.
    pub seats: Vec<PlanSeat>,
}

/// At which end of a row its number is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowNumberPosition {
    /// Before the first seat.
    #[serde(alias = "left")]
    Start,
    /// After the last seat.
    #[serde(alias = "right")]
    End,
    /// At both ends.
    Both,
}

/// One seat as the file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanSeat {
    /// Its identifier, unique in the plan.
    #[serde(deserialize_with = "label")]
    pub seat_guid: String,
    /// Its number within the row.
    #[serde(deserialize_with = "label")]
    pub seat_number: String,
    /// Where it lies in its row.
    pub position: Position,
    /// Name of its category.
    pub category: String,
    /// Drawn radius; 10 when absent.
    #[serde(default, serialize_with = "shortest_or_none", skip_serializing_if = "Option::is_none")]
    pub radius: Option<f64>,
    /// From which side the seat is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_direction: Option<StartDirection>,
    /// Editor's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

/// From which side a seat is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartDirection {
    /// From the left.
    #[serde(rename = "<")]
    Left,
    /// From the right.
    #[serde(rename = ">")]
    Right,
    /// From either side.
    #[serde(rename = "<>")]
    Either,
}

/// A drawing: stage, bar, table, standing area, or words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Area {
    /// What is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// Corners of a polygon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polygon: Option<Polygon>,
    /// Extent of a rectangle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rectangle: Option<Rectangle>,
    /// Radii of an ellipse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ellipse: Option<Ellipse>,
    /// Radius of a circle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circle: Option<Circle>,
    /// Words on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    /// Fill colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// Line colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub border_color: Option<String>,
    /// Degrees clockwise about `position`.
    #[serde(default, serialize_with = "shortest_or_none", skip_serializing_if = "Option::is_none")]
    pub rotation: Option<f64>,
    /// Where it lies in its zone.
    #[serde(default)]
    pub position: Position,
    /// Editor's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Width in the older form; becomes a rectangle when read.
    #[serde(default, skip_serializing)]
    pub(super) width: Option<f64>,
    /// Height in the older form.
    #[serde(default, skip_serializing)]
    pub(super) height: Option<f64>,
}

/// What an area draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Closed line through points.
    Polygon,
    /// Rectangle with `position` as its upper left corner.
    Rectangle,
    /// Ellipse about `position`.
    Ellipse,
    /// Circle about `position`.
    Circle,
    /// Words only.
    Text,
}

/// Corners of a polygon, relative to the area's position.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Polygon {
    /// Its corners in order.
    pub points: Vec<Position>,
}

/// Extent of a rectangle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rectangle {
    /// To the right.
    #[serde(serialize_with = "shortest")]
    pub width: f64,
    /// Downwards.
    #[serde(serialize_with = "shortest")]
    pub height: f64,
}

/// Radii of an ellipse.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ellipse {
    /// Horizontal and vertical radius.
    pub radius: Position,
}

/// Radius of a circle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Circle {
    /// Its radius.
    #[serde(serialize_with = "shortest")]
    pub radius: f64,
}

/// Words drawn on an area.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// The words.
    pub text: String,
    /// Their centre, relative to the area.
    #[serde(default)]
    pub position: Position,
    /// CSS colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// Letter size; 16 when absent.
    #[serde(default, serialize_with = "shortest_or_none", skip_serializing_if = "Option::is_none")]
    pub size: Option<f64>,
}

/// A plan as read, and what was left out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The plan in its newest form.
    pub plan: Plan,
    /// Names of properties that the format does not have; at most 50.
    pub ignored: Vec<String>,
}

/// A plan that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file is larger than any plan may be.
    #[error("the plan has {bytes} bytes; at most {MAX_PLAN_BYTES} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The file is not a seating plan.
    #[error("the file is not a seating plan: {0}")]
    Syntax(#[from] serde_json::Error),
}

impl Plan {
    /// Reads a plan file, older variants included.
    ///
    /// # Errors
    /// When it is larger than [`MAX_PLAN_BYTES`], or is not JSON of a plan's shape.
    pub fn parse(bytes: &[u8]) -> Result<Parsed, PlanError> {
        if bytes.len() > MAX_PLAN_BYTES {
            return Err(PlanError::TooLarge { bytes: bytes.len() });
        }
        let mut plan: Plan = serde_json::from_slice(bytes)?;
        let raw: Value = serde_json::from_slice(bytes)?;
        let mut ignored = BTreeSet::new();
        unknown::collect(&raw, &mut ignored);
        plan.zones.iter_mut().flat_map(|zone| &mut zone.areas).for_each(Area::modernise);
        Ok(Parsed { plan, ignored: ignored.into_iter().collect() })
    }

    /// Writes the plan in the public format, on one line; equal plans give equal bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text, finite numbers and lists always serialise")
    }
}

impl Area {
    /// Turns the older bare `width` and `height` into a rectangle.
    fn modernise(&mut self) {
        if let (Some(width), Some(height)) = (self.width.take(), self.height.take())
            && self.rectangle.is_none()
            && matches!(self.shape, None | Some(Shape::Rectangle))
        {
            self.shape = Some(Shape::Rectangle);
            self.rectangle = Some(Rectangle { width, height });
        }
    }
}

/// Text, or a number written where text belongs.
fn label<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Label {
        Text(String),
        Number(serde_json::Number),
    }
    Ok(match Label::deserialize(from)? {
        Label::Text(text) => text,
        Label::Number(number) => number.to_string(),
    })
}

fn label_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    struct Wrapped(#[serde(deserialize_with = "label")] String);
    Ok(Option::<Wrapped>::deserialize(from)?.map(|wrapped| wrapped.0))
}

/// A size: a whole number, or one written with a fraction, rounded up.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let number = f64::deserialize(from)?.ceil();
    if (0.0..=f64::from(u32::MAX)).contains(&number) {
        return Ok(number as u32);
    }
    Err(serde::de::Error::custom(format_args!("{number} is not a size")))
}

/// Writes `30` rather than `30.0`: shorter, and what readers of the older form expect.
fn shortest<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return to.serialize_i64(*number as i64);
    }
    to.serialize_f64(*number)
}

fn shortest_or_none<S: Serializer>(number: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => shortest(number, to),
        None => to.serialize_none(),
    }
}
