//! `GET /_usher/sales/{sale}/return`: the page on which a place arrives at another device.
//!
//! Looking takes nothing: whoever previews the link, and whoever reloads it, uses up no code. The code is in the link's
//! fragment, which the script puts into the form; without script the visitor types it.

use crate::line::room::SaleRoom;
use crate::room::{Answer, new_taker, page};

/// Answers the route. The form carries a taker made for this page, so that sending it again takes nothing twice.
pub fn arrive(room: &SaleRoom) -> Answer {
    let form = page::ArriveForm { sale: &room.id, code: "", taker: new_taker(), said: "" };
    page::arrive(200, &form).outcome("arriving")
}
