//! What the event page says first, when something happened on the way to it.
//!
//! A form that cannot be fulfilled leads back to the event page with the reason in the address, so that
//! the page can be reloaded and never sends the form again. The address only names numbers and ids; the
//! words are made here, from the event's own facts, so no address can put words into the shop's mouth.

use serde::Deserialize;

use super::pages::{Notice, Offer};
use super::words;
use crate::events::EventFacts;

/// Most seats that are named one by one.
const MAX_NAMED: usize = 10;

/// Why somebody is back on the event page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// Some of the seats were taken by somebody else; nothing was held.
    Taken {
        /// Which, by number.
        seats: Vec<i32>,
        /// How many were asked for.
        wanted: u32,
    },
    /// No so many seats beside each other.
    NotTogether {
        /// How many were asked for.
        wanted: u32,
        /// In which category, by its place in the plan.
        category: Option<usize>,
    },
    /// An area has not enough places.
    AreaFull {
        /// Which.
        area: String,
        /// How many were asked for.
        wanted: u32,
    },
    /// More places than one buyer may have.
    Limit,
    /// Nothing was chosen.
    Nothing,
    /// A seat or area that the event does not have.
    Unknown,
    /// Places were given back.
    Released,
}

/// The reason as it stands in an address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ReasonQuery {
    notice: Option<String>,
    seats: Option<String>,
    n: Option<u32>,
    category: Option<usize>,
    area: Option<String>,
}

impl Reason {
    /// The query that names the reason.
    pub(super) fn to_query(&self) -> String {
        match self {
            Self::Taken { seats, wanted } => {
                let seats: Vec<String> = seats.iter().take(MAX_NAMED).map(i32::to_string).collect();
                format!("notice=taken&n={wanted}&seats={}", seats.join("."))
            }
            Self::NotTogether { wanted, category: None } => format!("notice=together&n={wanted}"),
            Self::NotTogether { wanted, category: Some(category) } => {
                format!("notice=together&n={wanted}&category={category}")
            }
            // An area's id is a slug.
            Self::AreaFull { area, wanted } => format!("notice=full&n={wanted}&area={area}"),
            Self::Limit => "notice=limit".into(),
            Self::Nothing => "notice=nothing".into(),
            Self::Unknown => "notice=unknown".into(),
            Self::Released => "notice=released".into(),
        }
    }

    /// The reason that a query names; none when it names none that makes sense.
    pub(super) fn from_query(query: &ReasonQuery) -> Option<Self> {
        let wanted = query.n.unwrap_or(0).clamp(1, 1000);
        Some(match query.notice.as_deref()? {
            "taken" => {
                let seats = query.seats.as_deref().unwrap_or_default().split('.').take(MAX_NAMED);
                Self::Taken { seats: seats.filter_map(|seat| seat.parse().ok()).collect(), wanted }
            }
            "together" => Self::NotTogether { wanted, category: query.category },
            "full" => Self::AreaFull { area: query.area.clone()?, wanted },
            "limit" => Self::Limit,
            "nothing" => Self::Nothing,
            "unknown" => Self::Unknown,
            "released" => Self::Released,
            _ => return None,
        })
    }

    /// What the page says; `limit` is how many places one buyer may have, `offers` whether the best seats
    /// of a category can be offered now.
    pub(super) fn notice(&self, facts: &EventFacts, limit: u32, offers: impl Fn(&str) -> bool) -> Notice {
        let plain = |title: &str, text: String| Notice { tone: "bad", title: title.into(), text, offer: None };
        match self {
            Self::Taken { seats, wanted } => Notice {
                offer: best_instead(facts, seats, (*wanted).min(limit), offers),
                ..plain("Those seats were just taken", taken_words(facts, seats))
            },
            Self::NotTogether { wanted, category } => {
                let place = category.and_then(|index| facts.categories.get(index));
                let place = place.map_or_else(String::new, |category| format!(" in {}", category.category));
                plain(
                    "Not so many seats together",
                    format!(
                        "There are no {wanted} free seats beside each other{place} at the moment. Try fewer, \
                         another category, or choose seats in the list. Nothing was held."
                    ),
                )
            }
            Self::AreaFull { area, wanted } => {
                let area = facts.areas.iter().find(|row| row.area == *area);
                let area = area.map_or("This area", |row| row.name.as_str());
                plain("Not enough places left", format!("{area} has no {wanted} places left now. Nothing was held."))
            }
            Self::Limit => plain(
                "That is more than one buyer may have",
                format!(
                    "One buyer may have {limit} places of this event; those you hold or have bought already count. \
                     Nothing was held."
                ),
            ),
            Self::Nothing => plain("No seats chosen", "Tick the seats you would like, then hold them.".into()),
            Self::Unknown => plain("No such place", "This event has no such seat. Nothing was held.".into()),
            Self::Released => Notice {
                tone: "good",
                ..plain("Given back", "Your places are on sale again and nothing was charged.".into())
            },
        }
    }
}

fn taken_words(facts: &EventFacts, seats: &[i32]) -> String {
    let known = seats.iter().filter_map(|seat| facts.seat(*seat));
    let names: Vec<String> = known.map(|seat| words::seat(&seat.section, &seat.row, &seat.number)).collect();
    match names.len() {
        0 => "Somebody else was a moment faster. Nothing of your choice was held.".into(),
        _ => format!(
            "Somebody else was a moment faster with {}. Nothing of your choice was held.",
            words::listed(&names)
        ),
    }
}

/// The best seats of the same category, at the same price.
fn best_instead(facts: &EventFacts, seats: &[i32], wanted: u32, offers: impl Fn(&str) -> bool) -> Option<Offer> {
    let category = facts.category_of(*seats.first()?)?;
    let seats = if wanted == 1 { "seat".to_owned() } else { format!("{wanted} seats") };
    offers(category).then(|| Offer {
        quantity: wanted,
        category: category.to_owned(),
        words: format!("Hold the best {seats} in {category} instead"),
    })
}

#[cfg(test)]
mod tests {
    use super::{Reason, ReasonQuery};

    #[test]
    fn a_reason_survives_its_address() {
        let reasons = [
            Reason::Taken { seats: vec![17, 18], wanted: 2 },
            Reason::NotTogether { wanted: 4, category: None },
            Reason::NotTogether { wanted: 4, category: Some(2) },
            Reason::AreaFull { area: "floor".into(), wanted: 3 },
            Reason::Limit,
            Reason::Nothing,
            Reason::Unknown,
            Reason::Released,
        ];
        for reason in reasons {
            let address: http::Uri = format!("/events/x?{}", reason.to_query()).parse().expect("an address");
            let query = axum::extract::Query::<ReasonQuery>::try_from_uri(&address).expect("a query");
            assert_eq!(Reason::from_query(&query), Some(reason));
        }
    }

    #[test]
    fn nonsense_in_an_address_is_no_reason() {
        for text in ["", "notice=", "notice=x", "notice=full", "n=3"] {
            let address: http::Uri = format!("/events/x?{text}").parse().expect("an address");
            let query = axum::extract::Query::<ReasonQuery>::try_from_uri(&address).expect("a query");
            assert_eq!(Reason::from_query(&query), None, "{text}");
        }
    }
}
