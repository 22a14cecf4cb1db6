//! Which user runs the server, and where its files may be.
//!
//! PostgreSQL refuses to run as root, but containers often do. So root runs the server as an unprivileged user, who
//! owns the cluster and the server's log and nothing else. The directory around them belongs to root (others can enter
//! it but not write to it), because a shared user such as `nobody` must not be able to swap the files that root opens
//! there.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown,
};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use etcetera::BaseStrategy;
use nix::unistd::{User, getegid, geteuid};

use crate::postgres::error::{PostgresError, at};

/// Root's data directory: the server's user could not enter root's home directory.
const ROOT_DATA: &str = "/var/lib/sparsity-planner";
/// Root's directory for downloaded binaries, for the same reason.
const ROOT_CACHE: &str = "/var/cache/sparsity-planner";
/// Users that root may run the server as, in order of preference; `_postgres` is the one that macOS provides.
const SERVER_USERS: [&str; 3] = ["postgres", "_postgres", "nobody"];
/// Name of the cluster inside a [`Home`].
pub(crate) const CLUSTER: &str = "cluster";

/// The user that the server and its tools run as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    uid: u32,
    gid: u32,
    /// Whether this process is root and has to switch to that user first.
    lent: bool,
}

impl Owner {
    /// The owner of `cluster` if it exists, so that its owner never changes; otherwise a user that this process can run
    /// a server as.
    fn of(cluster: &Path) -> Result<Owner, PostgresError> {
        let lent = geteuid().is_root();
        match fs::metadata(cluster) {
            Ok(found) => {
                let (uid, gid) = (found.uid(), found.gid());
                let usable = if lent { uid != 0 } else { uid == geteuid().as_raw() };
                if !usable {
                    return Err(PostgresError::ForeignCluster { path: cluster.into(), uid });
                }
                Ok(Owner { uid, gid, lent })
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(at("look at", cluster)(error))
            }
            Err(_) if lent => SERVER_USERS
                .iter()
                .find_map(|name| User::from_name(name).ok().flatten())
                .map(|user| Owner { uid: user.uid.as_raw(), gid: user.gid.as_raw(), lent })
                .ok_or(PostgresError::NoServerUser),
            Err(_) => Ok(Owner { uid: geteuid().as_raw(), gid: getegid().as_raw(), lent }),
        }
    }

    /// A command that runs `program` in `directory` as this user.
    ///
    /// It has no input, and a process group of its own, so that Ctrl-C in a terminal reaches only this program.
    /// Variables such as `PGOPTIONS` are removed, as they are meant for the caller's clients and not for this server.
    /// std drops root's supplementary groups when it changes the user id.
    pub(crate) fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(directory).stdin(Stdio::null()).process_group(0).env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if self.lent {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Makes this user the owner of `path`.
    pub(crate) fn give(&self, path: &Path) -> Result<(), PostgresError> {
        if self.lent {
            chown(path, Some(self.uid), Some(self.gid)).map_err(at("change the owner of", path))?;
        }
        Ok(())
    }

    /// Whether this user can enter `directory`. The system is asked, because access lists, mounts and security modules
    /// make a guess from the mode bits unreliable.
    fn can_enter(&self, directory: &Path) -> Result<bool, PostgresError> {
        let shell = Path::new("/bin/sh");
        self.command(shell, Path::new("/"))
            .args(["-c", "test -x \"$0\""])
            .arg(directory)
            .status()
            .map(|status| status.success())
            .map_err(at("run", shell))
    }
}

/// The directory `<data_dir>/postgres` with everything that belongs to one private server.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) directory: PathBuf,
    pub(crate) owner: Owner,
}

impl Home {
    /// Creates or finds the home below `data_dir`, or below the platform's data directory.
    ///
    /// As root, a place that the server's user cannot enter (for example below `/root`) is replaced by one under
    /// `/var/lib`, also later, once a cluster exists there.
    pub(crate) fn prepare(data_dir: Option<&Path>) -> Result<Home, PostgresError> {
        let data_dir = match data_dir {
            Some(chosen) => chosen.to_owned(),
            None if geteuid().is_root() => ROOT_DATA.into(),
            None => user_directories()?.data_dir().join("sparsity-planner"),
        };
        let (home, canonical) = Home::create(&data_dir)?;
        if !home.owner.lent {
            return Ok(home);
        }
        if home.has_cluster() {
            return home.entered();
        }
        let elsewhere = Path::new(ROOT_DATA).join(stable_hash(&canonical));
        let moved_before = elsewhere.join("postgres").join(CLUSTER).exists();
        if !moved_before && home.owner.can_enter(&home.directory)? {
            return Ok(home);
        }
        // Succeeds only for an empty directory, which can only be the one created above.
        let _ = fs::remove_dir(&home.directory);
        let (replacement, _) = Home::create(&elsewhere)?;
        tracing::warn!(
            chosen = %canonical.display(), used = %replacement.directory.display(), moved_before,
            "the database is not kept in the chosen data directory, which its unprivileged user cannot (or could not) enter"
        );
        replacement.entered()
    }

    /// Returns the home if its owner can enter it.
    fn entered(self) -> Result<Home, PostgresError> {
        if self.owner.can_enter(&self.directory)? {
            return Ok(self);
        }
        Err(PostgresError::Unreachable { path: self.directory, uid: self.owner.uid })
    }

    /// Creates the home below `data_dir`; also returns `data_dir` with symbolic links resolved.
    fn create(data_dir: &Path) -> Result<(Home, PathBuf), PostgresError> {
        let root = geteuid().is_root();
        if !data_dir.exists() {
            fs::create_dir_all(data_dir).map_err(at("create", data_dir))?;
            if root {
                // With a strict umask, the server's user could not enter it.
                set_mode(data_dir, 0o755)?;
            }
        }
        let canonical = data_dir.canonicalize().map_err(at("resolve", data_dir))?;
        let directory = canonical.join("postgres");
        if !directory.exists() {
            match DirBuilder::new().mode(0o700).create(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(at("create", &directory)(error));
                }
                _ => set_mode(&directory, if root { 0o711 } else { 0o700 })?,
            }
        }
        let owner = Owner::of(&directory.join(CLUSTER))?;
        Ok((Home { directory, owner }, canonical))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn has_cluster(&self) -> bool {
        self.path(CLUSTER).exists()
    }

    /// Opens the private file `name`, emptying it if `fresh`.
    ///
    /// The file gets the owner of the directory, so that after one run as root, a later run by that user can open it.
    pub(crate) fn open(&self, name: &str, fresh: bool) -> Result<File, PostgresError> {
        let path = self.path(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(fresh)
            .mode(0o600)
            .open(&path)
            .map_err(at("open", &path))?;
        if self.owner.lent {
            let around = fs::metadata(&self.directory).map_err(at("look at", &self.directory))?;
            fchown(&file, Some(around.uid()), Some(around.gid()))
                .map_err(at("change the owner of", &path))?;
        }
        Ok(file)
    }
}

/// The directory for downloaded binaries.
pub(crate) fn cache_directory() -> Result<PathBuf, PostgresError> {
    if geteuid().is_root() {
        return Ok(ROOT_CACHE.into());
    }
    Ok(user_directories()?.cache_dir().join("sparsity-planner"))
}

/// Sets the permission bits of `path`, regardless of the umask.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), PostgresError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at("set the mode of", path))
}

/// Removes what interrupted runs left in `directory`: everything whose name starts with `prefix`. Failures are ignored,
/// since such names are never used twice.
pub(crate) fn remove_leftovers(directory: &Path, prefix: &str) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let path = entry.path();
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }
}

fn user_directories() -> Result<impl BaseStrategy, PostgresError> {
    etcetera::base_strategy::choose_native_strategy().map_err(|_| PostgresError::NoHomeDirectory)
}

/// FNV-1a, because std's hashers may change between releases and the name must not.
fn stable_hash(path: &Path) -> String {
    let hash =
        path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
}
