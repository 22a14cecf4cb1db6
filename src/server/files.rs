//! Limit on the open files of the process; every connection is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files besides client connections: those to the database and for traces, files of uploads, and the program's
/// own.
const BESIDE: u64 = 256;

/// Raises the soft limit on open files to what this many connections need, as far as the hard limit allows. Systems set
/// the soft limit to 1024 for the sake of programs that use `select`.
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
