//! Who is connected, what each has in force, and what follows for each policy.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crds::push::{Name, Rejection, Report};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    audiences::Audiences,
    table::{Audience, Published},
};

/// Names that a standing lists at most.
const NAMES: usize = 10;

/// What is known about the policies, as far as the streams of this replica tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standings {
    /// Every published policy.
    pub policies: BTreeMap<Arc<str>, Standing>,
    /// What data planes say about the issuers of each policy, by data plane.
    pub issuers: BTreeMap<Arc<str>, Vec<IssuerReport>>,
    /// How many data planes are connected.
    pub replicas: usize,
}

/// How far one policy has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody who takes it is connected.
    NoDataPlane,
    /// Everybody has it in force.
    Programmed {
        /// How many.
        replicas: usize,
    },
    /// Some have not said that it is in force.
    Lagging {
        /// Their names, at most 10.
        waiting: Vec<String>,
        /// How many more.
        more: usize,
    },
    /// Somebody refuses it.
    Rejected {
        /// Who, the first by name.
        by: String,
        /// Why, with field paths.
        reason: String,
    },
}

/// What one data plane says about one issuer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IssuerReport {
    /// The data plane.
    pub replica: String,
    /// The issuer, as configured.
    pub issuer: String,
    /// What went wrong; `None`: nothing.
    pub error: Option<String>,
}

/// All streams.
#[derive(Debug)]
pub(super) struct Clients {
    clients: Mutex<HashMap<u64, Client>>,
    changes: watch::Sender<u64>,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Client {
    /// `namespace/pod`.
    pub(super) name: String,
    pub(super) audience: Audience,
    /// The publication that is in force there; 0: none yet.
    pub(super) acknowledged: u64,
    pub(super) rejected: BTreeMap<Arc<str>, String>,
    pub(super) reports: Vec<Report>,
    /// Ends the stream.
    pub(super) ends: CancellationToken,
}

/// A stream's entry; gone when dropped.
#[derive(Debug)]
pub(super) struct Entry {
    id: u64,
    clients: Arc<Clients>,
}

// === impl Clients ===

impl Clients {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { clients: Mutex::default(), changes: watch::Sender::new(0) })
    }

    /// Moves when a standing may have changed.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Lets whoever watches look again.
    pub(super) fn moved(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// A new stream. One of the same pod before it is over: its end was not seen yet.
    pub(super) fn add(self: &Arc<Self>, id: u64, client: Client) -> Entry {
        let mut clients = self.clients.lock();
        clients.values().filter(|other| other.name == client.name).for_each(|other| other.ends.cancel());
        clients.retain(|_, other| other.name != client.name);
        clients.insert(id, client);
        drop(clients);
        self.moved();
        Entry { id, clients: self.clone() }
    }

    /// How far each policy has come.
    pub(super) fn standings(&self, published: &Published, audiences: &Audiences) -> Standings {
        let clients = self.clients.lock();
        let mut by_audience: HashMap<&Audience, Vec<&Client>> = HashMap::new();
        for client in clients.values() {
            by_audience.entry(&client.audience).or_default().push(client);
        }
        let mut tallies: BTreeMap<Arc<str>, Tally<'_>> =
            published.policies().map(|one| (one.policy.name.clone(), Tally::default())).collect();
        let mut issuers: BTreeMap<Arc<str>, Vec<IssuerReport>> = BTreeMap::new();
        for (audience, mut members) in by_audience {
            members.sort_by(|a, b| (a.acknowledged, &a.name).cmp(&(b.acknowledged, &b.name)));
            let table = audiences.cell(audience).table(published, audience);
            for (policy, changed) in &table.changed {
                let Some(tally) = tallies.get_mut(policy) else { continue };
                let waiting = members.partition_point(|one| one.acknowledged < *changed);
                tally.replicas += members.len();
                tally.waiting += waiting;
                let room = NAMES.saturating_sub(tally.names.len());
                tally.names.extend(members.iter().take(waiting.min(room)).map(|one| one.name.as_str()));
            }
            for client in members {
                for (policy, reason) in &client.rejected {
                    if let Some(tally) = tallies.get_mut(policy) {
                        tally.reject(&client.name, reason);
                    }
                }
                // About a policy that is not its business nobody is believed.
                for report in client.reports.iter().filter(|one| table.changed.contains_key(&one.policy)) {
                    issuers.entry(report.policy.clone()).or_default().push(IssuerReport {
                        replica: client.name.clone(),
                        issuer: report.issuer.clone(),
                        error: report.error.clone(),
                    });
                }
            }
        }
        issuers.values_mut().for_each(|reports| reports.sort());
        let policies = tallies.into_iter().map(|(policy, tally)| (policy, tally.standing())).collect();
        Standings { policies, issuers, replicas: clients.len() }
    }
}

#[derive(Default)]
struct Tally<'c> {
    replicas: usize,
    waiting: usize,
    names: Vec<&'c str>,
    rejected: Option<(&'c str, &'c str)>,
}

impl<'c> Tally<'c> {
    fn reject(&mut self, by: &'c str, reason: &'c str) {
        if self.rejected.is_none_or(|(first, _)| by < first) {
            self.rejected = Some((by, reason));
        }
    }

    fn standing(self) -> Standing {
        if let Some((by, reason)) = self.rejected {
            return Standing::Rejected { by: by.to_owned(), reason: reason.to_owned() };
        }
        match (self.replicas, self.waiting) {
            (0, _) => Standing::NoDataPlane,
            (replicas, 0) => Standing::Programmed { replicas },
            (_, waiting) => {
                let mut names: Vec<String> = self.names.into_iter().map(str::to_owned).collect();
                names.sort();
                let more = waiting - names.len();
                Standing::Lagging { waiting: names, more }
            }
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Changes what is known about this stream; only a real change wakes whoever watches.
    pub(super) fn update(&self, change: impl FnOnce(&mut Client) -> bool) {
        let changed = self.clients.clients.lock().get_mut(&self.id).is_some_and(change);
        if changed {
            self.clients.moved();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let gone = self.clients.clients.lock().remove(&self.id).is_some();
        if gone {
            self.clients.moved();
        }
    }
}

// === impl Client ===

impl Client {
    /// A change is in force, and these are all resources that are refused. Whether anything is new.
    pub(super) fn acknowledge(
        &mut self,
        counter: u64,
        refused: Vec<Rejection>,
        readers: impl Fn(&Name) -> Vec<Arc<str>>,
    ) -> bool {
        let mut rejected = BTreeMap::new();
        for Rejection { resource, reason } in refused {
            match resource.parse() {
                Ok(Name::Policy(policy)) => drop(rejected.insert(policy, reason)),
                Ok(name) => {
                    let readers = readers(&name).into_iter();
                    rejected.extend(readers.map(|policy| (policy, format!("{name}: {reason}"))));
                }
                Err(_) => {}
            }
        }
        let same = self.acknowledged == counter && self.rejected == rejected;
        (self.acknowledged, self.rejected) = (counter, rejected);
        !same
    }
}
