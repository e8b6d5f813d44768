//! Whether this process was asked to stop while it still starts servers.
//!
//! Signals are the whole process's, hence one flag for it. Every wait of this crate looks at it, so that a start
//! that is given up is taken down in good order instead of being left to the guard.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Result, StackError};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Makes every start under way, and every later one, give up.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
}

pub(crate) fn check() -> Result<()> {
    if REQUESTED.load(Ordering::SeqCst) { Err(StackError::Interrupted) } else { Ok(()) }
}
