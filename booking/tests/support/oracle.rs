//! Whether a refusal of places was right: the event's history is replayed up to the version that the refusal names, holds
//! lapse by the time that it names, and what was refused is looked for by trying everything.
//!
//! Owns the picture and the search; shares no code with the nodes, and is part of `tests/e2e` too. It knows places that are
//! free or held: not payments, nor what organisers change.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::Value;

/// A gap in a row wider than so many usual ones is an aisle.
const AISLE: f64 = 1.75;
/// When all that is held has lapsed.
const MUCH_LATER: &str = "2100-01-01T00:00:00Z";

/// A request for a hold and its answer, with the clock before and after.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) body: Value,
    pub(crate) sent: Timestamp,
    pub(crate) answered: Timestamp,
    pub(crate) status: u16,
    pub(crate) answer: Value,
}

impl Exchange {
    fn is_refusal(&self) -> bool {
        ["seats-taken", "not-enough", "leaves-single"].contains(&kind(&self.answer))
    }
}

fn kind(problem: &Value) -> &str {
    problem["type"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default()
}

#[derive(Debug)]
struct Seat {
    category: String,
    /// Neighbours have the same.
    run: usize,
    /// For those who ask for wheelchair places.
    kept: bool,
}

/// What the event was at every version.
#[derive(Debug)]
pub(crate) struct Oracle {
    seats: Vec<Seat>,
    numbers: HashMap<String, usize>,
    areas: BTreeMap<String, i64>,
    history: Vec<Value>,
    /// When somebody was told of a version that there was.
    told: Vec<(Timestamp, i64)>,
}

/// What could be had.
struct Picture {
    free: Vec<bool>,
    areas: BTreeMap<String, i64>,
}

/// The one text that the database tells of an event: its history, its capacities, and the seats kept for who asks.
pub(crate) fn query(event: &str) -> String {
    format!(
        "select jsonb_build_object(
             'history', (select coalesce(jsonb_agg(jsonb_build_object('version', version, 'op', op, 'state', state,
                 'seats', seats, 'areas', areas, 'hold', hold_id,
                 'until_us', (extract(epoch from expires_at) * 1000000)::bigint) order by version), '[]')
                 from seat_event where event_id = '{event}'),
             'areas', (select coalesce(jsonb_object_agg(area, capacity), '{{}}') from area where event_id = '{event}'),
             'kept', (select coalesce(jsonb_agg(seat), '[]') from seat
                      where event_id = '{event}' and attributes && '{{accessible,companion}}'))::text"
    )
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn names(value: &Value) -> Vec<&str> {
    list(value).filter_map(Value::as_str).collect()
}

/// Where rows are cut: behind which of its seats.
fn aisles(row: &[Value]) -> Vec<usize> {
    let at = |seat: &Value, axis: &str| seat["position"][axis].as_f64().unwrap_or_default();
    let gap = |pair: &[Value]| (at(&pair[1], "x") - at(&pair[0], "x")).hypot(at(&pair[1], "y") - at(&pair[0], "y"));
    let gaps: Vec<f64> = row.windows(2).map(gap).collect();
    let mut sorted = gaps.clone();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::INFINITY);
    (0..gaps.len()).filter(|index| gaps[*index] > usual * AISLE).collect()
}

impl Oracle {
    /// From the plan as the catalogue has it, and what the database told to [`query`] after all was over.
    pub(crate) fn of(plan: &Value, told: &str) -> Self {
        let told: Value = serde_json::from_str(told).unwrap();
        let kept = names(&told["kept"]);
        let (mut seats, mut numbers, mut run) = (Vec::new(), HashMap::new(), 0);
        for row in list(&plan["zones"]).flat_map(|zone| list(&zone["rows"])) {
            let row = row["seats"].as_array().unwrap();
            let aisles = aisles(row);
            for (index, seat) in row.iter().enumerate() {
                let name = seat["seat_guid"].as_str().unwrap();
                numbers.insert(name.to_owned(), seats.len());
                let category = seat["category"].as_str().unwrap().to_owned();
                seats.push(Seat { category, run, kept: kept.contains(&name) });
                run += usize::from(aisles.contains(&index));
            }
            run += 1;
        }
        let areas = told["areas"].as_object().unwrap().iter();
        let areas = areas.map(|(area, capacity)| (area.clone(), capacity.as_i64().unwrap())).collect();
        Self { seats, numbers, areas, history: list(&told["history"]).cloned().collect(), told: Vec::new() }
    }

    /// Somebody was told that a hold was made or released: whoever asks later must not be refused by less. False when the
    /// history has no such change.
    #[must_use]
    pub(crate) fn tell(&mut self, at: Timestamp, op: &str, hold: &Value) -> bool {
        let of_it = self.history.iter().find(|line| line["op"] == op && line["hold"] == *hold);
        let version = of_it.and_then(|line| line["version"].as_i64());
        self.told.extend(version.map(|version| (at, version)));
        version.is_some()
    }

    /// Judges all refusals of places among the exchanges; how many of each kind there were. Each must be right at its
    /// moment, and would be wrong before anything was held, and when all has lapsed: or this would find nothing.
    pub(crate) fn judge_all(&mut self, exchanges: &[Exchange]) -> BTreeMap<String, usize> {
        for made in exchanges.iter().filter(|exchange| exchange.status == 201) {
            assert!(self.tell(made.answered, "hold", &made.answer["hold"]), "nobody made {}", made.answer);
        }
        let (mut kinds, mut wrong) = (BTreeMap::new(), Vec::new());
        for exchange in exchanges.iter().filter(|exchange| exchange.is_refusal()) {
            *kinds.entry(kind(&exchange.answer).to_owned()).or_default() += 1;
            if let Err(why) = self.judge(exchange) {
                wrong.push(format!("{why}: {} for {}", exchange.answer, exchange.body));
            }
            // Who is left alone may be so in an empty hall too.
            if kind(&exchange.answer) == "leaves-single" {
                continue;
            }
            let at = exchange.answer["at"].clone();
            for (version, at) in [(Value::from(0), at), (exchange.answer["version"].clone(), MUCH_LATER.into())] {
                let mut answer = exchange.answer.clone();
                (answer["version"], answer["at"]) = (version, at);
                assert!(self.is_true(&exchange.body, &answer).is_err(), "nobody has anything there: {answer}");
            }
        }
        assert!(wrong.is_empty(), "{} false refusals, the first: {}", wrong.len(), wrong[0]);
        kinds
    }

    /// Whether a refusal was right at a moment between request and answer.
    pub(crate) fn judge(&self, exchange: &Exchange) -> Result<(), String> {
        let (version, at) = moment(&exchange.answer)?;
        // The database's clock, which is this machine's, counts microseconds.
        if at.as_microsecond() < exchange.sent.as_microsecond() || at > exchange.answered {
            return Err(format!("decided at {at}, not between {} and {}", exchange.sent, exchange.answered));
        }
        let known = self.told.iter().filter(|(told, _)| *told < exchange.sent).map(|(_, version)| *version).max();
        if let Some(known) = known.filter(|known| *known > version) {
            return Err(format!("decided by version {version} when others had been told of {known}"));
        }
        self.is_true(&exchange.body, &exchange.answer)
    }

    /// Whether what a problem says of a wish is true at the moment that it names.
    fn is_true(&self, wish: &Value, problem: &Value) -> Result<(), String> {
        let (version, at) = moment(problem)?;
        let picture = self.picture(version, at.as_microsecond())?;
        match kind(problem) {
            "seats-taken" => self.are_taken(&picture, &names(&wish["seats"]), &names(&problem["taken"])),
            "leaves-single" => self.are_left_alone(&picture, &names(&wish["seats"]), &names(&problem["orphans"])),
            "not-enough" if wish["best"].is_object() => {
                self.has_none_of(&picture, &wish["best"], &problem["available"])
            }
            "not-enough" => is_short(&picture, wish, problem),
            other => Err(format!("a refusal of another kind: {other}")),
        }
    }

    /// What there was at a version, with what had lapsed by then.
    fn picture(&self, version: i64, at_us: i64) -> Result<Picture, String> {
        if version < 0 || version > i64::try_from(self.history.len()).unwrap() {
            return Err(format!("there is no version {version}"));
        }
        let lives = |line: &Value| line["until_us"].as_i64().is_some_and(|until_us| until_us > at_us);
        let mut free = vec![true; self.seats.len()];
        let mut taken: HashMap<(&Value, &str), i64> = HashMap::new();
        for line in self.history.iter().take_while(|line| line["version"].as_i64() <= Some(version)) {
            let held = match (line["op"].as_str(), line["state"].as_i64()) {
                (Some("hold"), Some(1)) => true,
                (Some("release" | "expire"), Some(0)) => false,
                _ => return Err(format!("a change of another kind: {line}")),
            };
            for seat in list(&line["seats"]).filter_map(Value::as_u64) {
                free[usize::try_from(seat).unwrap()] = !(held && lives(line));
            }
            for area in list(&line["areas"]) {
                let quantity = area["quantity"].as_i64().filter(|_| held && lives(line));
                taken.insert((&line["hold"], area["area"].as_str().unwrap()), quantity.unwrap_or(0));
            }
        }
        let mut areas = self.areas.clone();
        for ((_, area), quantity) in taken {
            *areas.get_mut(area).unwrap() -= quantity;
        }
        Ok(Picture { free, areas })
    }

    fn are_taken(&self, picture: &Picture, wish: &[&str], taken: &[&str]) -> Result<(), String> {
        if taken.is_empty() || taken.iter().any(|seat| !wish.contains(seat)) {
            return Err("other seats are named than asked for".to_owned());
        }
        match taken.iter().find(|seat| picture.free[self.numbers[**seat]]) {
            Some(seat) => Err(format!("{seat} was free")),
            None => Ok(()),
        }
    }

    fn are_left_alone(&self, picture: &Picture, wish: &[&str], orphans: &[&str]) -> Result<(), String> {
        let picked: Vec<usize> = wish.iter().map(|seat| self.numbers[*seat]).collect();
        let left = |seat: usize| picture.free[seat] && !picked.contains(&seat);
        let beside = |seat: usize| {
            let run = self.seats[seat].run;
            [seat.checked_sub(1), Some(seat + 1)]
                .into_iter()
                .flatten()
                .filter(move |other| self.seats.get(*other).is_some_and(|other| other.run == run))
        };
        for name in orphans {
            let seat = self.numbers[*name];
            if !left(seat) || beside(seat).any(left) || !beside(seat).any(|other| picked.contains(&other)) {
                return Err(format!("{name} is not left alone"));
            }
        }
        if orphans.is_empty() { Err("no seat is named".to_owned()) } else { Ok(()) }
    }

    /// No such seats are left, on any rung of the ladder: the last takes any, the first ones only neighbours.
    fn has_none_of(&self, picture: &Picture, wish: &Value, told: &Value) -> Result<(), String> {
        let known = ["quantity", "category", "together"];
        if let Some(other) = wish.as_object().unwrap().keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("a wish of another kind: {other}"));
        }
        let wanted = usize::try_from(wish["quantity"].as_u64().unwrap()).unwrap();
        let suits = |seat: &usize| {
            let (seat, free) = (&self.seats[*seat], picture.free[*seat]);
            free && !seat.kept && (wish["category"].is_null() || wish["category"] == *seat.category)
        };
        let suiting: Vec<usize> = (0..self.seats.len()).filter(suits).collect();
        if told.as_u64().is_some_and(|told| told != suiting.len() as u64) {
            return Err(format!("{} would suit, not {told}", suiting.len()));
        }
        if suiting.len() < wanted {
            return Ok(());
        }
        let of = |seat: usize| (self.seats[seat].run, self.seats[seat].category.as_str());
        let are_neighbours =
            |group: &&[usize]| group.windows(2).all(|pair| pair[1] == pair[0] + 1 && of(pair[0]) == of(pair[1]));
        match suiting.windows(wanted).find(are_neighbours) {
            _ if wish["together"] != true => Err(format!("{} were free: {suiting:?}", suiting.len())),
            Some(group) => Err(format!("neighbours were free: {group:?}")),
            None => Ok(()),
        }
    }
}

/// The moment that a refusal names.
fn moment(problem: &Value) -> Result<(i64, Timestamp), String> {
    let at = problem["at"].as_str().and_then(|at| at.parse().ok());
    problem["version"].as_i64().zip(at).ok_or_else(|| "it names no moment".to_owned())
}

/// An area had fewer places than were wanted of it, and no more than was told.
fn is_short(picture: &Picture, wish: &Value, problem: &Value) -> Result<(), String> {
    let asked = list(&wish["areas"]).find(|asked| asked["area"] == problem["area"]);
    let wanted = asked.and_then(|asked| asked["quantity"].as_i64()).ok_or("another area than asked for")?;
    let left = picture.areas[problem["area"].as_str().unwrap_or_default()];
    match problem["available"].as_i64() {
        Some(told) if problem["wanted"] == wanted && left <= told && told < wanted => Ok(()),
        told => Err(format!("{left} were left, {wanted} wanted, {told:?} told")),
    }
}
