//! What the shop's forms send, parsed at the edge.

use std::collections::{BTreeMap, BTreeSet};

use booking_domain::AreaId;
use booking_domain::best::Wish as BestWish;

use super::notices::Reason;
use super::pages::BuyerForm;
use crate::app::hold_seats::Wish;
use crate::events::EventFacts;
use crate::http::bookings::is_email;

/// Most characters of a buyer's name.
const MAX_NAME: usize = 200;

/// The fields of a form, in order; names may repeat.
pub(super) struct Fields(pub(super) Vec<(String, String)>);

impl Fields {
    /// The first field of a name.
    pub(super) fn first<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.first(name)?.trim().parse().ok()
    }
}

/// What a holding form wishes: ticked seats, places of an area, or the best seats.
pub(super) fn wish(fields: &Fields, facts: &EventFacts, limit: u32) -> Result<Wish, Reason> {
    if fields.first("seat").is_some() {
        let seats: Option<BTreeSet<i32>> = fields.all("seat").map(|guid| facts.seat_no(guid)).collect();
        let seats = seats.ok_or(Reason::Unknown)?;
        return if seats.len() > limit as usize {
            Err(Reason::Limit)
        } else {
            Ok(Wish::Seats(seats.into_iter().collect()))
        };
    }
    let quantity = fields.number("quantity").filter(|quantity| *quantity > 0).ok_or(Reason::Nothing)?;
    if quantity > limit {
        return Err(Reason::Limit);
    }
    if let Some(area) = fields.first("area") {
        let area: AreaId = area.parse().map_err(|_| Reason::Unknown)?;
        facts.area(&area).ok_or(Reason::Unknown)?;
        return Ok(Wish::Areas(BTreeMap::from([(area, quantity)])));
    }
    let category = fields.first("category").filter(|name| !name.is_empty()).map(str::to_owned);
    let known = |name: &String| facts.categories.iter().any(|row| row.category == *name);
    if facts.seated.is_none() || category.as_ref().is_some_and(|name| !known(name)) {
        return Err(Reason::Unknown);
    }
    Ok(Wish::Best(BestWish { quantity, category, ..BestWish::default() }))
}

/// Name and address of the buyer, or the form with what is wrong with it.
pub(super) fn buyer(fields: &Fields) -> Result<(String, String), BuyerForm> {
    let field = |name| fields.first(name).unwrap_or_default().trim().to_owned();
    let (name, email) = (field("name"), field("email"));
    let name_error = match name.chars().count() {
        0 => Some("Please give a name."),
        count if count > MAX_NAME => Some("This name is too long."),
        _ if name.chars().any(char::is_control) => Some("This name holds characters that cannot be printed."),
        _ => None,
    };
    let email_error = (!is_email(&email)).then_some("This is not an e-mail address.");
    if name_error.is_none() && email_error.is_none() {
        return Ok((name, email));
    }
    let words = |error: Option<&str>| error.map(str::to_owned);
    Err(BuyerForm { name, name_error: words(name_error), email, email_error: words(email_error) })
}

#[cfg(test)]
mod tests {
    use super::{Fields, buyer};

    fn filled(name: &str, email: &str) -> Fields {
        Fields([("name", name), ("email", email)].map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec())
    }

    #[test]
    fn buyers_are_named_and_reachable() {
        for (name, email, good) in [
            (" Ana Moura ", "ana@example.org", true),
            ("Ana", "ana+show@mail.example", true),
            ("", "ana@example.org", false),
            ("A\u{7}na", "ana@example.org", false),
            ("Ana", "", false),
            ("Ana", "ana", false),
            ("Ana", "a na@example.org", false),
            ("Ana", "ana@@example.org", false),
            ("Ana", "ana@example..org", false),
            (&"x".repeat(201), "ana@example.org", false),
        ] {
            assert_eq!(buyer(&filled(name, email)).is_ok(), good, "{name} {email}");
        }
        assert_eq!(buyer(&filled(" Ana ", "a@b.cd")).ok(), Some(("Ana".into(), "a@b.cd".into())));
    }

    #[test]
    fn a_refused_form_keeps_what_was_typed() {
        let form = buyer(&filled("Ana", "nowhere")).expect_err("no address");
        assert_eq!((form.name.as_str(), form.email.as_str()), ("Ana", "nowhere"));
        assert!(form.name_error.is_none() && form.email_error.is_some());
    }
}
