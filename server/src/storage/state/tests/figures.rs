//! What it costs: measured when asked for, with a release build.
//!
//! `cargo nextest run --release -p quorate figures --run-ignored only --no-capture` prints the figures. They are no
//! promises of a test run; what must hold everywhere is in the other files.

use std::sync::Arc;
use std::time::{Duration, Instant};

use client::types::{
    Batch, BatchLimits, LogId, LogName, NewRecord, Position, ProducerEpoch, ProducerId, Sequence,
};

use super::scene::{Scene, TestJournal, bodies, by_hand};
use crate::machine::{AppendItem, AppendRetry, AppendTarget, Command, Outcome};
use crate::storage::disk::RealDisk;
use crate::storage::state::{Level, ReadLimit, State, StateOptions};

const MEGABYTE: f64 = 1e6;

fn print(what: &str, figure: f64, unit: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "{what}: {figure:.2} {unit}").unwrap();
}

fn fill(scene: &mut Scene, logs: u64, batches: u64, batch: u64, length: usize) -> f64 {
    fill_with_pauses(scene, (logs, batches, batch, length), Duration::ZERO)
}

fn fill_with_pauses(
    scene: &mut Scene,
    (logs, batches, batch, length): (u64, u64, u64, usize),
    pause: Duration,
) -> f64 {
    let new = bodies(0..batch, length);
    for log in 0..logs {
        scene.create(&format!("log/{log}"));
    }
    for number in 0..batches {
        scene.append(&format!("log/{}", number % logs), &new);
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        while scene.state.is_lagging() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    scene.flush();
    float(batches * batch) * length_of(length)
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

fn length_of(length: usize) -> f64 {
    f64::from(u32::try_from(length).unwrap())
}

/// Says how many bytes were written per byte of payload.
fn measure_flush(what: &str, (logs, batches, batch, length): (u64, u64, u64, usize)) -> f64 {
    let mut scene = Scene::on_file(StateOptions::default());
    let payload = fill(&mut scene, logs, batches, batch, length);
    let flushes = scene.told.flushes.lock().unwrap().clone();
    let busy: f64 = flushes.iter().map(|flush| flush.elapsed.as_secs_f64()).sum();
    let written = flushes.iter().map(|flush| flush.written_bytes).sum::<u64>();
    let written = float(written / 1024) * 1024.0;
    print(&format!("{what}, flushed while busy"), payload / busy / MEGABYTE, "MB/s");
    print(&format!("{what}, written"), written / payload, "bytes per byte of payload");
    print(&format!("{what}, flushes"), float(u64::try_from(flushes.len()).unwrap()), "");
    written / payload
}

#[test]
#[ignore = "a measurement: prints figures of a release build"]
fn flushing_costs_this_much() {
    let written = measure_flush("1 log, 128 x 1 KiB", (1, 2000, 128, 1024));
    assert!(written < 1.5, "with the journal, at most 3 bytes are written for one");
    measure_flush("64 logs, 128 x 1 KiB", (64, 2000, 128, 1024));
    measure_flush("1 log, 100 x 100 B", (1, 10_000, 100, 100));
    measure_flush("1 log, 1 x 1 KiB", (1, 100_000, 1, 1024));
    measure_flush("1 log, 1 x 1 MiB", (1, 200, 1, 1 << 20));
}

#[test]
#[ignore = "a measurement: prints figures of a release build"]
fn applying_a_checkpoint_costs_this_much() {
    // Everything has changed since the last one.
    const LOGS: u64 = 1_000;
    const PRODUCERS: u64 = 10_000;
    let mut scene = Scene::on_file(by_hand());
    for log in 0..LOGS {
        scene.create(&format!("log/{log}"));
    }
    for round in 0..5_u64 {
        for number in 0..PRODUCERS {
            let id = ProducerId::new(&format!("producer/{number}")).unwrap();
            let retry = AppendRetry::Producer {
                id,
                epoch: ProducerEpoch::new(0),
                sequence: Sequence::new(round),
            };
            let name = LogName::new(&format!("log/{}", number % LOGS)).unwrap();
            let target = AppendTarget { retry, ..AppendTarget::unconditional(name) };
            let batch = Batch::single(&NewRecord::new("x"), &BatchLimits::default()).unwrap();
            let stamp = scene.stamp();
            let outcome =
                scene.apply(Command::append(stamp, &[AppendItem::encode(&target, &batch)]));
            assert!(matches!(outcome, Outcome::Appended(done) if done[0].is_ok()));
        }
        let begun = Instant::now();
        scene.checkpoint(None);
        let elapsed = begun.elapsed();
        print("apply of a checkpoint", elapsed.as_secs_f64() * 1e3, "ms");
        scene.flush();
    }
}

#[test]
#[ignore = "a measurement: prints figures of a release build"]
fn reading_costs_this_much() {
    let mut scene = Scene::on_file(StateOptions::default());
    let log = {
        fill(&mut scene, 1, 2000, 128, 1024);
        scene.state.views("", None, 1)[0].id
    };
    let limit = ReadLimit { records_max: 100_000, bytes_max: 1 << 20 };
    let mut rate = 0.0;
    for _ in 0..3 {
        let begun = Instant::now();
        let bytes = read_all(&scene.state, log, limit);
        rate = bytes / begun.elapsed().as_secs_f64() / MEGABYTE;
        print("as chunks", rate, "MB/s");
    }
    let begun = Instant::now();
    let (mut next, mut bytes) = (Position::ZERO, 0);
    loop {
        let page = scene.state.read(log, next, limit, Level::Durable).unwrap();
        bytes += page.records.iter().map(|record| record.body.len()).sum::<usize>();
        next = page.next;
        if next == page.tail {
            break;
        }
    }
    let bytes = length_of(bytes);
    print("as records", bytes / begun.elapsed().as_secs_f64() / MEGABYTE, "MB/s");
    let begun = Instant::now();
    for position in 0..20_000 {
        let one = ReadLimit { records_max: 1, bytes_max: 1 };
        scene.state.read(log, Position::new(position * 7 % 256_000), one, Level::Durable).unwrap();
    }
    print("one by position", begun.elapsed().as_secs_f64() / 20_000.0 * 1e6, "us");
    assert!(rate > 500.0, "frames can be sent at 500 MB/s");
}

fn read_all(state: &State, log: LogId, limit: ReadLimit) -> f64 {
    let (mut next, mut bytes) = (Position::ZERO, 0);
    loop {
        let page = state.read_pieces(log, next, limit, Level::Durable).unwrap();
        bytes += page.records.iter().map(|piece| piece.bytes.len()).sum::<usize>();
        next = page.next;
        if next == page.tail {
            return length_of(bytes);
        }
    }
}

#[test]
#[ignore = "a measurement: prints figures of a release build"]
fn opening_costs_this_much() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let journal = TestJournal::default();
    let options = StateOptions::default();
    let mut scene = Scene::on(Arc::new(RealDisk), &path, options, journal.clone());
    fill(&mut scene, 1000, 10_000, 100, 1024);
    scene.state.close();
    print("memory at most, test journal included", memory_max(), "MB");
    drop(scene);
    let begun = Instant::now();
    let disk: Arc<dyn crate::storage::disk::Disk> = Arc::new(RealDisk);
    let (state, manifest) = State::open(&disk, &path, options).unwrap();
    print("open and read the rows", begun.elapsed().as_secs_f64() * 1e3, "ms");
    let machine = manifest.unwrap().into_machine().unwrap();
    print("with the machine", begun.elapsed().as_secs_f64() * 1e3, "ms");
    assert_eq!(machine.logs().count(), 1000);
    drop(state);
}

/// The most memory this process ever had.
fn memory_max() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kilobytes: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024.0 / MEGABYTE
}

/// What the syncs of a journal on the same disk take while the state is flushed.
#[test]
#[ignore = "a measurement: prints figures of a release build"]
fn flushing_leaves_the_journal_this_much() {
    use crate::storage::disk::Disk;
    use std::sync::atomic::{AtomicBool, Ordering};
    for unsynced_bytes_max in [1 << 20, 2 << 20, 256 << 20] {
        let options = StateOptions { unsynced_bytes_max, ..StateOptions::default() };
        let mut scene = Scene::on_file(options);
        let file = RealDisk.open(&scene.path.with_extension("journal")).unwrap();
        file.write_at(&vec![7; 16 << 20], 0).unwrap();
        file.sync_data().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let syncing = std::thread::spawn(move || {
            let mut waits = Vec::new();
            for turn in 0_u64.. {
                let begun = Instant::now();
                file.write_at(&[1; 8192], turn % 2000 * 8192).unwrap();
                file.sync_data().unwrap();
                waits.push(begun.elapsed());
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_micros(300));
            }
            waits.sort();
            waits
        });
        let begun = Instant::now();
        let pause = Duration::from_millis(2);
        let payload = fill_with_pauses(&mut scene, (1, 3000, 128, 1024), pause);
        let rate = payload / begun.elapsed().as_secs_f64() / MEGABYTE;
        over.store(true, Ordering::Relaxed);
        let waits = syncing.join().unwrap();
        let at = |part: usize| waits[(waits.len() - 1) * part / 1000].as_secs_f64() * 1e3;
        print(&format!("{} KiB unsynced", unsynced_bytes_max >> 10), rate, "MB/s");
        print("  sync p50", at(500), "ms");
        print("  sync p99", at(990), "ms");
        print("  sync max", at(1000), "ms");
        assert!(waits.len() > 100, "the journal got its turn");
    }
}

/// The size of the file after 260 MB were written, nine tenths of it trimmed, and as much written again.
#[test]
#[ignore = "a measurement: prints figures of a release build"]
fn trimming_gives_back_this_much() {
    let mut scene = Scene::on_file(StateOptions::default());
    let size = |scene: &Scene, what: &str| {
        let bytes = std::fs::metadata(&scene.path).unwrap().len();
        print(what, float(bytes >> 10) * 1024.0 / MEGABYTE, "MB");
        bytes
    };
    fill(&mut scene, 1, 2000, 128, 1024);
    let full = size(&scene, "262 MB written");
    let log = scene.state.views("", None, 1)[0].id;
    scene.trim("log/0", 900 * 256);
    scene.flush();
    let begun = Instant::now();
    while scene.chunks(log)[0].0 < 900 * 256 {
        std::thread::sleep(Duration::from_millis(100));
    }
    print("deleting nine tenths", begun.elapsed().as_secs_f64(), "s");
    size(&scene, "nine tenths trimmed");
    let new = bodies(0..128, 1024);
    for _ in 0..1750 {
        scene.append("log/0", &new);
        while scene.state.is_lagging() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    scene.flush();
    let again = size(&scene, "seven eighths of it written again");
    assert!(again < full + full / 10, "free pages are used again");
    scene.trim("log/0", scene.state.view_by_id(log).unwrap().tail.get());
    scene.flush();
    scene.await_chunks(log, &[]);
    size(&scene, "all trimmed");
}
