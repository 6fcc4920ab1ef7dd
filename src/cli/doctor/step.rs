//! Steps of an examination, and what came of them.

/// A step, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The connection can be read, and is valid.
    Connection,
    /// Its Secrets have what its transport needs.
    Secrets,
    /// The URL may be used.
    Url,
    /// The host has an address, and takes a connection.
    Network,
    /// Certificates are trusted.
    Tls,
    /// What answers is a CMDB.
    Cmdb,
    /// It takes the credentials.
    Credentials,
    /// How the server keeps sockets, and its version.
    Schema,
    /// Templates of a business may be listed.
    Permission,
    /// Who may touch what through a connection of the cluster.
    Grants,
}

impl Name {
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

    /// As it is printed.
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

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Ok,
    /// Something is wrong.
    Failed,
    /// It was not taken.
    Skipped,
}

impl Outcome {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A step that was taken.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which.
    pub name: Name,
    /// What came of it.
    pub outcome: Outcome,
    /// What was found.
    pub fact: String,
    /// What to do, or to know; empty when there is nothing.
    pub advice: String,
}

/// Why a step failed, and what to do.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What was found.
    pub fact: String,
    /// What to do.
    pub advice: String,
}

impl Trouble {
    /// Something that is wrong, with what to do about it.
    pub fn new(fact: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { fact: fact.into(), advice: advice.into() }
    }
}

/// The steps of one examination.
#[derive(Debug, Default)]
pub struct Steps {
    taken: Vec<Step>,
}

impl Steps {
    /// A step went well.
    pub fn ok(&mut self, name: Name, fact: impl Into<String>) {
        self.ok_with(name, fact, "");
    }

    /// A step went well, and there is something to know.
    pub fn ok_with(&mut self, name: Name, fact: impl Into<String>, advice: impl Into<String>) {
        self.taken.push(Step { name, outcome: Outcome::Ok, fact: fact.into(), advice: advice.into() });
    }

    /// A step failed.
    pub fn failed(&mut self, name: Name, trouble: Trouble) {
        let Trouble { fact, advice } = trouble;
        self.taken.push(Step { name, outcome: Outcome::Failed, fact, advice });
    }

    /// A step was not taken, for this reason.
    pub fn skipped(&mut self, name: Name, fact: impl Into<String>) {
        self.taken.push(Step { name, outcome: Outcome::Skipped, fact: fact.into(), advice: String::new() });
    }

    /// All of them in their order; those that were not come to are skipped.
    pub fn finish(mut self, is_shared: bool) -> Vec<Step> {
        for name in Name::ALL {
            let is_asked = name != Name::Grants || is_shared;
            if is_asked && !self.taken.iter().any(|step| step.name == name) {
                self.skipped(name, "cannot be told before that");
            }
        }
        self.taken.sort_by_key(|step| step.name);
        self.taken
    }
}
