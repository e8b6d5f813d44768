//! The error that every lifecycle shares.

/// A step that the present state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {what} that is {from} cannot {step}")]
pub struct InvalidTransition {
    /// Which lifecycle.
    pub what: &'static str,
    /// The state it is in.
    pub from: &'static str,
    /// The step that was tried.
    pub step: &'static str,
}

/// A stored state that no lifecycle has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no state of a {what}")]
pub struct UnknownState {
    /// Which lifecycle.
    pub what: &'static str,
    /// What was found.
    pub text: String,
}

/// A plain enum of states with one name each, the same in Rust, SQL and JSON.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// Every state.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name, the same in SQL and JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The answer to a step that this state does not allow.
            ///
            /// # Errors
            /// Always.
            pub const fn refuse<T>(self, step: &'static str) -> Result<T, $crate::InvalidTransition> {
                Err($crate::InvalidTransition { what: $what, from: self.name(), step })
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::UnknownState;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownState { what: $what, text: text.to_owned() }),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use states;
