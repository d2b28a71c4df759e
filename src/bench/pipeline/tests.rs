#![allow(clippy::unwrap_used)]

use super::*;
use std::time::Instant;

/// The figures of a scope, measured for next to no time.
fn figures(scope: Scope) -> Vec<Figure> {
    let plan = Plan { cases: scope.cases(&tunnels()), cores: 1, duration: Duration::ZERO };
    let mut figures = Vec::new();
    assert!(run(&plan, |figure| figures.push(figure)).unwrap());
    figures
}

#[test]
fn all_frames_go_where_they_are_to() {
    // `run` fails when one is lost.
    let figures = figures(Scope::Quick);
    assert_eq!(figures.len(), Scope::Quick.cases(&tunnels()).len());
    for figure in figures {
        let shares: f64 = figure.stages.iter().map(|stage| stage.share).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{}: shares are {shares} together", figure.id);
        let spread = figure.ns_per_packet;
        assert!(spread.low <= spread.median && spread.median <= spread.high, "{}", figure.id);
        assert!(figure.least_ns_per_packet <= spread.low, "{}", figure.id);
    }
}

/// The course of a case, its pool, and its traffic.
fn course(name: &str) -> (Course, Pool, Scene) {
    let cases = Scope::Quick.cases(&tunnels());
    let case = cases.iter().find(|case| case.to_string() == name).unwrap();
    let mut pool = Pool::new(Memory::new(CHUNKS, false).unwrap());
    let scene = Stock::default().scene(case, &mut pool).unwrap();
    (scene.course(1), pool, scene)
}

#[test]
fn super_frames_are_cut_and_joined_again() {
    let (mut course, mut pool, scene) = course("path/vxlan/1-route/1-flow/super-frame");
    let received = course.receive(&mut pool);
    course.pass(&mut pool, None);
    let sent = course.first.counters().emitted.get() as usize;
    assert_eq!(sent, received * scene.traffic.packets_per_frame());
    let second = course.second.as_ref().unwrap().counters();
    assert_eq!(second.received.get() as usize, sent);
    assert!(second.merged.get() > 0 && second.emitted.get() < second.received.get() / 10);
}

#[test]
fn chunks_all_come_back() {
    for case in ["decap/vxlan/1-route/1-flow/super-frame", "path/vxlan/1-route/1-flow/IMIX"] {
        let (mut course, mut pool, _scene) = course(case);
        for _ in 0..100 {
            course.receive(&mut pool);
            course.pass(&mut pool, None);
        }
        assert_eq!(course.fault(), None);
        let memory = pool.memory();
        assert_eq!(memory.unclaimed() + pool.idle(), memory.chunks() as usize, "{case}");
    }
}

#[test]
fn too_many_cores_are_refused() {
    let plan = Plan { cases: Vec::new(), cores: 100_000, duration: Duration::ZERO };
    let error = run(&plan, |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("100000 cores are asked for, and this process may use "), "{error}");
}

#[test]
fn a_watch_tells_stages_apart() {
    use pipeline::stages::StageId;
    let mut watch = Watch::new();
    watch.begin();
    watch.lap(StageId::Parse);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(5) {}
    watch.lap(StageId::Route);
    let spent = watch.take();
    assert!(spent[StageId::Route as usize] > 4e6 && spent[StageId::Decap as usize] == 0.0);
    assert!(watch.take().iter().all(|spent| *spent == 0.0), "they were taken");
}
