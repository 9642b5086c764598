//! How one start of a run behaves: decisions of the person who starts it, not of the pipeline file.

/// How one start of a run behaves. The default is the careful choice in each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunMode {
    /// What to do if the snapshot is already published.
    pub start: StartMode,
    /// What to do with findings that the pipeline file wants to be held.
    pub findings: FindingsMode,
    /// What to do if the balance does not cover the plan.
    pub balance: BalanceMode,
    /// Which dates may be begun.
    pub begins: Begins,
}

/// What to do if the snapshot is already published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartMode {
    /// Continue an open run; leave a published snapshot alone.
    #[default]
    Continue,
    /// Fetch (and pay for) the whole date again, then replace what is published.
    Replace,
}

/// What to do with findings that `on_drift` or `on_change` hold, and with a replay that is
/// incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FindingsMode {
    /// Hold the snapshot until someone accepts it.
    #[default]
    Hold,
    /// Publish it.
    Accept,
}

/// Which dates a start may begin. To continue a date that is open is always allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begins {
    /// Only today: what the provider returns is the data of today.
    #[default]
    Today,
    /// Any date, for which the data of today is published.
    AnyDate,
}

/// What to do if the balance does not cover the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BalanceMode {
    /// Send nothing.
    #[default]
    Require,
    /// Send until the balance is used up.
    SpendWhatIsLeft,
}
