//! What must be so before the operator is ready, by name.

/// What must be so before the operator is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadinessCheck {
    /// The API server serves our kinds.
    Crd,
    /// The watches have delivered what there is.
    Watches,
    /// It leads, or stands by for the one that does.
    Leader,
}

impl ReadinessCheck {
    /// Every check.
    pub const ALL: &[Self] = &[Self::Crd, Self::Watches, Self::Leader];

    /// Its name in probes and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crd => "crd",
            Self::Watches => "watches",
            Self::Leader => "leader",
        }
    }
}

/// Why nothing is known yet.
pub const NO_ANSWER: &str = "the API server has not answered yet; it is asked again";
