//! Goal: the best seats are the best, and a refusal is never wrong. Method: rules one per line on rows drawn as text;
//! halls sold out party by party; random halls and wishes, each answer and each refusal compared with an exhaustive
//! search that shares no code with the choice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use booking_domain::best::{BestError, Choice, Features, Hall, Rung, Stock, Wish};
use booking_domain::plan::format::Size;
use booking_domain::plan::{GenerateOptions, Position, Seat, Seating, generate};
use proptest::prelude::*;

/// Rows of seats along x, category by letter; the focal point in front of the middle of the first.
fn seating(rows: &[&str]) -> (Seating, Position) {
    let (mut seats, mut runs) = (Vec::new(), Vec::new());
    for (row, categories) in (1u32..).zip(rows) {
        let start = u32::try_from(seats.len()).unwrap();
        for (letter, number) in categories.chars().zip(0u32..) {
            seats.push(Seat {
                seat_no: start + number,
                guid: format!("S-{row}-{number}"),
                section: "S".into(),
                row: row.to_string(),
                number: number.to_string(),
                category: u16::from(letter == 'B'),
                at: Position { x: f64::from(number) * 10.0, y: f64::from(row) * 100.0 },
            });
        }
        runs.push(start..u32::try_from(seats.len()).unwrap());
    }
    let middle = (rows[0].len() as f64 - 1.0) * 5.0;
    let categories = ["A", "B"].map(String::from).to_vec();
    (Seating { seats, categories, runs, size: Size { width: 1000, height: 200 } }, Position { x: middle, y: 0.0 })
}

/// Seats drawn as text: `.` free, `x` taken, `w` a free wheelchair place, `c` a free companion's seat.
fn hall(rows: &[&str], drawn: &str) -> (Hall, Stock) {
    let (seating, focal_point) = seating(rows);
    let of = |seat: u32| drawn.as_bytes()[seat as usize];
    let features = |seat| Features { accessible: of(seat) == b'w', companion: of(seat) == b'c', ..Features::default() };
    let hall = Hall::new(&seating, focal_point, features);
    let stock = Stock::of(&hall, |seat| of(seat) != b'x');
    (hall, stock)
}

fn wish(quantity: u32) -> Wish {
    Wish { quantity, ..Wish::default() }
}

#[test]
fn choices_one_by_one() {
    let category = |quantity, name: &str| Wish { category: Some(name.into()), ..wish(quantity) };
    let together = |quantity| Wish { together: true, ..wish(quantity) };
    let accessible = |quantity, places| Wish { accessible: places, ..wish(quantity) };
    let nine = &["AAAAAAAAA"][..];
    let two_rows = &["AAAAA", "AAAAA"][..];
    type Case<'a> = (&'a [&'a str], &'a str, Wish, Result<(&'a [u32], Rung), BestError>);
    let table: &[Case<'_>] = &[
        // The middle is nearest.
        (nine, ".........", wish(1), Ok((&[4], Rung::Together))),
        (nine, ".........", wish(3), Ok((&[3, 4, 5], Rung::Together))),
        // Two in the middle of five would leave one on a side; so does every other pair but the ends.
        (&["AAAAA"], ".....", wish(2), Ok((&[0, 1], Rung::Together))),
        // One seat of three: an end leaves a pair, the middle two orphans.
        (nine, "xxx...xxx", wish(1), Ok((&[3], Rung::Together))),
        // Rather the pair at the edge than an orphan in the middle.
        (nine, "xxx...x..", wish(2), Ok((&[7, 8], Rung::Together))),
        // Nothing else is possible.
        (nine, "xxx...xxx", wish(2), Ok((&[3, 4], Rung::Orphan))),
        // A named category is kept to, and a party never sits in two.
        (&["AAAABBBBB"], ".........", category(2, "B"), Ok((&[4, 5], Rung::Together))),
        (&["AAABAAAAA"], ".........", wish(4), Ok((&[5, 6, 7, 8], Rung::Together))),
        (
            nine,
            ".........",
            Wish { affordable: Some(vec![1]), ..wish(1) },
            Err(BestError::NotEnough { free: 0, quantity: 1 }),
        ),
        // Two groups of two rather than three and one; the second nearest to the first.
        (two_rows, "..xxxx..x.", wish(4), Ok((&[0, 1, 6, 7], Rung::Split))),
        (two_rows, "...xxx.x..", wish(4), Ok((&[1, 2, 8, 9], Rung::Split))),
        // One by one when nothing else is left.
        (nine, ".x.x.x.x.", wish(3), Ok((&[2, 4, 6], Rung::Apart))),
        (nine, ".x.x.x.x.", together(3), Err(BestError::NotTogether { quantity: 3 })),
        (nine, ".x.x.xxx.", wish(5), Err(BestError::NotEnough { free: 4, quantity: 5 })),
        // The aisle is at the row's ends.
        (nine, ".........", Wish { aisle: true, ..wish(2) }, Ok((&[0, 1], Rung::Together))),
        (nine, "x.......x", Wish { aisle: true, ..wish(2) }, Err(BestError::NotTogether { quantity: 2 })),
        // Wheelchair places and companions' seats are for those who ask.
        (nine, "wc.......", wish(9), Err(BestError::NotEnough { free: 7, quantity: 9 })),
        (nine, "wcccxxxxx", accessible(3, 1), Ok((&[0, 1, 2], Rung::Orphan))),
        (nine, "wcxx...xx", accessible(2, 1), Ok((&[0, 1], Rung::Together))),
        (nine, "wcxxwx...", accessible(3, 2), Ok((&[0, 4, 6], Rung::Apart))),
        (nine, "wcxx...xx", accessible(2, 2), Err(BestError::NotEnough { free: 1, quantity: 2 })),
        (nine, "wcxx...xx", accessible(2, 3), Err(BestError::Quantity(2))),
        (nine, ".........", Wish { step_free: true, ..wish(1) }, Err(BestError::NotEnough { free: 0, quantity: 1 })),
        (nine, ".........", wish(0), Err(BestError::Quantity(0))),
        (nine, ".........", wish(101), Err(BestError::Quantity(101))),
        (nine, ".........", category(1, "C"), Err(BestError::UnknownCategory("C".into()))),
    ];
    for (rows, drawn, wish, expected) in table {
        let (hall, stock) = hall(rows, drawn);
        let choice = hall.choose(wish, &stock);
        let got = choice.as_ref().map(|choice| (&choice.seats[..], choice.rung)).map_err(Clone::clone);
        assert_eq!(got, *expected, "{drawn} {wish:?}");
    }
}

#[test]
fn who_is_left_alone() {
    for (drawn, taken, orphans) in [
        (".........", &[1][..], &[0][..]),
        (".........", &[3, 4], &[]),
        (".........", &[2, 4], &[3]),
        (".........", &[1, 7], &[0, 8]),
        (".........", &[0, 1], &[]),
        ("...x.....", &[1], &[0, 2]),
        // It was alone before.
        (".x.......", &[2, 3], &[]),
        ("..xxxxxxx", &[0, 1], &[]),
    ] {
        let (hall, stock) = hall(&["AAAAAAAAA"], drawn);
        assert_eq!(hall.orphans(taken, |seat| stock.is_free(seat)), orphans, "{taken:?} of {drawn}");
    }
    // The seat before a row is in another row.
    let (hall, stock) = hall(&["AAA", "AAA"], "......");
    assert_eq!(hall.orphans(&[3, 4], |seat| stock.is_free(seat)), [5]);
}

/// Whether a seat suits, by the words of the wish.
fn suits(seating: &Seating, features: &[Features], wish: &Wish, seat: usize) -> bool {
    let (of, category) = (features[seat], seating.seats[seat].category);
    let kept = of.accessible || of.companion;
    wish.category.as_ref().is_none_or(|name| *name == seating.categories[usize::from(category)])
        && wish.affordable.as_ref().is_none_or(|some| some.contains(&category))
        && (wish.accessible > 0 || !kept)
        && (!wish.step_free || of.step_free || kept)
}

/// All blocks that meet a wish: whether each leaves an orphan, and how far it is.
fn blocks(seating: &Seating, focal: Position, features: &[Features], free: &[bool], wish: &Wish) -> Vec<(bool, f64)> {
    let quantity = wish.quantity as usize;
    let mut found = Vec::new();
    for run in &seating.runs {
        let run = run.start as usize..run.end as usize;
        let is_free = |seat: Option<usize>| seat.is_some_and(|seat| run.contains(&seat) && free[seat]);
        for start in run.start..(run.end + 1).saturating_sub(quantity) {
            let block = start..start + quantity;
            let first = seating.seats[start].category;
            let is_aisle = |seat: usize| features[seat].aisle || seat == run.start || seat + 1 == run.end;
            let good = block.clone().all(|seat| {
                free[seat] && suits(seating, features, wish, seat) && seating.seats[seat].category == first
            });
            let places = block.clone().filter(|seat| features[*seat].accessible).count();
            if !good || places != wish.accessible as usize || (wish.aisle && !block.clone().any(is_aisle)) {
                continue;
            }
            let alone = |near: Option<usize>, beyond: Option<usize>| is_free(near) && !is_free(beyond);
            let orphan =
                alone(start.checked_sub(1), start.checked_sub(2)) || alone(Some(block.end), Some(block.end + 1));
            let distance = block.map(|seat| seating.seats[seat].at.distance(focal)).sum::<f64>() / quantity as f64;
            found.push((orphan, distance));
        }
    }
    found
}

/// Whether any seats at all meet a wish, beside each other or not.
fn can_be_met(seating: &Seating, features: &[Features], free: &[bool], wish: &Wish) -> bool {
    let at_end =
        |seat: usize| seating.runs.iter().any(|run| run.start as usize == seat || run.end as usize == seat + 1);
    let good = |accessible: bool| {
        let all = (0..free.len()).filter(move |seat| free[*seat] && features[*seat].accessible == accessible);
        all.filter(|seat| suits(seating, features, wish, *seat)).collect::<Vec<usize>>()
    };
    let (places, others) = (good(true), good(false));
    let (of_places, of_others) = (wish.accessible as usize, (wish.quantity - wish.accessible) as usize);
    let has_aisle = |seats: &[usize]| seats.iter().any(|seat| features[*seat].aisle || at_end(*seat));
    places.len() >= of_places
        && others.len() >= of_others
        && (!wish.aisle || (of_places > 0 && has_aisle(&places)) || (of_others > 0 && has_aisle(&others)))
}

/// Checks one answer against the exhaustive search.
fn judge(
    seating: &Seating,
    focal: Position,
    features: &[Features],
    free: &[bool],
    wish: &Wish,
    choice: &Result<Choice, BestError>,
) {
    let blocks = blocks(seating, focal, features, free, wish);
    let best = blocks.into_iter().min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    match choice {
        Ok(choice) => {
            assert_eq!(choice.seats.len(), wish.quantity as usize);
            assert!(choice.seats.windows(2).all(|pair| pair[0] < pair[1]), "each once, in order");
            let seats = || choice.seats.iter().map(|seat| *seat as usize);
            assert!(seats().all(|seat| free[seat] && suits(seating, features, wish, seat)), "{choice:?}");
            assert_eq!(seats().filter(|seat| features[*seat].accessible).count(), wish.accessible as usize);
            match best {
                Some((orphan, distance)) => {
                    assert_eq!(choice.rung, if orphan { Rung::Orphan } else { Rung::Together });
                    assert!((choice.distance - distance).abs() < 1e-6, "{choice:?}, but {distance} can be had");
                }
                None => {
                    assert!(choice.rung >= Rung::Split && !wish.together, "{choice:?}");
                    let end = |seat: usize| {
                        seating.runs.iter().any(|run| run.start as usize == seat || run.end as usize == seat + 1)
                    };
                    assert!(!wish.aisle || seats().any(|seat| features[seat].aisle || end(seat)), "{choice:?}");
                }
            }
        }
        // No false sold-out.
        Err(why) => {
            assert_eq!(best, None, "{why} for {wish:?}");
            assert!(wish.together || !can_be_met(seating, features, free, wish), "{why} for {wish:?}");
        }
    }
}

#[test]
fn a_hall_sold_out_party_by_party() {
    let options = GenerateOptions { seats: 400, tiers: 2, ..GenerateOptions::default() };
    let (plan, sidecar) = generate(&options).expect("a hall");
    let seating = Seating::of(&plan).expect("good");
    let focal = sidecar.focal_point.expect("generated");
    let kept: Vec<bool> = seating.seats.iter().map(|seat| sidecar.is_kept(&seat.guid)).collect();
    let features: Vec<Features> =
        kept.iter().map(|kept| Features { companion: *kept, ..Features::default() }).collect();
    let hall = Hall::new(&seating, focal, |seat| features[seat as usize]);
    let mut free = vec![true; seating.seats.len()];
    let mut stock = Stock::of(&hall, |_| true);
    let (mut refused, mut rungs) = (0, std::collections::BTreeSet::new());
    for (turn, quantity) in [2, 4, 1, 3, 2, 6, 5].iter().cycle().enumerate() {
        let category = (turn % 3 == 0).then(|| seating.categories[turn % 5].clone());
        let wish = Wish { category, together: turn % 4 == 0, ..wish(*quantity) };
        let choice = hall.choose(&wish, &stock);
        judge(&seating, focal, &features, &free, &wish, &choice);
        match choice {
            Ok(choice) => {
                rungs.insert(choice.rung);
                for seat in choice.seats {
                    assert!(std::mem::replace(&mut free[seat as usize], false), "sold twice");
                    stock.set(&hall, seat, false);
                }
            }
            Err(_) => refused += 1,
        }
        if refused > 60 {
            break;
        }
    }
    assert!(rungs.len() >= 2, "the ladder was climbed: {rungs:?}");
    let left = free.iter().zip(&kept).filter(|(free, kept)| **free && !**kept).count();
    assert_eq!(left, 0, "single seats sell too");
}

fn wishes() -> impl Strategy<Value = Wish> {
    let category = prop::option::weighted(0.2, prop::sample::select(vec!["A".to_owned(), "B".to_owned()]));
    let affordable = prop::option::weighted(0.2, prop::sample::subsequence(vec![0u16, 1], 0..=2));
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    (1u32..7, category, affordable, flags, prop::option::weighted(0.3, 0u32..4)).prop_map(
        |(quantity, category, affordable, (aisle, step_free, together), accessible)| Wish {
            quantity,
            category,
            affordable,
            aisle,
            step_free,
            accessible: accessible.unwrap_or(0).min(quantity),
            together,
        },
    )
}

/// Rows of categories, and of each seat: taken, and what it has.
fn halls() -> impl Strategy<Value = (Vec<String>, Vec<(bool, u8)>)> {
    prop::collection::vec("[AB]{1,9}|A{1,9}", 1..5).prop_flat_map(|rows| {
        let seats = rows.iter().map(String::len).sum::<usize>();
        (Just(rows), prop::collection::vec((prop::bool::weighted(0.5), 0u8..16), seats))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// Every answer is the best there is, and every refusal is right, for any hall, stock and wish; also when the
    /// stock came to be seat by seat.
    #[test]
    fn no_answer_and_no_refusal_is_wrong((rows, seats) in halls(), wish in wishes()) {
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let (seating, focal) = seating(&rows);
        let features: Vec<Features> = seats.iter().map(|(_, bits)| Features {
            accessible: *bits == 1,
            companion: *bits == 2,
            step_free: bits & 4 != 0,
            aisle: *bits == 8,
        }).collect();
        let free: Vec<bool> = seats.iter().map(|(taken, _)| !taken).collect();
        let hall = Hall::new(&seating, focal, |seat| features[seat as usize]);
        let mut stock = Stock::of(&hall, |_| true);
        for (seat, is_free) in (0u32..).zip(&free) {
            stock.set(&hall, seat, *is_free);
        }
        prop_assert_eq!(stock.count(), free.iter().filter(|free| **free).count());
        judge(&seating, focal, &features, &free, &wish, &hall.choose(&wish, &stock));
    }
}
