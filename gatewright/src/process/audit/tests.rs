use std::sync::{Condvar, Mutex};

use prometheus_client::encoding::text;

use super::*;

/// A disk with so much room, which may stand still.
#[derive(Clone, Default)]
struct Disk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    text: Vec<u8>,
    room: usize,
    is_stuck: bool,
}

impl Disk {
    fn with_room(room: usize) -> Self {
        let disk = Self::default();
        disk.change(|state| state.room = room);
        disk
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state.lock().unwrap());
        self.0.changed.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.state.lock().unwrap().text.clone()).unwrap()
    }
}

impl Target for Disk {}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = self.0.state.lock().unwrap();
        let mut state = self.0.changed.wait_while(state, |state| state.is_stuck).unwrap();
        let fits = bytes.len().min(state.room);
        if fits == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.room -= fits;
        state.text.extend_from_slice(&bytes[..fits]);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn counts(registry: &Registry) -> [u64; 3] {
    let mut page = String::new();
    text::encode(&mut page, registry).unwrap();
    ["written", "failed", "dropped"].map(|outcome| {
        let name = format!("gatewright_audit_lines_total{{outcome=\"{outcome}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    })
}

#[tokio::test]
async fn a_full_disk_loses_lines_and_tears_none_into_another() {
    let (disk, mut registry) = (Disk::with_room(12), Registry::default());
    let log = AuditLog::start(disk.clone(), &mut registry).unwrap();
    let sink = log.sink();
    for line in ["one\n", "two\n", "three\n"] {
        sink(line.as_bytes().to_vec());
        log.flush().await;
    }
    assert_eq!(disk.text(), "one\ntwo\nthre");
    sink(b"four\n".to_vec());
    log.flush().await;
    assert_eq!((disk.text().as_str(), counts(&registry)), ("one\ntwo\nthre", [2, 2, 0]));
    disk.change(|state| state.room = 100);
    sink(b"five\n".to_vec());
    log.flush().await;
    assert_eq!((disk.text().as_str(), counts(&registry)), ("one\ntwo\nthre\nfive\n", [3, 2, 0]));
}

#[tokio::test]
async fn a_disk_that_hangs_holds_nobody_up() {
    const MANY: u64 = 100_000;
    let (disk, mut registry) = (Disk::with_room(usize::MAX), Registry::default());
    disk.change(|state| state.is_stuck = true);
    let log = AuditLog::start(disk.clone(), &mut registry).unwrap();
    let sink = log.sink();
    // This ends, with nobody writing: that is the assertion.
    (0..MANY).for_each(|_| sink(b"line\n".to_vec()));
    let [written, failed, dropped] = counts(&registry);
    assert_eq!((written, failed), (0, 0));
    assert!(dropped > 0, "the queue is bounded");
    disk.change(|state| state.is_stuck = false);
    log.flush().await;
    let [written, failed, still_dropped] = counts(&registry);
    assert_eq!((written + still_dropped, failed, still_dropped), (MANY, 0, dropped), "none is unaccounted for");
    assert_eq!(lines(disk.text().as_bytes()), written);
}

#[test]
fn a_rotated_file_is_made_anew_and_is_for_us_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("audit.log"), folder.path().join("audit.log.1"));
    let file = open(&path).unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    // As if the last look were long ago.
    let long_ago = || Instant::now().checked_sub(2 * LOOK).unwrap();
    let target = Rotated { path: path.clone(), file, looked: long_ago() };
    let counts = Counts::register(&mut Registry::default());
    let mut log = Lines { target, is_torn: false, counts, warned: None };
    log.write(b"one\n");
    std::fs::rename(&path, &moved).unwrap();
    log.write(b"two\n");
    // The last line of the old file has no end, as on a full disk; the new one begins with a whole line all the same.
    log.is_torn = true;
    log.target.looked = long_ago();
    log.write(b"three\n");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("one\ntwo\n", "three\n"));
}
