//! The page about checkpoints: who certified them, what can be downloaded, whether the replicas hold the same.

use client::api::audit::{
    AuditFinding, AuditReport, AuditVerdict, DamagedTile, ReplicaAudit, ScrubReport,
};
use client::api::checkpoints::{
    CertificateInfo, CheckpointInfo, CheckpointList, SnapshotInfo, SnapshotList,
};
use client::api::error::{ErrorCode, Problem};
use client::types::{
    CheckpointLabel, Digest, EntryIndex, LogName, Position, ReplicaId, Term, Timestamp,
};

use crate::fake::{Fake, get, post};

fn replica(id: u64) -> ReplicaId {
    ReplicaId::new(id).unwrap()
}

fn fake() -> Fake {
    let certificate = CertificateInfo {
        digest: Digest::new([0xab; 32]),
        attested_by: vec![replica(1), replica(3)],
        certified: Timestamp::new(0),
        entry: EntryIndex::new(41),
    };
    let certified = CheckpointInfo {
        checkpoint: EntryIndex::new(40),
        term: Term::new(1),
        made: Timestamp::new(951_782_400_001),
        label: CheckpointLabel::new("before <b>upgrade").ok(),
        is_pinned: true,
        certificate: Some(certificate),
        lets_go: Some(EntryIndex::new(40)),
    };
    let newer = CheckpointInfo {
        checkpoint: EntryIndex::new(5_000),
        label: None,
        is_pinned: false,
        certificate: None,
        lets_go: None,
        ..certified.clone()
    };
    let snapshot = SnapshotInfo {
        checkpoint: EntryIndex::new(40),
        digest: Digest::new([0xab; 32]),
        is_certified: true,
        label: None,
        is_pinned: true,
        manifest_bytes: 1_000,
        content: None,
    };
    let finding = |verdict| AuditFinding { verdict, entry: Some(EntryIndex::new(39)), at: None };
    let audit = |id, execution| ReplicaAudit {
        id: replica(id),
        execution: finding(execution),
        checkpoint: AuditFinding::default(),
    };
    let damaged = DamagedTile {
        log: LogName::new("orders").unwrap(),
        from: Position::new(256),
        until: Position::new(512),
        reason: "nobody <i>has it".to_owned(),
    };
    Fake {
        checkpoints: Ok(CheckpointList { checkpoints: vec![certified, newer] }),
        snapshots: Ok(SnapshotList { snapshots: vec![snapshot] }),
        audit: Ok(AuditReport {
            leader: Some(replica(1)),
            replicas: vec![audit(1, AuditVerdict::Equal), audit(2, AuditVerdict::Different)],
        }),
        scrub: Ok(ScrubReport {
            replica: replica(2),
            pass: 1,
            is_done: false,
            tiles_total: 100,
            tiles_done: 40,
            bytes_done: 5_000_000,
            last_done: None,
            damaged_tiles: 2,
            repaired_tiles: 1,
            unrepaired: vec![damaged],
        }),
        ..Fake::default()
    }
}

#[tokio::test]
async fn a_checkpoint_says_who_certified_it_and_leads_to_its_backup() {
    let (response, page) = get(&fake(), "/checkpoints").await;
    assert_eq!(response.status(), 200);
    assert!(page.contains("replicas 1, 3") && page.contains("not certified"), "{page}");
    assert!(page.contains("href=\"/v1/snapshots/40/archive\" download"));
    assert!(page.contains("backup --checkpoint 40"), "the newest that can be had: {page}");
    let (newer, older) = (page.find("5\u{202f}000</th>"), page.find("40</th>"));
    assert!(newer.is_some() && newer < older, "newest first");
    assert!(!page.contains("<b>upgrade") && !page.contains("<i>has"));
}

#[tokio::test]
async fn a_comparison_that_was_not_made_is_never_shown_as_equal() {
    let (_, page) = get(&fake(), "/checkpoints").await;
    assert!(page.contains("equal") && page.contains("different"), "{page}");
    assert_eq!(page.matches(" unverified").count(), 2, "{page}");
    assert!(page.contains("<progress max=\"100\" value=\"40\""));
    assert!(page.contains("orders, 256 to before 512"), "{page}");
    let unknown = Fake { audit: Err(Problem::new(ErrorCode::NoLeader)), ..fake() };
    let (response, page) = get(&unknown, "/checkpoints").await;
    assert!(response.status() == 200 && page.contains("data-test=\"audit-unknown\""), "{page}");
    assert!(!page.contains(" equal"), "{page}");
}

#[tokio::test]
async fn a_checkpoint_is_made_and_released_and_everything_read_again_by_forms() {
    let fake = fake();
    for (path, form, done) in [
        ("/checkpoints", "label=monday", "made"),
        ("/checkpoints", "label=", "made"),
        ("/checkpoints/release", "checkpoint=40", "released"),
        ("/checkpoints/scrub", "", "scrub"),
    ] {
        let (response, _) = post(&fake, path, form).await;
        assert_eq!(response.status(), 303, "{path}");
        assert_eq!(response.headers()["location"], format!("/checkpoints?done={done}"));
    }
    let labelled = "checkpoint Some(CheckpointLabel(\"monday\"))";
    assert_eq!(fake.done(), [labelled, "checkpoint None", "release 40", "scrub"]);
    let (response, page) = post(&fake, "/checkpoints", "label=a%00b").await;
    assert!(response.status() == 400 && page.contains("control character"), "{page}");
    let full = Fake { refusal: Some(Problem::new(ErrorCode::CheckpointsFull)), ..fake };
    let (response, page) = post(&full, "/checkpoints", "label=one-more").await;
    assert!(response.status() == 409 && page.contains("value=\"one-more\""), "{page}");
}
