//! A private PostgreSQL for tests.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::support::PROGRAM;

/// A private server. It stops when our end of its standard input closes, however this process ends, and then deletes
/// its directory.
pub struct Server {
    pub url: String,
    child: Child,
}

impl Server {
    pub fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("sparsity-planner-test-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap()
            .keep();
        let script = r#""$1" --log warn postgres --data-dir "$2" sh -c 'echo "$DATABASE_URL"; cat'; rm -rf "$2""#;
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", PROGRAM])
            .arg(&directory)
            // Ctrl-C ends the tests; the server must outlive them to clean up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("postgres://"), "the private PostgreSQL did not start");
        Self { url: url.trim().to_owned(), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
