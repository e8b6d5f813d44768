//! End-to-end tests live in `e2e/`, tree checks in `tidy.rs`.
