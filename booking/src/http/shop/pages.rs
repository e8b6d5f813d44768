//! What each page shows, as plain types: the templates' side of the shop.
//!
//! Everything here is already words; nothing is looked up or decided in a template.

use askama::Template;

use super::assets::Assets;

/// An event, as the head of a page names it.
#[derive(Debug, Clone)]
pub(super) struct EventHead {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) performers: Option<String>,
    pub(super) venue: String,
    pub(super) city: String,
    /// RFC 3339, for machines.
    pub(super) starts_at: String,
    /// The same on the venue's clock, for people.
    pub(super) when: String,
}

/// The list of events.
#[derive(Debug, Template)]
#[template(path = "shop/events.html")]
pub(super) struct EventsPage {
    pub(super) assets: &'static Assets,
    pub(super) query: Option<String>,
    pub(super) events: Vec<EventLine>,
    /// Address of the next page.
    pub(super) next: Option<String>,
}

/// One event of the list.
#[derive(Debug)]
pub(super) struct EventLine {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) venue: String,
    pub(super) city: String,
    pub(super) starts_at: String,
    pub(super) when: String,
    /// The lowest price.
    pub(super) from: Option<String>,
    /// How much is left.
    pub(super) left: String,
}

/// An event and everything that can be taken of it.
#[derive(Debug, Template)]
#[template(path = "shop/event.html")]
pub(super) struct EventPage {
    pub(super) assets: &'static Assets,
    pub(super) event: EventHead,
    pub(super) notice: Option<Notice>,
    pub(super) categories: Vec<CategoryLine>,
    pub(super) seats_free: u64,
    pub(super) areas: Vec<AreaLine>,
    pub(super) map: Option<MapData>,
    pub(super) sections: Vec<SectionLine>,
    pub(super) picked: Option<PickedSection>,
    /// Most places of one buyer.
    pub(super) limit: u32,
    /// Names this showing of the page, so that a form sent twice acts once.
    pub(super) key: String,
}

/// Something to tell before anything else.
#[derive(Debug)]
pub(super) struct Notice {
    /// `good`, `bad` or nothing; a class of the style sheet.
    pub(super) tone: &'static str,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) offer: Option<Offer>,
}

/// Seats to take instead.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) quantity: u32,
    /// Empty for any.
    pub(super) category: String,
    pub(super) words: String,
}

/// A price category.
#[derive(Debug)]
pub(super) struct CategoryLine {
    pub(super) name: String,
    pub(super) color: Option<String>,
    pub(super) price: String,
    pub(super) free: u64,
    pub(super) free_words: String,
}

/// A general-admission area.
#[derive(Debug)]
pub(super) struct AreaLine {
    pub(super) area: String,
    pub(super) name: String,
    pub(super) price: String,
    pub(super) free_words: String,
    pub(super) capacity_words: String,
    /// Most that can be asked for now.
    pub(super) most: u32,
}

/// What the script needs to draw the map.
#[derive(Debug)]
pub(super) struct MapData {
    pub(super) currency: String,
    /// JSON: category to price.
    pub(super) prices: String,
}

/// A section in the list.
#[derive(Debug)]
pub(super) struct SectionLine {
    pub(super) name: String,
    pub(super) free: u64,
    pub(super) free_words: String,
    pub(super) from: String,
    pub(super) current: bool,
}

/// The section whose seats are shown.
#[derive(Debug)]
pub(super) struct PickedSection {
    pub(super) name: String,
    pub(super) words: String,
    pub(super) rows: Vec<SeatRow>,
    /// Marks used, and what they mean.
    pub(super) marks: Vec<(String, String)>,
}

/// A row of the picked section.
#[derive(Debug)]
pub(super) struct SeatRow {
    pub(super) name: String,
    /// Category and price.
    pub(super) words: String,
    pub(super) seats: Vec<SeatBox>,
}

/// A seat to tick.
#[derive(Debug)]
pub(super) struct SeatBox {
    pub(super) guid: String,
    pub(super) number: String,
    pub(super) free: bool,
    pub(super) notes: Option<String>,
    pub(super) mark: Option<&'static str>,
}

/// A hold, and the way to pay for it.
#[derive(Debug, Template)]
#[template(path = "shop/hold.html")]
pub(super) struct HoldPage {
    pub(super) assets: &'static Assets,
    pub(super) event: EventHead,
    pub(super) notice: Option<Notice>,
    pub(super) hold: String,
    pub(super) active: bool,
    /// How it ended, when it is not active.
    pub(super) over: String,
    pub(super) places: Vec<PlaceLine>,
    pub(super) total: String,
    pub(super) left_s: u64,
    pub(super) left_words: String,
    /// Who pays, when an earlier try has said so.
    pub(super) known_buyer: Option<String>,
    pub(super) form: BuyerForm,
}

/// A held or booked place.
#[derive(Debug)]
pub(super) struct PlaceLine {
    pub(super) words: String,
    pub(super) price: String,
}

/// The buyer's form, as filled in so far.
#[derive(Debug, Default)]
pub(super) struct BuyerForm {
    pub(super) name: String,
    pub(super) name_error: Option<String>,
    pub(super) email: String,
    pub(super) email_error: Option<String>,
}

/// A booking, paid or not.
#[derive(Debug, Template)]
#[template(path = "shop/booking.html")]
pub(super) struct BookingPage {
    pub(super) assets: &'static Assets,
    pub(super) event: EventHead,
    pub(super) title: &'static str,
    pub(super) words: String,
    pub(super) tone: &'static str,
    /// When to look again, while the payment is on its way.
    pub(super) pending_after_s: Option<u64>,
    pub(super) tickets: Vec<TicketLine>,
    pub(super) places: Vec<PlaceLine>,
    pub(super) total: String,
    pub(super) booking: String,
    pub(super) buyer: String,
    /// Where to begin again, when nothing was booked.
    pub(super) again: Option<String>,
}

/// A ticket.
#[derive(Debug)]
pub(super) struct TicketLine {
    pub(super) words: String,
    pub(super) code: String,
}

/// Something went wrong, said to a person.
#[derive(Debug, Template)]
#[template(path = "shop/problem.html")]
pub(super) struct ProblemPage {
    pub(super) assets: &'static Assets,
    pub(super) title: String,
    pub(super) words: String,
    pub(super) link: String,
    pub(super) link_words: String,
    pub(super) request_id: Option<String>,
}
