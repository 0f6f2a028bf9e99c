//! Who asks gets, who has something of that name keeps it, and nothing is written without need or leave.

use parking_lot::Mutex;

use super::*;

/// Whose it is, and its entries.
type Kept = (Found, BTreeMap<&'static str, String>);

#[derive(Default)]
struct Memory {
    labels: Mutex<BTreeMap<&'static str, Vec<String>>>,
    objects: Mutex<BTreeMap<(Piece, String), Kept>>,
    writes: Mutex<Vec<(Piece, String)>>,
    complaints: Mutex<Vec<String>>,
    forbidden: Mutex<bool>,
}

#[tonic::async_trait]
impl Places for Memory {
    async fn namespaces(&self, label: &str) -> Result<Vec<String>, PlaceError> {
        if *self.forbidden.lock() {
            return Err(PlaceError("forbidden".to_owned()));
        }
        Ok(self.labels.lock().get(label).cloned().unwrap_or_default())
    }

    async fn read(&self, piece: Piece, namespace: &str) -> Result<Option<Found>, PlaceError> {
        Ok(self.objects.lock().get(&(piece, namespace.to_owned())).map(|(found, _)| found.clone()))
    }

    async fn write(
        &self,
        piece: Piece,
        namespace: &str,
        content: Content,
        uid: Option<String>,
    ) -> Result<(), PlaceError> {
        let key = (piece, namespace.to_owned());
        let mut objects = self.objects.lock();
        assert_eq!(objects.get(&key).map(|(found, _)| found.uid.clone()), uid, "what was looked at is what is written");
        let found = Found {
            ours: true,
            uid: "1".to_owned(),
            authorities: content.data.get("ca.crt").cloned(),
            renew_at: content.annotations.get(RENEW_AT).cloned(),
        };
        objects.insert(key.clone(), (found, content.data));
        self.writes.lock().push(key);
        Ok(())
    }

    async fn complain(&self, _: Piece, namespace: &str, _: &str, text: &str) {
        self.complaints.lock().push(format!("{namespace}: {text}"));
    }
}

struct Made {
    bundle: Mutex<Arc<str>>,
    life: Duration,
}

impl Certificates for Made {
    fn authorities(&self) -> Arc<str> {
        self.bundle.lock().clone()
    }

    fn client(&self, namespace: &str) -> Option<(Content, SystemTime)> {
        let authorities = self.bundle.lock().to_string();
        let data =
            BTreeMap::from([("tls.crt", namespace.to_owned()), ("tls.key", "key".to_owned()), ("ca.crt", authorities)]);
        Some((Content { data, annotations: BTreeMap::new() }, SystemTime::now() + self.life))
    }
}

fn bundles(life: Duration) -> (Bundles, Arc<Memory>, Arc<Made>) {
    let (memory, made) = (Arc::new(Memory::default()), Arc::new(Made { bundle: Mutex::new("one".into()), life }));
    (Bundles::new(memory.clone(), made.clone(), "home"), memory, made)
}

const HOUR: Duration = Duration::from_hours(1);

fn written(memory: &Memory) -> Vec<String> {
    let mut all: Vec<String> =
        memory.writes.lock().drain(..).map(|(piece, namespace)| format!("{namespace}/{}", piece.name())).collect();
    all.sort();
    all
}

#[tokio::test(start_paused = true)]
async fn who_asks_gets_and_nothing_is_written_twice() {
    let (mut bundles, memory, made) = bundles(HOUR);
    memory.labels.lock().insert(INJECT_CA, vec!["apps".to_owned()]);
    memory.labels.lock().insert(GATEWAY, vec!["edge".to_owned()]);
    bundles.round(&|| true).await;
    let home = ["home/gatewright-ca", "home/gatewright-client-tls"];
    assert_eq!(written(&memory), ["apps/gatewright-ca", "edge/gatewright-client-tls", home[0], home[1]]);
    bundles.round(&|| true).await;
    assert_eq!(written(&memory), Vec::<String>::new());
    // A rotation is everybody's business, at once.
    *made.bundle.lock() = "two".into();
    bundles.round(&|| true).await;
    assert_eq!(written(&memory).len(), 4);
    // Deleted by somebody: back within a minute.
    memory.objects.lock().remove(&(Piece::Authorities, "apps".to_owned()));
    tokio::time::advance(AGAIN).await;
    bundles.round(&|| true).await;
    assert_eq!(written(&memory), ["apps/gatewright-ca"]);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_due_is_replaced() {
    let (mut bundles, memory, _) = bundles(Duration::ZERO);
    bundles.round(&|| true).await;
    written(&memory);
    tokio::time::advance(AGAIN).await;
    bundles.round(&|| true).await;
    assert_eq!(written(&memory), ["home/gatewright-client-tls"]);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_a_clock_that_was_ahead_is_replaced() {
    let (mut ahead, memory, _) = bundles(HOUR * 24 * 3);
    ahead.round(&|| true).await;
    written(&memory);
    let made = Arc::new(Made { bundle: Mutex::new("one".into()), life: HOUR });
    let mut bundles = Bundles::new(memory.clone(), made, "home");
    bundles.round(&|| true).await;
    assert_eq!(written(&memory), ["home/gatewright-client-tls"]);
    tokio::time::advance(AGAIN).await;
    bundles.round(&|| true).await;
    assert_eq!(written(&memory), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_made_is_left_alone_and_told_once() {
    let (mut bundles, memory, _) = bundles(HOUR);
    let foreign = Found { uid: "9".to_owned(), ..Found::default() };
    memory.objects.lock().insert((Piece::Client, "home".to_owned()), (foreign, BTreeMap::new()));
    for _ in 0..3 {
        bundles.round(&|| true).await;
    }
    assert_eq!(written(&memory), ["home/gatewright-ca"]);
    {
        let complaints = memory.complaints.lock();
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].contains("home/gatewright-client-tls") && complaints[0].contains("delete or rename"),
            "{complaints:?}"
        );
    }
    // What comes again after all was well is told again.
    let theirs = memory.objects.lock().remove(&(Piece::Client, "home".to_owned())).unwrap();
    bundles.round(&|| true).await;
    assert_eq!(written(&memory), ["home/gatewright-client-tls"]);
    memory.objects.lock().insert((Piece::Client, "home".to_owned()), theirs);
    tokio::time::advance(AGAIN).await;
    bundles.round(&|| true).await;
    assert_eq!(memory.complaints.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_not_remembered_as_told() {
    let (mut bundles, memory, _) = bundles(HOUR);
    for number in 0..100 {
        let namespace = format!("n{number}");
        memory.labels.lock().insert(INJECT_CA, vec![namespace.clone()]);
        memory.objects.lock().insert((Piece::Authorities, namespace), (Found::default(), BTreeMap::new()));
        bundles.round(&|| true).await;
    }
    assert_eq!(memory.complaints.lock().len(), 100);
    assert_eq!(bundles.told.len(), 1, "of the one that asks");
    *memory.forbidden.lock() = true;
    bundles.round(&|| true).await;
    assert_eq!(bundles.told.len(), 2, "neither kind of label can be asked for");
    *memory.forbidden.lock() = false;
    memory.labels.lock().clear();
    bundles.round(&|| true).await;
    assert_eq!(bundles.told, HashMap::new());
}

#[tokio::test(start_paused = true)]
async fn without_leave_nothing_is_written_and_without_namespaces_our_own_is_served() {
    let (mut bundles, memory, _) = bundles(HOUR);
    bundles.round(&|| false).await;
    assert_eq!(written(&memory), Vec::<String>::new());
    *memory.forbidden.lock() = true;
    bundles.round(&|| true).await;
    assert_eq!(written(&memory).len(), 2);
}
