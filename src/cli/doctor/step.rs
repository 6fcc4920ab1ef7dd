//! The steps of a check, and their results.

/// A step of a check. The order of the variants is the order of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepName {
    /// The connection can be read, and is valid.
    Connection,
    /// Its Secrets have the keys that its transport needs.
    Secrets,
    /// The URL may be used.
    Url,
    /// The host has an address, and accepts a connection.
    Network,
    /// Certificates are trusted.
    Tls,
    /// What answers is a CMDB.
    Cmdb,
    /// CMDB accepts the credentials.
    Credentials,
    /// How the server keeps sockets, and its version.
    Schema,
    /// Templates of a business may be listed.
    Permission,
    /// Which namespaces may touch which businesses through a cluster connection.
    Grants,
}

impl StepName {
    /// Every step.
    pub const ALL: [Self; 10] = [
        Self::Connection,
        Self::Secrets,
        Self::Url,
        Self::Network,
        Self::Tls,
        Self::Cmdb,
        Self::Credentials,
        Self::Schema,
        Self::Permission,
        Self::Grants,
    ];

    /// The name in output, text and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Secrets => "secrets",
            Self::Url => "url",
            Self::Network => "network",
            Self::Tls => "tls",
            Self::Cmdb => "cmdb",
            Self::Credentials => "credentials",
            Self::Schema => "schema",
            Self::Permission => "permission",
            Self::Grants => "grants",
        }
    }
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The step succeeded.
    Ok,
    /// The step found something wrong.
    Failed,
    /// The step was not taken.
    Skipped,
}

impl Outcome {
    /// The word in output, text and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A step with its result.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which step it is.
    pub name: StepName,
    /// The result.
    pub outcome: Outcome,
    /// What was found, in one sentence.
    pub fact: String,
    /// What to do or to know; empty: nothing.
    pub advice: String,
}

/// Why a step failed, and what to do.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What was found, in one sentence.
    pub fact: String,
    /// What to do about it; empty: nothing is known.
    pub advice: String,
}

impl Problem {
    /// A problem with this fact and this advice.
    pub fn new(fact: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { fact: fact.into(), advice: advice.into() }
    }
}

/// The steps of one check, while it runs.
#[derive(Debug, Default)]
pub struct Steps {
    steps: Vec<Step>,
}

impl Steps {
    /// Adds a step that succeeded.
    pub fn ok(&mut self, name: StepName, fact: impl Into<String>) {
        self.ok_with_advice(name, fact, "");
    }

    /// Adds a step that succeeded, with something to know.
    pub fn ok_with_advice(&mut self, name: StepName, fact: impl Into<String>, advice: impl Into<String>) {
        self.steps.push(Step { name, outcome: Outcome::Ok, fact: fact.into(), advice: advice.into() });
    }

    /// Adds a step that failed.
    pub fn failed(&mut self, name: StepName, problem: Problem) {
        let Problem { fact, advice } = problem;
        self.steps.push(Step { name, outcome: Outcome::Failed, fact, advice });
    }

    /// Adds a step that was not taken, with the reason.
    pub fn skipped(&mut self, name: StepName, fact: impl Into<String>) {
        self.steps.push(Step { name, outcome: Outcome::Skipped, fact: fact.into(), advice: String::new() });
    }

    /// All steps in their order. Steps that were not reached are skipped. `is_shared`: whether there is a step for grants.
    pub fn finish(mut self, is_shared: bool) -> Vec<Step> {
        for name in StepName::ALL {
            let applies = name != StepName::Grants || is_shared;
            if applies && !self.steps.iter().any(|step| step.name == name) {
                self.skipped(name, "cannot be told before that");
            }
        }
        self.steps.sort_by_key(|step| step.name);
        self.steps
    }
}
