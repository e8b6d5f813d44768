//! The shape of a generated hall: a horseshoe about the standing floor, open towards the stage.
//!
//! Every row is the same curve (two straight sides joined by a half circle) at a greater distance
//! from the axis, so rows run parallel and can never cross. Rows are cut into blocks by aisles;
//! rows of one tier lie close together, tiers stand apart.

use std::f64::consts::PI;

use super::format::Position;

/// Distance between seats of a row.
pub(super) const SEAT_PITCH: f64 = 24.0;
/// Distance between rows.
pub(super) const ROW_PITCH: f64 = 28.0;
/// Drawn radius of a seat.
pub(super) const SEAT_RADIUS: f64 = 10.0;
/// Width of an aisle between blocks.
const AISLE: f64 = 44.0;
/// Distance between tiers, beyond that of rows.
const TIER_GAP: f64 = 96.0;
/// Usual length of a block's front: some twenty seats and an aisle.
const BLOCK_FRONT: f64 = 20.0 * SEAT_PITCH + AISLE;
/// Free border of the canvas.
const MARGIN: f64 = 110.0;
/// Most rows of a hall; far beyond any hall of `MAX_SEATS`.
const MAX_ROWS_OF_HALL: usize = 3_000;

/// Which part of the horseshoe a block lies on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    LeftSide,
    Curve,
    RightSide,
}

/// A block: one stretch of one tier.
#[derive(Clone, Debug)]
pub(super) struct Block {
    part: Part,
    from: f64,
    to: f64,
    /// Index of its tier, from 0 in front.
    pub(super) tier: usize,
    /// Its rows from front to back.
    pub(super) rows: Vec<BlockRow>,
}

/// One row of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockRow {
    /// Distance from the axis.
    radius: f64,
    /// Seats in it; a trimmed row may have none.
    pub(super) seats: usize,
}

/// A hall laid out for an exact number of seats.
#[derive(Clone, Debug)]
pub(super) struct Hall {
    axis: f64,
    top: f64,
    side: f64,
    /// Distance from the axis to the first row.
    pub(super) first: f64,
    /// Distance from the axis to the last row.
    last: f64,
    /// Its blocks, tier by tier, from the stage's left round to its right.
    pub(super) blocks: Vec<Block>,
}

impl Hall {
    /// Lays out a hall of exactly `seats` seats in `tiers` tiers, or nothing if that cannot be.
    pub(super) fn of(seats: usize, tiers: usize) -> Option<Self> {
        let scale = f64::from(u32::try_from(seats).ok()?).sqrt();
        let (first, side) = ((4.5 * scale).max(120.0), (8.0 * scale).max(100.0));
        let mut rows = vec![1; tiers];
        let mut blocks = tier_blocks(first, side, &rows);
        while count(&blocks) < seats {
            let total: usize = rows.iter().sum();
            if total >= MAX_ROWS_OF_HALL {
                return None;
            }
            rows[total % tiers] += 1;
            blocks = tier_blocks(first, side, &rows);
        }
        let surplus = count(&blocks) - seats;
        trim(&mut blocks, tiers, surplus);
        let last = blocks.iter().flat_map(|block| &block.rows).map(|row| row.radius).fold(first, f64::max);
        Some(Self { axis: last + MARGIN, top: MARGIN, side, first, last, blocks })
    }

    /// Width and height of the canvas.
    pub(super) fn extent(&self) -> (f64, f64) {
        (2.0 * self.axis, self.top + self.side + self.last + MARGIN)
    }

    /// A point on the axis, `share` of the way along the straight sides.
    pub(super) fn on_axis(&self, share: f64) -> Position {
        Position { x: self.axis, y: self.top + share * self.side }
    }

    /// Where the seats of a block's row stand, in order.
    pub(super) fn seats_of(&self, block: &Block, row: BlockRow) -> impl Iterator<Item = Position> {
        let length = block.length(self.side, row.radius);
        let middle = f64::midpoint(block.from, block.to);
        let first = -0.5 * as_f64(row.seats.saturating_sub(1)) * SEAT_PITCH;
        let share = (block.to - block.from) / length;
        let part = block.part;
        (0..row.seats).map(move |index| {
            let along = first + as_f64(index) * SEAT_PITCH;
            self.at(part, middle + along * share, row.radius)
        })
    }

    /// A place behind the middle of a block's last row, for its name.
    pub(super) fn behind(&self, block: &Block) -> Position {
        let radius = block.rows.iter().map(|row| row.radius).fold(0.0, f64::max) + 0.5 * TIER_GAP;
        self.at(block.part, f64::midpoint(block.from, block.to), radius)
    }

    /// The outline of the floor inside the first row, drawn clockwise from `share` of the sides.
    pub(super) fn floor_outline(&self, share: f64) -> Vec<Position> {
        let radius = self.first - 60.0_f64.min(0.3 * self.first);
        let corner = self.top + share * self.side;
        let mut points = vec![Position { x: self.axis + radius, y: corner }];
        points.extend((0..=16).map(|step| self.at(Part::Curve, 1.0 - f64::from(step) / 16.0, radius)));
        points.push(Position { x: self.axis - radius, y: corner });
        points
    }

    /// The point `t` of the way along a part, at a distance from the axis.
    fn at(&self, part: Part, t: f64, radius: f64) -> Position {
        let bottom = self.top + self.side;
        match part {
            Part::LeftSide => Position { x: self.axis - radius, y: self.top + t * self.side },
            Part::RightSide => Position { x: self.axis + radius, y: bottom - t * self.side },
            Part::Curve => {
                let angle = PI * (1.0 - t);
                Position { x: self.axis + radius * angle.cos(), y: bottom + radius * angle.sin() }
            }
        }
    }
}

impl Block {
    fn length(&self, side: f64, radius: f64) -> f64 {
        length_of(self.part, side, radius) * (self.to - self.from)
    }
}

/// Cuts every tier into blocks of roughly the usual length and fills them.
fn tier_blocks(first: f64, side: f64, rows: &[usize]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut radius = first;
    for (tier, &rows) in rows.iter().enumerate() {
        let middle = radius + 0.5 * as_f64(rows) * ROW_PITCH;
        for part in [Part::LeftSide, Part::Curve, Part::RightSide] {
            let pieces = (length_of(part, side, middle) / BLOCK_FRONT).round().max(1.0);
            let mut index = 0.0;
            while index < pieces {
                let mut block =
                    Block { part, from: index / pieces, to: (index + 1.0) / pieces, tier, rows: Vec::new() };
                for row in 0..rows {
                    let radius = radius + as_f64(row) * ROW_PITCH;
                    let usable = block.length(side, radius) - AISLE - 2.0 * SEAT_RADIUS;
                    let seats = if usable < 0.0 { 0 } else { (usable / SEAT_PITCH).floor() as usize + 1 };
                    block.rows.push(BlockRow { radius, seats });
                }
                blocks.push(block);
                index += 1.0;
            }
        }
        radius += as_f64(rows) * ROW_PITCH + TIER_GAP;
    }
    blocks
}

/// Takes seats away from the last rows of the last tier, from the stage's sides inwards.
fn trim(blocks: &mut [Block], tiers: usize, mut surplus: usize) {
    for tier in (0..tiers).rev() {
        let mut of_tier: Vec<&mut Block> = blocks.iter_mut().filter(|block| block.tier == tier).collect();
        let rows = of_tier.first().map_or(0, |block| block.rows.len());
        let from_both_ends = |step: usize, count: usize| {
            if step.is_multiple_of(2) { step / 2 } else { count - 1 - step / 2 }
        };
        for row in (0..rows).rev() {
            for step in 0..of_tier.len() {
                let index = from_both_ends(step, of_tier.len());
                let seats = &mut of_tier[index].rows[row].seats;
                let taken = surplus.min(*seats);
                *seats -= taken;
                surplus -= taken;
                if surplus == 0 {
                    return;
                }
            }
        }
    }
}

fn count(blocks: &[Block]) -> usize {
    blocks.iter().flat_map(|block| &block.rows).map(|row| row.seats).sum()
}

fn length_of(part: Part, side: f64, radius: f64) -> f64 {
    if part == Part::Curve { PI * radius } else { side }
}

/// Counts of a hall are far below the precision of a double.
fn as_f64(count: usize) -> f64 {
    count as f64
}
