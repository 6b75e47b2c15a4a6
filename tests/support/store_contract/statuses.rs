//! What became of events: written with the sections that they belong to, or by themselves, and read with their marks.

use std::sync::Arc;

use super::*;
use streamgauge::model::{GroupStatus, Progress, Status, Swap};

fn status(group: &str, progress: Progress, offset: i64) -> GroupStatus {
    let error = (progress == Progress::Failed).then(|| "missing-field: \"x\"".into());
    let status = Status {
        progress,
        attempts: 2,
        topic: "t".into(),
        partition: 1,
        offset,
        at_ms: 7,
        dead_letter: error.as_ref().map(|_| "t.dlq".into()),
        error,
    };
    GroupStatus { group: group.into(), status }
}

async fn ask(f: &Fixture, event_id: &str) -> (Vec<GroupStatus>, Option<Vec<u8>>) {
    match f.ask(Query::Status { event_id: event_id.to_owned(), mark: format!("publish:{event_id}") }).await {
        Answer::Status { mut groups, mark } => {
            groups.sort_by_key(|group| Arc::clone(&group.group));
            (groups, mark)
        }
        other => panic!("{other:?}"),
    }
}

/// A section with statuses besides.
fn with(section: Section, statuses: &[(&str, GroupStatus)]) -> Section {
    let statuses = statuses.iter().map(|(id, status)| ((*id).into(), status.clone())).collect();
    Section { statuses, ..section }
}

pub async fn statuses_come_with_their_section_or_not_at_all(f: &Fixture) {
    let (done, failed) = (status("g", Progress::Processed, 4), status("g", Progress::Failed, 5));
    let first = with(section(0, -1, 6, vec![count("c", 1)]), &[("a", done.clone()), ("b{1}:é\n", failed.clone())]);
    assert_eq!(f.apply_one(first).await, Outcome::Applied);
    assert_eq!(ask(f, "a").await, (vec![done.clone()], None));
    assert_eq!(ask(f, "b{1}:é\n").await, (vec![failed], None));
    assert_eq!(ask(f, "never").await, (vec![], None));
    // What does not fit the checkpoint changes no status either.
    let late = with(section(0, 3, 9, vec![]), &[("a", status("g", Progress::Failed, 8)), ("c", done.clone())]);
    assert!(matches!(f.apply_one(late).await, Outcome::Conflict { .. }));
    assert_eq!((ask(f, "a").await.0, ask(f, "c").await.0), (vec![done.clone()], vec![]));
    // The last one stays, within a section too.
    let again = [("a", status("g", Progress::Failed, 8)), ("a", status("g", Progress::Processed, 9))];
    assert_eq!(f.apply_one(with(section(0, 6, 10, vec![]), &again)).await, Outcome::Applied);
    assert_eq!(ask(f, "a").await.0, [again[1].1.clone()]);
}

pub async fn other_groups_note_theirs_beside(f: &Fixture) {
    let counted = status("g", Progress::Processed, 4);
    assert_eq!(
        f.apply_one(with(section(0, -1, 6, vec![]), &[("a", counted.clone()), ("b", counted.clone())])).await,
        Outcome::Applied
    );
    let note = async |noted: &[(&str, GroupStatus)]| {
        let noted: Vec<_> = noted.iter().map(|(id, status)| (Box::from(*id), status.clone())).collect();
        f.store.note(&noted).await.unwrap();
    };
    let (retrying, failed) = (status("mail", Progress::Retrying, 4), status("stock", Progress::Failed, 4));
    note(&[("a", retrying.clone()), ("b", retrying), ("a", failed.clone()), ("new", failed.clone())]).await;
    let done = status("mail", Progress::Processed, 4);
    note(&[("a", done.clone())]).await;
    note(&[]).await;
    assert_eq!(ask(f, "a").await.0, [counted.clone(), done, failed.clone()]);
    assert_eq!(ask(f, "new").await.0, [failed]);
    // The mark is read with them.
    let mark = Swap { name: "publish:a".into(), expect: None, next: Some(b"mark".to_vec()), ttl_ms: Some(60_000) };
    f.store.swap(&[mark]).await.unwrap();
    assert_eq!(ask(f, "a").await.1.as_deref(), Some(&b"mark"[..]));
}

/// Of a server that shows when keys expire.
pub async fn statuses_are_kept_for_their_time(f: &Fixture) {
    if f.raw.is_none() {
        return;
    }
    let (hour, day) = (3_600_000, 24 * 3_600_000);
    let applied = [("done", status("g", Progress::Processed, 1)), ("failed", status("g", Progress::Failed, 2))];
    assert_eq!(f.apply_one(with(section(0, -1, 6, vec![]), &applied)).await, Outcome::Applied);
    let ttl = async |id: &str| f.raw(&format!("PTTL @sg:status:{id}")).await[0].parse::<i64>().unwrap();
    let about = |ttl: i64, kept: i64| (kept - 60_000..=kept).contains(&ttl);
    assert!(about(ttl("done").await, hour) && about(ttl("failed").await, day));
    // A failure of another group is kept for its day, and so is what stands beside it.
    f.store.note(&[("done".into(), status("mail", Progress::Failed, 1))]).await.unwrap();
    assert!(about(ttl("done").await, day));
    f.store.note(&[("done".into(), status("mail", Progress::Processed, 1))]).await.unwrap();
    assert!(about(ttl("done").await, day));
    // Something else in its place stops no counting.
    f.raw("SET @sg:status:other x").await;
    let beside = with(section(0, 6, 7, vec![count("c", 1)]), &[("other", status("g", Progress::Processed, 6))]);
    assert_eq!(f.apply_one(beside).await, Outcome::Applied);
    assert_eq!(f.counter("c").await, Some(1));
}
