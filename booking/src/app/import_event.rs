//! Importing an event from its files: a description in TOML, a seating plan in the public format, and a
//! sidecar with prices, areas and attributes.
//!
//! Importing the same files again changes nothing; other files under the same id are refused. Everything is
//! checked before anything is written, and written in one transaction.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use booking_domain::plan::{Plan, Seating, Sidecar, StandingArea};
use booking_domain::{Currency, EventId, Money, RefundPolicy, RefundTier, Tariff};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use crate::error::Error;
use crate::events::attribute_name;
use crate::storage::import::{self, NewArea, NewEvent, NewSeat, Unit};
use crate::storage::tx::in_tx;

/// The description of an event. Paths are relative to its file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    id: EventId,
    name: String,
    #[serde(default = "other")]
    category: String,
    #[serde(default)]
    performers: Vec<String>,
    sale: Option<String>,
    starts_at: String,
    doors_at: Option<String>,
    ends_at: Option<String>,
    currency: String,
    plan: Option<PathBuf>,
    sidecar: Option<PathBuf>,
    #[serde(default)]
    cancel_until_s: u32,
    #[serde(default)]
    leaves_no_single: bool,
    refund_policy: Option<Vec<Tier>>,
    venue: String,
    venue_id: Option<String>,
    city: String,
    #[serde(default = "utc")]
    time_zone: String,
    #[serde(default)]
    pricing: Tariff,
    #[serde(default)]
    areas: Vec<StandingArea>,
}

/// So much comes back until so many days before the start.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tier {
    days: u32,
    percent: u8,
}

fn policy_of(tiers: &[Tier]) -> anyhow::Result<RefundPolicy> {
    let tier = |tier: &Tier| RefundTier { until_s: i64::from(tier.days) * 86_400, percent: tier.percent };
    RefundPolicy::new(tiers.iter().map(tier).collect()).context("refund_policy")
}

fn other() -> String {
    "other".to_owned()
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What an import did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// The event is new.
    New {
        /// How many seats it has.
        seats: usize,
        /// How many areas.
        areas: usize,
    },
    /// It was imported before, from the same files.
    Unchanged,
}

/// Imports the event that a file describes.
///
/// # Errors
/// When a file cannot be read or is bad, the id was imported from other files, or the database cannot be had.
pub async fn import_event(pool: &PgPool, file: &Path) -> anyhow::Result<(EventId, Imported)> {
    let new = read(file).with_context(|| format!("in {}", file.display()))?;
    let id = new.id.clone();
    let new = Arc::new(new);
    let imported = in_tx(pool, move |conn| {
        let new = Arc::clone(&new);
        Box::pin(async move {
            match import::digest_of(conn, &new.id).await? {
                Some(digest) if digest == new.import_digest => return Ok(Imported::Unchanged),
                Some(_) => return Err(Error::defect(format!("{} was imported from other files", new.id))),
                None => {}
            }
            import::write(conn, &new).await?;
            Ok(Imported::New { seats: new.seats.len(), areas: new.areas.len() })
        })
    });
    Ok((id, imported.await?))
}

/// Reads and checks all files of an event.
fn read(file: &Path) -> anyhow::Result<NewEvent> {
    let text = std::fs::read_to_string(file)?;
    let description: Description = toml::from_str(&text)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let bytes = |path: &Option<PathBuf>| -> anyhow::Result<Option<Vec<u8>>> {
        let Some(path) = path else { return Ok(None) };
        let path = folder.join(path);
        Ok(Some(std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?))
    };
    let (plan, sidecar) = (bytes(&description.plan)?, bytes(&description.sidecar)?);
    let mut digest = Sha256::new();
    for part in [Some(text.as_bytes()), plan.as_deref(), sidecar.as_deref()] {
        digest.update((part.map_or(0, <[u8]>::len) as u64).to_be_bytes());
        digest.update(part.unwrap_or_default());
    }
    let seated = plan.as_deref().map(read_plan).transpose().context("in the plan")?;
    let mut sidecar = match sidecar.as_deref() {
        Some(bytes) => Sidecar::parse(bytes).context("in the sidecar")?,
        None => Sidecar::default(),
    };
    sidecar.areas.extend(description.areas.iter().cloned());
    sidecar.check(seated.as_ref().map(|seated| &seated.seating)).context("in the sidecar or [[areas]]")?;
    assemble(description, seated, &sidecar, hex(&digest.finalize()))
}

struct ReadPlan {
    plan: Plan,
    seating: Seating,
    document: String,
}

fn read_plan(bytes: &[u8]) -> anyhow::Result<ReadPlan> {
    let parsed = Plan::parse(bytes)?;
    if !parsed.ignored.is_empty() {
        tracing::warn!(ignored = ?parsed.ignored, "the plan has properties that the format does not have");
    }
    let plan = parsed.plan.with_size()?;
    let seating = Seating::of(&plan)?;
    // What is served is the plan in the newest form of the format.
    let document = String::from_utf8(plan.to_json()).context("a plan is text")?;
    Ok(ReadPlan { plan, seating, document })
}

fn assemble(
    description: Description,
    seated: Option<ReadPlan>,
    sidecar: &Sidecar,
    import_digest: String,
) -> anyhow::Result<NewEvent> {
    let currency = Currency::from_code(&description.currency)
        .with_context(|| format!("{:?} is no ISO 4217 currency", description.currency))?;
    let unit = |face: &booking_domain::plan::Price| -> anyhow::Result<Unit> {
        ensure!(face.currency == description.currency, "prices are in {}, not {}", description.currency, face.currency);
        let unit = description.pricing.unit(Money::new(face.amount, currency))?;
        let [face, fee, tax, price] = [unit.face, unit.fee, unit.tax, unit.price].map(Money::amount);
        Ok(Unit { face, fee, tax, price })
    };
    let mut areas = Vec::with_capacity(sidecar.areas.len());
    for area in &sidecar.areas {
        areas.push(NewArea {
            area: area.area.clone(),
            name: area.name.clone(),
            category: area.category.clone(),
            capacity: i32::try_from(area.capacity)?,
            price: unit(&area.price)?,
        });
    }
    let (mut categories, mut sections, mut seats) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(seated) = &seated {
        for category in &seated.plan.categories {
            if let Some(face) = sidecar.prices.get(&category.name) {
                categories.push((category.name.clone(), category.color.clone(), unit(face)?));
            }
        }
        seats = seats_of(&seated.seating, sidecar);
        for seat in &seats {
            if !sections.contains(&seat.section) {
                sections.push(seat.section.clone());
            }
        }
    }
    if seats.is_empty() && areas.is_empty() {
        bail!("the event has neither seats nor areas");
    }
    check_texts(&description)?;
    if let Some(sale) = &description.sale {
        sale.parse::<queue_token::SaleId>().context("sale")?;
    }
    let time = |text: &String| text.parse::<Timestamp>().with_context(|| format!("{text:?} is no RFC 3339 time"));
    let policy = description.refund_policy.as_deref().map(policy_of).transpose()?;
    ensure!(
        policy.is_none() || description.cancel_until_s == 0,
        "a refund_policy says itself until when; no cancel_until_s"
    );
    let focal_point = sidecar.focal_point.map(|at| (at.x, at.y));
    Ok(NewEvent {
        starts_at: time(&description.starts_at)?,
        doors_at: description.doors_at.as_ref().map(time).transpose()?,
        ends_at: description.ends_at.as_ref().map(time).transpose()?,
        venue_id: description.venue_id.clone().unwrap_or_else(|| slug(&description.venue, &description.city)),
        id: description.id,
        name: description.name,
        venue: description.venue,
        city: description.city,
        time_zone: description.time_zone,
        category: description.category,
        performers: description.performers,
        sale: description.sale,
        currency: description.currency,
        leaves_no_single: description.leaves_no_single,
        cancel_until_s: policy
            .as_ref()
            .map_or(description.cancel_until_s.into(), |policy| policy.last_s().unwrap_or(i64::MAX)),
        refund_policy: policy,
        fee: description.pricing.fee.into(),
        tax_bp: description.pricing.tax_bp.basis_points().into(),
        plan: seated.map(|seated| (hex(&Sha256::digest(&seated.document)), seated.document)),
        focal_point,
        import_digest,
        categories,
        sections,
        seats,
        areas,
    })
}

fn seats_of(seating: &Seating, sidecar: &Sidecar) -> Vec<NewSeat> {
    let seat = |seat: &booking_domain::plan::Seat| {
        let attributes = sidecar.seats.get(&seat.guid).into_iter().flatten();
        NewSeat {
            seat: seat.guid.clone(),
            section: seat.section.clone(),
            row: seat.row.clone(),
            number: seat.number.clone(),
            category: seating.categories[usize::from(seat.category)].clone(),
            attributes: attributes.map(|attribute| attribute_name(*attribute)).collect::<Vec<_>>().join(" "),
        }
    };
    seating.seats.iter().map(seat).collect()
}

fn check_texts(description: &Description) -> anyhow::Result<()> {
    let named = [
        ("name", &description.name),
        ("category", &description.category),
        ("venue", &description.venue),
        ("city", &description.city),
    ];
    for (what, text) in named.into_iter().chain(description.performers.iter().map(|p| ("performers", p))) {
        let good = !text.trim().is_empty() && text.chars().count() <= 200 && !text.chars().any(char::is_control);
        ensure!(good, "{what} is 1 to 200 printable characters");
    }
    jiff::tz::TimeZone::get(&description.time_zone)
        .with_context(|| format!("{:?} is no IANA time zone", description.time_zone))?;
    Ok(())
}

/// An id for a venue, from its name and city.
fn slug(venue: &str, city: &str) -> String {
    let text = format!("{venue} {city}").to_lowercase();
    let mut id = String::new();
    for part in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()) {
        if !id.is_empty() {
            id.push('-');
        }
        id.push_str(part);
    }
    id.truncate(50);
    if text.is_ascii() && !id.is_empty() {
        return id;
    }
    // Letters were lost: a few digits of a fingerprint keep venues apart.
    let fingerprint = hex(&Sha256::digest(&text)[..4]);
    if id.is_empty() { fingerprint } else { format!("{id}-{fingerprint}") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn venues_get_ids() {
        assert_eq!(slug("Harbour Arena", "Lisbon"), "harbour-arena-lisbon");
        assert_ne!(slug("Größe", "Wien"), slug("Grüße", "Wien"));
        assert!(!slug("東京", "東京").is_empty());
    }
}
