//! All stages, and each alone: the cases of `cableway bench pipeline`, as criterion has them, to be
//! compared with those of an earlier build. Figures are of one frame.
//!
//! Whole ways are named as there, `encap/vxlan/1M-routes/64k-flows-uniform/64B`; a stage's part of
//! one is `stage/route/encap/vxlan/…`. Timed is what is timed there.

use cableway::bench::pipeline::{Action, Case, Course, Mix, Size, Stock, Watch, tunnels};
use criterion::{Criterion, criterion_group, criterion_main};
use pipeline::frame::{Memory, Pool};
use pipeline::stages::STAGES;
use std::time::{Duration, Instant};

criterion_main!(benches);
criterion_group!(benches, ways);

fn ways(c: &mut Criterion) {
    let mut pool = Pool::new(Memory::new(1 << 14, true).expect("memory"));
    let mut stock = Stock::default();
    for case in cases() {
        let scene = stock.scene(&case, &mut pool).expect("all frames go where they are to");
        let mut course = scene.course(1);
        whole(c, &case, &mut course, &mut pool);
        stages(c, &case, &mut course, &mut pool);
        assert_eq!(course.fault(), None, "{case}");
    }
}

/// Few routes, and many; as a test only few.
fn cases() -> Vec<Case> {
    let is_whole = std::env::args().any(|argument| argument == "--bench");
    let many = if is_whole { (1_000_000, 1 << 16) } else { (100, 100) };
    let mut cases = Vec::new();
    for (routes, flows) in [(1, 1), many] {
        for action in Action::ALL {
            let tunnels: Vec<_> = match action {
                Action::Route => vec![None],
                _ => tunnels().into_iter().map(|name| Some(name.to_owned())).collect(),
            };
            cases.extend(tunnels.into_iter().map(|tunnel| Case {
                action,
                tunnel,
                routes,
                flows,
                mix: Mix::Uniform,
                size: Size::Small,
            }));
        }
    }
    cases
}

fn whole(c: &mut Criterion, case: &Case, course: &mut Course, pool: &mut Pool) {
    c.bench_function(&case.to_string(), |b| {
        b.iter_custom(|iterations| {
            let (mut time, mut frames) = (Duration::ZERO, 0);
            while frames < iterations {
                frames += course.receive(pool) as u64;
                let start = Instant::now();
                course.pass(pool, None);
                time += start.elapsed();
            }
            time.mul_f64(iterations as f64 / frames as f64)
        });
    });
}

fn stages(c: &mut Criterion, case: &Case, course: &mut Course, pool: &mut Pool) {
    let mut watch = Watch::new();
    for (i, stage) in STAGES.iter().enumerate() {
        c.bench_function(&format!("stage/{}/{case}", stage.name), |b| {
            b.iter_custom(|iterations| {
                let mut frames = 0;
                watch.take();
                while frames < iterations {
                    frames += course.receive(pool) as u64;
                    watch.begin();
                    course.pass(pool, Some(&mut watch));
                }
                let nanoseconds = watch.take()[i] * iterations as f64 / frames as f64;
                // Criterion takes no zero.
                Duration::from_nanos(nanoseconds as u64).max(Duration::from_nanos(1))
            });
        });
    }
}
