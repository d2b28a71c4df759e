//! Signals to stop, for commands that have something to put right or to tell before they end.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the first SIGINT, SIGTERM or SIGHUP once [`catch`] ran.
static RAISED: AtomicBool = AtomicBool::new(false);

/// From here on a signal to stop is only noted, for [`is_raised`], instead of ending the process.
///
/// # Errors
/// When the kernel does not let us.
pub fn catch() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _context = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
            .map(signal)
            .into_iter()
            .collect::<io::Result<Vec<_>>>()?
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            let waits = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
            futures::future::select_all(waits).await;
            RAISED.store(true, Ordering::Relaxed);
            std::future::pending::<()>().await;
        });
    })?;
    Ok(())
}

/// Whether the user asked to stop.
pub fn is_raised() -> bool {
    RAISED.load(Ordering::Relaxed)
}
