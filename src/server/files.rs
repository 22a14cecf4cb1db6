//! How many files the process may have open: every connection is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What is open beside connections of clients: those to the database and to traces, files of uploads, the program's own.
const BESIDE: u64 = 256;

/// Raises the soft limit of open files to what so many connections need, as far as the hard limit allows. Systems set
/// the soft one to 1024 for programs that cannot count further.
pub(crate) fn raise_file_limit(connections: usize) {
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(BESIDE);
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let limit = needed.min(hard);
        if soft < limit {
            setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?;
        }
        Ok(soft.max(limit))
    });
    match raised {
        Ok(limit) if limit >= needed => {}
        Ok(limit) => tracing::warn!(
            limit,
            needed,
            "the system allows fewer open files than --max-connections needs: raise the hard limit (ulimit -Hn, \
             LimitNOFILE= of systemd), or lower --max-connections"
        ),
        Err(error) => tracing::warn!(%error, "the limit of open files is not known"),
    }
}
