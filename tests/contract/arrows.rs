//! Which module may use which, read from the paths that the code names, file by file.
//!
//! A path leads to the file that declares the name. Re-exports of a module file (`pub use`) are followed to their
//! origin, so that a cycle cannot hide behind a file that only re-exports.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The modules of the service, and which others each may use. A module may always use itself.
const ROOMS: [(&str, &str); 18] = [
    ("cli", "app api clock config domain intake live pipeline postgres store telemetry"),
    ("app", "api background clock config domain jobs live oidc postgres server store telemetry"),
    ("config", "api domain intake jobs oidc server"),
    ("api", "background clock dashboard domain draw intake live pipeline store telemetry"),
    ("pipeline", "background clock domain intake store telemetry"),
    ("live", "clock domain oidc store telemetry"),
    ("jobs", "background clock domain store telemetry"),
    ("oidc", "clock domain"),
    ("store", "clock domain"),
    ("intake", "domain"),
    ("telemetry", "domain"),
    ("server", ""),
    ("domain", ""),
    ("background", ""),
    ("clock", ""),
    ("dashboard", ""),
    ("draw", ""),
    ("postgres", ""),
];

/// Words that the code of a module must not contain, where the compiler cannot ensure this.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    ("src/domain", &["axum", "sqlx", "tokio", "async ", "utoipa", "std::env"]),
    ("src/intake", &["axum", "sqlx", "utoipa", "async ", "std::env"]),
    ("src/draw", &["axum", "sqlx", "tokio", "async ", "std::env", "std::time"]),
    ("src/jobs", &["axum", "utoipa"]),
    ("src/store", &["axum", "utoipa"]),
    (
        "crates/sparsity-law/src",
        &["axum", "sqlx", "tokio", "async ", "std::env", "std::time", "std::fs", "std::net"],
    ),
];

/// The source files of a crate, by module path.
struct Sources {
    files: BTreeMap<Vec<String>, (PathBuf, String)>,
}

impl Sources {
    fn of(directory: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        let mut files = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                if path.extension().is_none_or(|extension| extension != "rs") {
                    continue;
                }
                let below = path.strip_prefix(&root).unwrap().with_extension("");
                let mut module: Vec<String> =
                    below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
                if module.last().is_some_and(|last| last == "mod") {
                    module.pop();
                }
                if module == ["lib"] {
                    module.clear();
                }
                let code = code(&std::fs::read_to_string(&path).unwrap());
                files.insert(module, (path, code));
            }
        }
        assert!(files.len() > 3, "{directory}");
        Self { files }
    }

    /// The files that each file uses, by module path.
    fn arrows(&self) -> BTreeMap<&[String], BTreeSet<&[String]>> {
        let handed_on: HashMap<&[String], Vec<Vec<String>>> = self
            .files
            .iter()
            .map(|(module, (_, code))| (module.as_slice(), handed_on(module, code)))
            .collect();
        let mut arrows = BTreeMap::new();
        for (module, (_, code)) in &self.files {
            let used = named(module, code).into_iter().chain(self.named_below(module, code));
            let used: BTreeSet<_> = used
                .filter_map(|path| self.file_of(&path, &handed_on))
                .filter(|other| *other != module.as_slice())
                .collect();
            arrows.insert(module.as_slice(), used);
        }
        arrows
    }

    /// What a module file uses of the files below it, by paths that begin with their names.
    fn named_below(&self, module: &[String], code: &str) -> Vec<Vec<String>> {
        let below = self
            .files
            .keys()
            .filter(|other| other.len() == module.len() + 1 && other.starts_with(module));
        let mut found = Vec::new();
        for name in below.filter_map(|other| other.last()) {
            let begin = format!("{name}::");
            for (at, _) in code.match_indices(&begin) {
                let before = code[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                // Re-exports are followed from those who use them.
                let line = code[..at].rfind('\n').map_or(0, |end| end + 1);
                if code[line..at].trim_start().starts_with("pub") {
                    continue;
                }
                found.push([module, std::slice::from_ref(name)].concat());
            }
        }
        found
    }

    /// The file that declares what a path names.
    fn file_of<'a>(
        &'a self,
        path: &[String],
        handed_on: &HashMap<&[String], Vec<Vec<String>>>,
    ) -> Option<&'a [String]> {
        let found = (0..=path.len())
            .rev()
            .find_map(|length| self.files.get_key_value(&path[..length]))
            .map(|(module, _)| module.as_slice())?;
        let Some(name) = path.get(found.len()) else { return Some(found) };
        let handed = handed_on.get(found)?;
        match handed.iter().find(|handed| handed.last() == Some(name)) {
            Some(handed) => self.file_of(handed, handed_on),
            None => Some(found),
        }
    }
}

/// The code of a file without comments and the tests at its end. Paths in inline modules are rewritten as the file
/// itself would write them.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    // The indents of the inline modules that contain a line.
    let mut inside: Vec<&str> = Vec::new();
    let lines = text.lines().map(|line| {
        let line = match line.find("//") {
            Some(comment) if !line[..comment].contains('"') => &line[..comment],
            _ => line,
        };
        let statement = line.trim_start();
        let indent = &line[..line.len() - statement.len()];
        if inside.last() == Some(&indent) && statement == "}" {
            inside.pop();
        }
        let outward = "super::".repeat(inside.len());
        let opens = statement.ends_with('{')
            && statement.split(" {").next().unwrap().split(' ').rev().nth(1) == Some("mod");
        if opens {
            inside.push(indent);
        }
        if outward.is_empty() {
            return line.to_owned();
        }
        // A path that leads out of the file keeps the remaining `super` steps.
        line.replace(&format!("{outward}super::"), "\0")
            .replace(&outward, "")
            .replace('\0', "super::")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The trees of a file's `use` statements, and whether each is a re-export.
fn uses(code: &str) -> Vec<(bool, &str)> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in code.split_inclusive('\n') {
        let statement = line.trim_start();
        let visible = statement.starts_with("pub");
        let words =
            if visible { statement.split_once(' ').unwrap_or_default().1 } else { statement };
        if let Some(tree) = words.strip_prefix("use ") {
            let from = start + line.len() - tree.len();
            let end = code[from..].find(';').unwrap();
            found.push((visible, &code[from..from + end]));
        }
        start += line.len();
    }
    found
}

/// What a module re-exports: paths from the crate's root.
fn handed_on(module: &[String], code: &str) -> Vec<Vec<String>> {
    let visible = uses(code).into_iter().filter(|(visible, _)| *visible);
    let paths = visible.flat_map(|(_, tree)| leaves(tree));
    // A path that begins with no keyword is below the module itself, or in another crate, for which no file is found.
    paths.map(|path| absolute(module, &path).unwrap_or_else(|| [module, &path].concat())).collect()
}

/// Every path into this crate that a module names, in `use` and elsewhere.
fn named(module: &[String], code: &str) -> Vec<Vec<String>> {
    let private = uses(code).into_iter().filter(|(visible, _)| !visible);
    let mut found: Vec<_> = private
        .flat_map(|(_, tree)| leaves(tree))
        .filter_map(|path| absolute(module, &path))
        .collect();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let end = code[at..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            let path = &code[at..][..end.unwrap_or(code.len() - at)];
            // A path before a brace is the beginning of a tree, which was read above.
            if path.ends_with(':') {
                continue;
            }
            let path: Vec<String> = path.split("::").map(str::to_owned).collect();
            found.extend(absolute(module, &path));
        }
    }
    found
}

/// `a::{b, c::{self, d}}` as a list of paths.
fn leaves(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let prefix: Vec<String> = tree[..open]
            .split("::")
            .filter(|part| !part.is_empty())
            .map(|part| part.trim().to_owned())
            .collect();
        let inner = &tree[open + 1..tree.rfind('}').unwrap()];
        let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&inner[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        parts.push(&inner[start..]);
        let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
        return parts
            .flat_map(leaves)
            .map(|path| {
                prefix
                    .iter()
                    .cloned()
                    .chain(path.into_iter().filter(|part| part != "self"))
                    .collect()
            })
            .collect();
    }
    let path = tree.split(" as ").next().unwrap_or_default();
    vec![path.split("::").map(|part| part.trim().to_owned()).collect()]
}

/// A path from the crate's root; `None` if it leads out of the crate.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            let base = module.get(..module.len().checked_sub(up)?)?;
            Some(base.iter().chain(&path[up..]).cloned().collect())
        }
        _ => None,
    }
}

/// The files of a cycle, if there is one.
fn circle(arrows: &BTreeMap<&[String], BTreeSet<&[String]>>) -> Option<Vec<String>> {
    let leads_back = |module: &[String]| {
        let mut reached = BTreeSet::new();
        let mut next = vec![module];
        while let Some(at) = next.pop() {
            next.extend(arrows[at].iter().filter(|other| reached.insert(**other)));
        }
        reached.contains(module)
    };
    let found = arrows.keys().filter(|module| leads_back(module));
    let found: Vec<_> = found.map(|module| module.join("::")).collect();
    (!found.is_empty()).then_some(found)
}

#[test]
fn no_file_uses_one_that_uses_it() {
    for directory in ["src", "crates/sparsity-law/src"] {
        let sources = Sources::of(directory);
        let arrows = sources.arrows();
        // There must be enough arrows to be sure that the paths were understood.
        assert!(arrows.values().map(BTreeSet::len).sum::<usize>() > 60, "{directory}");
        if let Some(circle) = circle(&arrows) {
            panic!("in {directory} these lead back to themselves: {circle:#?}");
        }
    }
}

#[test]
fn rooms_use_only_what_stands_below_them() {
    let sources = Sources::of("src");
    let mut seen = BTreeSet::new();
    for (module, used) in sources.arrows() {
        let Some(room) = module.first().filter(|room| *room != "main") else { continue };
        let (name, may_use) = ROOMS.iter().find(|(name, _)| name == room).unwrap_or_else(|| {
            panic!("the room {room} is not in the list: say what it may use");
        });
        for other in used {
            let Some(other) = other.first() else { continue };
            assert!(
                other == name || may_use.split(' ').any(|room| room == other),
                "{} must not use {other}",
                module.join("::")
            );
            seen.insert((*name, other.clone()));
        }
    }
    // A permission that nothing uses would let a new arrow pass unnoticed.
    let unused: Vec<_> = ROOMS
        .iter()
        .flat_map(|(name, may_use)| {
            may_use.split_whitespace().map(|other| (*name, other.to_owned()))
        })
        .filter(|arrow| !seen.contains(arrow))
        .collect();
    assert!(unused.is_empty(), "strike what is not used: {unused:?}");
}

/// `law` does not depend on `fit`.
#[test]
fn the_law_stands_below_the_fit() {
    let sources = Sources::of("crates/sparsity-law/src");
    for (module, used) in sources.arrows() {
        let above = used.iter().find(|other| other.first().is_some_and(|room| room == "fit"));
        if module.first().is_some_and(|room| room == "law") {
            assert!(above.is_none(), "{} uses {above:?}", module.join("::"));
        }
    }
}

#[test]
fn rooms_hold_no_words_of_others() {
    for (directory, words) in FORBIDDEN {
        for (path, code) in Sources::of(directory).files.values() {
            for line in code.lines() {
                for word in words {
                    assert!(!line.contains(word), "{}: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn sql_stands_in_the_store_alone_and_problems_in_the_api() {
    for (module, (path, code)) in Sources::of("src").files {
        let room = module.first().map_or("", String::as_str);
        let holds = |word: &str| code.contains(word);
        // `postgres` queries the private server itself, before there is a schema.
        if room != "store" && room != "postgres" {
            for word in ["query!", "query_as!", "query_scalar!", "sqlx::query"] {
                assert!(!holds(word), "{} holds {word}", path.display());
            }
        }
        if room != "api" {
            assert!(!holds("ApiError"), "{} holds ApiError", path.display());
        }
    }
}

/// The metric of database calls measures these spans.
#[test]
fn functions_of_the_store_have_a_span_of_their_own() {
    // Functions that open connections, migrate, or only check whether a connection is alive.
    const WITHOUT: [&str; 3] = ["connect", "migrate", "find_answer"];
    let mut spans = BTreeSet::new();
    for (module, (path, code)) in Sources::of("src").files {
        if module.first().is_none_or(|room| room != "store") {
            continue;
        }
        let mut above = "";
        for line in code.lines() {
            if let Some(function) = line.strip_prefix("pub async fn ") {
                let function = function.split(['(', '<']).next().unwrap();
                let name =
                    above.split("name = \"db.").nth(1).and_then(|name| name.split('"').next());
                match name {
                    Some(name) => assert!(spans.insert(name.to_owned()), "two spans db.{name}"),
                    None => assert!(
                        WITHOUT.contains(&function),
                        "{}: {function} has no span `db.<table>.<verb>`",
                        path.display()
                    ),
                }
            }
            above = line;
        }
    }
    assert!(spans.len() > 50, "{spans:?}");
}

#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let module = ["api", "wire"].map(str::to_owned);
    let code = code(
        "use crate::store::{self, runs::{Run, list_runs as list}}; // crate::no::comment\n\
         pub use inner::Thing;\nfn f() { crate::live::laws::find(); super::state::ask() }\n\
         mod inner {\n    use super::Mine;\n    fn g() { super::super::state::there() }\n}\n\
         #[cfg(test)]\nmod tests { use crate::no::test; }",
    );
    let paths = |paths: Vec<Vec<String>>| -> Vec<String> {
        paths.into_iter().map(|path| path.join("::")).collect()
    };
    let expected = [
        "store",
        "store::runs::Run",
        "store::runs::list_runs",
        "live::laws::find",
        "api::state::ask",
        "api::state::there",
    ];
    assert_eq!(paths(named(&module, &code)), expected);
    assert_eq!(paths(handed_on(&module, &code)), ["api::wire::inner::Thing"]);
}

#[test]
fn a_module_file_uses_what_it_names_of_the_files_below_it() {
    let file = |code: &str| (PathBuf::new(), code.to_owned());
    let module = |path: &str| -> Vec<String> { path.split("::").map(str::to_owned).collect() };
    let sources = |above: &str| Sources {
        files: BTreeMap::from([
            (module("room"), file(above)),
            (module("room::below"), file("use super::Thing;")),
        ]),
    };
    for above in ["use below::Part;", "fn f() { below::part() }"] {
        assert!(circle(&sources(above).arrows()).is_some(), "{above}");
    }
    for above in ["mod below;\npub use below::Part;", "fn f() { other::below::part() }"] {
        assert_eq!(circle(&sources(above).arrows()), None, "{above}");
    }
}

#[test]
fn a_circle_is_found() {
    let modules = ["a", "b", "c", "d"].map(|name| [name.to_owned()]);
    let [a, b, c, d] = modules.each_ref().map(<[String; 1]>::as_slice);
    let mut arrows = BTreeMap::from([
        (a, BTreeSet::from([b])),
        (b, BTreeSet::from([c])),
        (c, BTreeSet::from([d])),
        (d, BTreeSet::new()),
    ]);
    assert_eq!(circle(&arrows), None);
    arrows.insert(c, BTreeSet::from([b]));
    assert_eq!(circle(&arrows), Some(["b", "c"].map(str::to_owned).to_vec()));
}
