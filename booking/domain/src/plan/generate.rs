//! Plans of any size, for rehearsals and demonstrations: tiers of rows in a horseshoe, cut into
//! blocks; a stage; price categories by distance; accessible seats; a standing floor.
//!
//! The same options always give the same bytes, whatever the machine or the version of any
//! library: nothing here draws on a random generator but the small one at the end.

use std::collections::BTreeMap;

use super::format::{
    Area, Category, Plan, PlanSeat, Polygon, Position, Rectangle, Row, RowNumberPosition, Shape, Size, Text, Zone,
};
use super::geometry::{Block, BlockRow, Hall};
use super::sidecar::{Attribute, Price, Sidecar, StandingArea};

/// Fewest seats of a generated plan.
pub const MIN_GENERATED_SEATS: u32 = 20;
/// Most seats of a generated plan.
pub const MAX_GENERATED_SEATS: u32 = super::check::MAX_SEATS as u32;
/// Most tiers of a generated plan.
pub const MAX_TIERS: u32 = 8;

/// Share of the sides at which the stage ends and the floor begins.
const STAGE_FRONT: f64 = 0.2;
/// Share of the sides at which the best view is.
const BEST_VIEW: f64 = 0.8;

/// Name, colour, price in minor units and share of the seats in hundredths, nearest first.
const CATEGORIES: [(&str, &str, i64, usize); 5] = [
    ("Premium", "#8e3b8a", 14_500, 8),
    ("Category 1", "#c2453f", 9_900, 20),
    ("Category 2", "#d08a1d", 7_500, 26),
    ("Category 3", "#3c8d5a", 5_500, 26),
    ("Category 4", "#3a6fb0", 3_900, 20),
];
const FLOOR_PRICE: i64 = 8_500;

/// What to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerateOptions {
    /// Name of the hall.
    pub name: String,
    /// How many seats, exactly.
    pub seats: u32,
    /// How many tiers they rise in.
    pub tiers: u32,
    /// Varies which seats have a pillar before them.
    pub seed: u64,
    /// Capacity of the standing floor; none if there is none.
    pub floor: Option<u32>,
    /// ISO 4217 code of the prices.
    pub currency: String,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { name: "Arena".into(), seats: 12_000, tiers: 4, seed: 1, floor: Some(2_000), currency: "EUR".into() }
    }
}

/// A plan that cannot be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// Too few or too many seats.
    #[error("{0} seats: between {MIN_GENERATED_SEATS} and {MAX_GENERATED_SEATS} can be generated")]
    Seats(u32),
    /// No tier, or too many, or more than the seats fill.
    #[error("{tiers} tiers of {seats} seats: between 1 and {MAX_TIERS} tiers, 20 seats each, can be generated")]
    Tiers {
        /// Tiers asked for.
        tiers: u32,
        /// Seats asked for.
        seats: u32,
    },
}

/// Generates a plan and the sidecar that belongs to it.
///
/// # Errors
/// When no hall of that many seats and tiers can be laid out.
pub fn generate(options: &GenerateOptions) -> Result<(Plan, Sidecar), GenerateError> {
    let GenerateOptions { seats, tiers, .. } = *options;
    if !(MIN_GENERATED_SEATS..=MAX_GENERATED_SEATS).contains(&seats) {
        return Err(GenerateError::Seats(seats));
    }
    let impossible = GenerateError::Tiers { tiers, seats };
    if !(1..=MAX_TIERS).contains(&tiers) || tiers.saturating_mul(MIN_GENERATED_SEATS) > seats {
        return Err(impossible);
    }
    let hall = Hall::of(seats as usize, tiers as usize).ok_or(impossible)?;
    let mut dice = Dice(options.seed);
    let focal_point = rounded(hall.on_axis(BEST_VIEW));
    let floor_drawing = dice.uuid();
    let prices = CATEGORIES.map(|(name, _, amount, _)| (name.to_owned(), options.price(amount)));
    let mut sidecar = Sidecar {
        prices: BTreeMap::from(prices),
        areas: options.floor.map(|capacity| options.floor_area(capacity, &floor_drawing)).into_iter().collect(),
        focal_point: Some(focal_point),
        seats: BTreeMap::new(),
    };
    let mut zones = vec![surroundings(&hall, options.floor.is_some(), floor_drawing)];
    let categories = categories_by_distance(&hall, focal_point);
    let mut categories = categories.iter();
    for (index, block) in hall.blocks.iter().enumerate() {
        let (zone, placed) = block_zone(&hall, index, block, &mut categories);
        describe_seats(&hall, block, &placed, &mut dice, &mut sidecar);
        if !zone.rows.is_empty() {
            zones.push(zone);
        }
    }
    let (width, height) = hall.extent();
    let plan = Plan {
        name: options.name.clone(),
        categories: CATEGORIES
            .map(|(name, color, ..)| Category { name: name.into(), color: Some(color.into()) })
            .to_vec(),
        zones,
        size: Some(Size { width: width.ceil() as u32, height: height.ceil() as u32 }),
    };
    Ok((plan, sidecar))
}

impl GenerateOptions {
    fn price(&self, amount: i64) -> Price {
        Price { amount, currency: self.currency.clone() }
    }

    fn floor_area(&self, capacity: u32, drawing: &str) -> StandingArea {
        StandingArea {
            area: "floor".into(),
            name: "Standing floor".into(),
            capacity,
            price: self.price(FLOOR_PRICE),
            category: None,
            drawing: Some(drawing.to_owned()),
        }
    }
}

/// A row of a block with its seats' identifiers and places.
struct PlacedRow {
    index: usize,
    seats: Vec<(String, Position)>,
}

/// The zone of one block. Rows that have been trimmed away do not appear.
fn block_zone<'a>(
    hall: &Hall,
    index: usize,
    block: &Block,
    categories: &mut impl Iterator<Item = &'a usize>,
) -> (Zone, Vec<PlacedRow>) {
    let section = section_name(index);
    let mut rows = Vec::new();
    let mut placed = Vec::new();
    let mut corner = None;
    for (number, row) in block.rows.iter().enumerate() {
        let category = CATEGORIES[*categories.next().expect("one per row of a block")].0;
        let spots: Vec<Position> = hall.seats_of(block, *row).map(rounded).collect();
        let Some(&start) = spots.first() else { continue };
        let corner = *corner.get_or_insert(start);
        let row_number = (number + 1).to_string();
        let guid = |seat: usize| format!("{section}-{row_number}-{}", seat + 1);
        let seats = spots.iter().enumerate().map(|(seat, spot)| PlanSeat {
            seat_guid: guid(seat),
            seat_number: (seat + 1).to_string(),
            position: rounded(*spot - start),
            category: category.to_owned(),
            radius: None,
            start_direction: None,
            uuid: None,
        });
        rows.push(Row {
            row_number: row_number.clone(),
            row_label: None,
            seat_label: None,
            row_number_position: Some(RowNumberPosition::Start),
            position: rounded(start - corner),
            uuid: None,
            seats: seats.collect(),
        });
        let seats = spots.iter().enumerate().map(|(seat, spot)| (guid(seat), *spot)).collect();
        placed.push(PlacedRow { index: number, seats });
    }
    let position = corner.unwrap_or_default();
    let name = Area {
        shape: Some(Shape::Text),
        position: rounded(hall.behind(block) - position),
        text: Some(words(&section, Position::default(), (0.06 * hall.first).clamp(18.0, 40.0))),
        ..Area::default()
    };
    let zone =
        Zone { name: Some(section.clone()), zone_id: Some(section), uuid: None, position, rows, areas: vec![name] };
    (zone, placed)
}

/// Stage and floor: a zone without seats.
fn surroundings(hall: &Hall, has_floor: bool, floor_drawing: String) -> Zone {
    let (back, front) = (hall.on_axis(0.0), hall.on_axis(STAGE_FRONT));
    let (width, height) = (1.3 * hall.first, front.y - back.y);
    let letters = (0.08 * hall.first).max(12.0);
    let stage = Area {
        shape: Some(Shape::Rectangle),
        rectangle: Some(Rectangle { width: tenth(width), height: tenth(height) }),
        position: rounded(Position { x: back.x - 0.5 * width, y: back.y }),
        text: Some(Text {
            color: Some("#ffffff".into()),
            ..words("Stage", rounded(Position { x: 0.5 * width, y: 0.5 * height }), letters)
        }),
        color: Some("#4a4458".into()),
        border_color: Some("#2b2735".into()),
        ..Area::default()
    };
    let mut areas = vec![stage];
    if has_floor {
        let corner = hall.on_axis(STAGE_FRONT + 0.06);
        let points = hall.floor_outline(STAGE_FRONT + 0.06);
        let points = points.into_iter().map(|point| rounded(point - corner)).collect();
        let middle = rounded(hall.on_axis(0.75) - corner);
        areas.push(Area {
            shape: Some(Shape::Polygon),
            polygon: Some(Polygon { points }),
            position: rounded(corner),
            text: Some(words("Standing floor", middle, letters)),
            color: Some("#e9e1cf".into()),
            border_color: Some("#8b8068".into()),
            uuid: Some(floor_drawing),
            ..Area::default()
        });
    }
    Zone {
        name: Some("Stage and floor".into()),
        zone_id: Some("stage".into()),
        uuid: None,
        position: Position::default(),
        rows: Vec::new(),
        areas,
    }
}

fn words(text: &str, position: Position, size: f64) -> Text {
    Text { text: text.into(), position, color: None, size: Some(tenth(size)) }
}

/// The category of every row of every block, in document order: the nearest rows share the first
/// category until its share of the seats is used, and so on.
fn categories_by_distance(hall: &Hall, focal_point: Position) -> Vec<usize> {
    let rows: Vec<(usize, f64)> = hall
        .blocks
        .iter()
        .flat_map(|block| block.rows.iter().map(move |row| distance_of(hall, block, *row, focal_point)))
        .collect();
    let total: usize = rows.iter().map(|row| row.0).sum();
    let mut nearest: Vec<usize> = (0..rows.len()).collect();
    nearest.sort_by(|&a, &b| rows[a].1.total_cmp(&rows[b].1).then(a.cmp(&b)));
    let mut categories = vec![0; rows.len()];
    let (mut category, mut used, mut until) = (0, 0, CATEGORIES[0].3);
    for index in nearest {
        while used * 100 >= until * total && category + 1 < CATEGORIES.len() {
            category += 1;
            until += CATEGORIES[category].3;
        }
        categories[index] = category;
        used += rows[index].0;
    }
    categories
}

/// Seats of a row, and how far its middle lies from the focal point.
fn distance_of(hall: &Hall, block: &Block, row: BlockRow, focal_point: Position) -> (usize, f64) {
    let middle = hall.seats_of(block, row).nth(row.seats / 2);
    (row.seats, middle.map_or(f64::INFINITY, |spot| spot.distance(focal_point)))
}

/// Attributes of a block's seats: both ends of a row are at the aisle; beside the stage and behind
/// a pillar the view is restricted; at the back of the lower tiers, level with the concourse,
/// wheelchairs find their places.
fn describe_seats(hall: &Hall, block: &Block, rows: &[PlacedRow], dice: &mut Dice, sidecar: &mut Sidecar) {
    let stage_front = hall.on_axis(STAGE_FRONT).y;
    let mut mark = |guid: &String, attribute| {
        sidecar.seats.entry(guid.clone()).or_default().insert(attribute);
    };
    for row in rows {
        for (index, (guid, spot)) in row.seats.iter().enumerate() {
            if index == 0 || index + 1 == row.seats.len() {
                mark(guid, Attribute::Aisle);
            }
            let under_the_tier_above = row.index + 3 >= block.rows.len();
            if spot.y < stage_front || (under_the_tier_above && dice.one_in(60)) {
                mark(guid, Attribute::RestrictedView);
            }
        }
    }
    if block.tier > 1 || block.rows.len() < 2 {
        return;
    }
    let Some(last) = rows.last().filter(|row| row.seats.len() >= 8) else { return };
    let pairs = last.seats.len() / 8;
    for pair in last.seats.chunks_exact(2).take(pairs) {
        for ((guid, _), attribute) in pair.iter().zip([Attribute::Accessible, Attribute::Companion]) {
            mark(guid, attribute);
            mark(guid, Attribute::FewSteps);
        }
    }
}

/// A, B, … Z, AA, AB …, without I and O, which are taken for digits.
fn section_name(index: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
    let mut name = Vec::new();
    let mut rest = index + 1;
    while rest > 0 {
        name.push(char::from(LETTERS[(rest - 1) % LETTERS.len()]));
        rest = (rest - 1) / LETTERS.len();
    }
    name.iter().rev().collect()
}

fn tenth(number: f64) -> f64 {
    // The sum turns a negative zero into a plain one.
    (number * 10.0).round() / 10.0 + 0.0
}

fn rounded(Position { x, y }: Position) -> Position {
    Position { x: tenth(x), y: tenth(y) }
}

/// The splitmix64 sequence: small, and the same for ever.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }

    fn uuid(&mut self) -> String {
        uuid::Builder::from_random_bytes((u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes())
            .into_uuid()
            .to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{GenerateError, GenerateOptions, generate, section_name};
    use crate::plan::format::Plan;
    use crate::plan::seating::Seating;
    use crate::plan::sidecar::Attribute;

    fn options(seats: u32, tiers: u32) -> GenerateOptions {
        GenerateOptions { seats, tiers, ..GenerateOptions::default() }
    }

    /// Goal: halls of every size pass our own checks, have exactly the seats asked for, and can be
    /// drawn: no two seats touch.
    #[test]
    fn halls_of_every_size_are_sound() {
        for (seats, tiers) in [(20, 1), (61, 3), (500, 1), (2_345, 2), (12_000, 4), (60_000, 6), (200_000, 8)] {
            let (plan, sidecar) = generate(&options(seats, tiers)).expect("a hall");
            let seating = Seating::of(&plan).unwrap_or_else(|faults| panic!("{seats}: {faults}"));
            assert_eq!(seating.seats.len(), seats as usize);
            sidecar.check(Some(&seating)).unwrap_or_else(|faults| panic!("{seats}: {faults}"));
            let nearest = nearest_distance(&seating);
            assert!(nearest >= 21.0, "{seats} seats: two stand {nearest} apart");
        }
    }

    /// The least distance between two seats, by a grid of cells as wide as what matters.
    fn nearest_distance(seating: &Seating) -> f64 {
        const CELL: f64 = 30.0;
        let cell = |x: f64| (x / CELL) as i64;
        let mut grid: HashMap<(i64, i64), Vec<usize>> = HashMap::new();
        let mut least = CELL;
        for (index, seat) in seating.seats.iter().enumerate() {
            let (column, row) = (cell(seat.at.x), cell(seat.at.y));
            for near in (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (column + dx, row + dy))) {
                for other in grid.get(&near).into_iter().flatten() {
                    least = least.min(seating.seats[*other].at.distance(seat.at));
                }
            }
            grid.entry((column, row)).or_default().push(index);
        }
        least
    }

    #[test]
    fn the_arena_is_as_a_visitor_expects_it() {
        let (plan, sidecar) = generate(&options(12_000, 4)).expect("a hall");
        let seating = Seating::of(&plan).expect("good");
        assert!(seating.seats.iter().any(|seat| seat.guid == "A-12-7" && seat.section == "A"));
        let mut per_category = vec![0; seating.categories.len()];
        let mut per_section: HashMap<&str, usize> = HashMap::new();
        for seat in &seating.seats {
            per_category[usize::from(seat.category)] += 1;
            *per_section.entry(&seat.section).or_default() += 1;
        }
        assert!(per_category.len() >= 4 && per_category.iter().all(|count| *count > 500), "{per_category:?}");
        assert!((20..=90).contains(&per_section.len()), "{} sections", per_section.len());
        assert!(per_section.values().all(|count| (20..=900).contains(count)), "{per_section:?}");
        let with = |attribute| sidecar.seats.values().filter(|of| of.contains(&attribute)).count();
        assert!((20..=240).contains(&with(Attribute::Accessible)), "{}", with(Attribute::Accessible));
        assert_eq!(with(Attribute::Accessible), with(Attribute::Companion));
        assert_eq!((sidecar.areas[0].area.as_str(), sidecar.areas[0].capacity), ("floor", 2_000));
        let drawn = plan.zones.iter().flat_map(|zone| &zone.areas);
        assert_eq!(drawn.filter(|area| area.uuid == sidecar.areas[0].drawing).count(), 1);
        // Rows are consecutive neighbours: one run per row of a block.
        let rows: usize = plan.zones.iter().map(|zone| zone.rows.len()).sum();
        assert_eq!(seating.runs.len(), rows);
    }

    #[test]
    fn equal_options_give_equal_bytes_that_read_back_equal() {
        let (plan, sidecar) = generate(&options(1_500, 2)).expect("a hall");
        let again = generate(&options(1_500, 2)).expect("a hall");
        assert_eq!((plan.to_json(), sidecar.to_json()), (again.0.to_json(), again.1.to_json()));
        let read = Plan::parse(&plan.to_json()).expect("our own");
        assert_eq!((read.plan, read.ignored), (plan, Vec::new()));
        let other = generate(&GenerateOptions { seed: 2, ..options(1_500, 2) }).expect("a hall");
        assert_ne!(sidecar, other.1, "the seed varies the pillars");
    }

    #[test]
    fn impossible_halls_are_refused() {
        assert_eq!(generate(&options(0, 1)).err(), Some(GenerateError::Seats(0)));
        assert_eq!(generate(&options(u32::MAX, 1)).err(), Some(GenerateError::Seats(u32::MAX)));
        for tiers in [0, 9, u32::MAX] {
            assert_eq!(generate(&options(100, tiers)).err(), Some(GenerateError::Tiers { tiers, seats: 100 }));
        }
    }

    #[test]
    fn sections_are_named_without_letters_that_look_like_digits() {
        let names: Vec<String> = [0, 7, 8, 23, 24, 47, 48].map(section_name).to_vec();
        assert_eq!(names, ["A", "H", "J", "Z", "AA", "AZ", "BA"]);
    }
}
