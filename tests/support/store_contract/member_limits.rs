//! Members that cannot be, groups that are full, groups that were lost.

use super::{
    members::{beat, leases, members, send, stepping},
    *,
};
use streamgauge::{
    core::roster::{MAX_ABOUT_BYTES, MAX_LEASES, MAX_MEMBERS, MAX_SESSION_TIMEOUT_MS, MAX_STEPS},
    model::{
        Beat,
        LeaseStep::{Claim, Release},
    },
    store::StoreError,
};

pub async fn what_cannot_be_a_member_is_refused(f: &Fixture) {
    let kept = send(f, beat("a")).await;
    let long_name = "x".repeat(65);
    for member in ["", "a b", "a\n", "ä", "a\0", "a:b", long_name.as_str()] {
        let error = f.store.beat(&beat(member), &[]).await.unwrap_err();
        assert!(matches!(&error, StoreError::Refused { .. }), "{member:?}: {error}");
    }
    let loud = Beat { about: Some(vec![0; MAX_ABOUT_BYTES + 1]), ..beat("b") };
    let patient = Beat { session_timeout_ms: MAX_SESSION_TIMEOUT_MS + 1, ..beat("b") };
    for beat in [loud, patient] {
        assert!(matches!(f.store.beat(&beat, &[]).await, Err(StoreError::Refused { .. })));
    }
    let after = send(f, beat("a")).await;
    assert_eq!((after.version, after.roster), (kept.version, kept.roster));
    let edges = Beat { about: Some(vec![0; MAX_ABOUT_BYTES]), session_timeout_ms: MAX_SESSION_TIMEOUT_MS, ..beat("b") };
    assert!(send(f, Beat { member: long_name[..64].into(), ..edges }).await.is_new);
}

pub async fn members_and_leases_have_caps(f: &Fixture) {
    let mut version = 0;
    for number in 0..MAX_MEMBERS {
        version = send(f, beat(&format!("m{number}"))).await.version;
    }
    let error = f.store.beat(&stepping("late", &[(0, Claim)]), &[]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused { .. }) && error.to_string().contains("stop some"), "{error}");
    assert_eq!(send(f, Beat { known_version: Some(version), ..beat("m0") }).await.roster, None);
    let known = |version, member| Beat { known_version: Some(version), ..beat(member) };
    let claims = |from: usize, count| (from..from + count).map(|number| (partition(number as i32), Claim)).collect();
    // Steps beyond the cap are left for the next beat.
    let beaten = send(f, Beat { steps: claims(0, MAX_STEPS + 1), ..beat("m0") }).await;
    assert_eq!(beaten.roster.unwrap().leases.len(), MAX_STEPS);
    for from in (MAX_STEPS..MAX_LEASES).step_by(MAX_STEPS) {
        send(f, Beat { steps: claims(from, MAX_STEPS), ..beat("m0") }).await;
    }
    let full = send(f, Beat { steps: claims(MAX_LEASES, 2), ..beat("m1") }).await;
    assert_eq!(full.roster.unwrap().leases.len(), MAX_LEASES);
    let steps = [(0, Release), (1, Release)].map(|(number, step)| (partition(number), step)).to_vec();
    let version = send(f, Beat { steps, ..known(full.version, "m0") }).await.version;
    let room = send(f, Beat { steps: claims(MAX_LEASES, 3), ..known(version, "m1") }).await;
    assert_eq!(room.roster.unwrap().leases.len(), MAX_LEASES);
}

pub async fn a_group_that_was_lost_begins_anew(f: &Fixture) {
    if f.raw.is_none() {
        return;
    }
    // All of it, and then each part of it alone, as an eviction might.
    let whole = "DEL @sg:{group:g}:sessions @sg:{group:g}:members @sg:{group:g}:leases @sg:{group:g}:version";
    for command in [whole, "DEL @sg:{group:g}:sessions", "DEL @sg:{group:g}:members"] {
        send(f, beat("b")).await;
        let before = send(f, stepping("a", &[(0, Claim)])).await;
        f.raw(command).await;
        let back = send(f, Beat { known_version: Some(before.version), ..beat("a") }).await;
        assert!(back.is_new && back.version > before.version, "{command}: {back:?}");
        let roster = back.roster.unwrap();
        assert_eq!((members(&roster), leases(&roster)), (vec!["a"], vec![]), "{command}");
    }
    // What is no lease is nobody's.
    f.raw("HSET @sg:{group:g}:leases video.views:0 x\ny video.views:1 ").await;
    let mended = send(f, stepping("a", &[(0, Claim), (1, Claim)])).await;
    assert_eq!(leases(&mended.roster.unwrap()), ["0: a", "1: a"]);
}
