//! What happens in a scenario: `in.txt`, line by line.

/// Something that happens.
pub(crate) struct Step {
    /// Its line.
    pub(crate) line: String,
    /// Whether it is in one batch with the frame before.
    pub(crate) together: bool,
    pub(crate) event: Event,
}

/// What happens.
pub(crate) enum Event {
    /// A frame comes in by a port, `count` times.
    Frame { port: String, count: usize, offload: Option<Offload>, bytes: Vec<u8> },
    /// Time passes, in nanoseconds.
    Wait(u64),
    /// What was learned about pods' MACs is forgotten.
    Forget,
    /// The config is loaded again as it is, or another one in its place: this file of the folder.
    Reload(Option<String>),
    /// The worker ends.
    Close,
}

/// What a pod's kernel leaves to its device.
#[derive(Clone, Copy)]
pub(crate) enum Offload {
    /// The L4 checksum.
    Checksum,
    /// That, and to cut the packet into segments of so many bytes of payload.
    Segments(u16),
}

/// Reads an `in.txt`. An error begins with the number of its line.
pub(crate) fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    let mut numbers = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let fail = |what: String| format!("{}: {what}", i + 1);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with(' ') {
            let hex = line.trim();
            let Some(Event::Frame { bytes, .. }) = steps.last_mut().map(|s| &mut s.event) else {
                return Err(fail("bytes without a frame".into()));
            };
            bytes.extend(unhex(hex).ok_or_else(|| fail(format!("{hex:?} is not hex")))?);
            continue;
        }
        let step = step(line).ok_or_else(|| fail(format!("{line:?} is no step")))?;
        let after_frame = steps.last().is_some_and(|s| matches!(s.event, Event::Frame { .. }));
        if step.together && !after_frame {
            return Err(fail("there is no frame before to be in one batch with".into()));
        }
        steps.push(step);
        numbers.push(i + 1);
    }
    for (step, line) in steps.iter().zip(numbers) {
        if matches!(&step.event, Event::Frame { bytes, .. } if bytes.is_empty()) {
            let what = "expected the frame's bytes in hex below: run tests/scenarios/frames.py";
            return Err(format!("{line}: {what}"));
        }
    }
    Ok(steps)
}

/// `wait N ms`, `forget`, `reload [FILE]`, `close`, or `[+ ][Nx ]PORT[ csum][ gso N] < what it is`.
fn step(line: &str) -> Option<Step> {
    let words: Vec<_> = line.split_whitespace().collect();
    let event = match words[..] {
        ["wait", n, "ms"] => Event::Wait(n.parse::<u64>().ok()? * 1_000_000),
        ["forget"] => Event::Forget,
        ["reload"] => Event::Reload(None),
        ["reload", file] => Event::Reload(Some(file.to_owned())),
        ["close"] => Event::Close,
        _ => return frame(line),
    };
    Some(Step { line: line.into(), together: false, event })
}

fn frame(line: &str) -> Option<Step> {
    let (front, _) = line.split_once(" < ")?;
    let (together, front) = match front.strip_prefix("+ ") {
        Some(rest) => (true, rest),
        None => (false, front),
    };
    let mut words = front.split_whitespace().peekable();
    let count = words.peek().and_then(|word| word.strip_suffix('x')?.parse().ok());
    if count.is_some() {
        words.next();
    }
    let port = words.next()?.to_owned();
    let offload = match (words.next(), words.next()) {
        (None, _) => None,
        (Some("csum"), None) => Some(Offload::Checksum),
        (Some("gso"), Some(size)) => Some(Offload::Segments(size.parse().ok()?)),
        _ => return None,
    };
    let event = Event::Frame { port, count: count.unwrap_or(1), offload, bytes: Vec::new() };
    words.next().is_none().then(|| Step { line: line.into(), together, event })
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())).collect()
}
