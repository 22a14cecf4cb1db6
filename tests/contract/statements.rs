//! What Citus requires of every statement and migration, checked on plain PostgreSQL. `docs/scaling.md` describes the
//! layout, in which `runs` and `forecasts` are distributed by family.
//!
//! A statement is read scope by scope: each subquery in brackets is a separate scope.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

/// Tables that are distributed by family, and the view of both.
const BY_FAMILY: [&str; 3] = ["runs", "forecasts", "forecast_scores"];
/// Tables that are distributed by law.
const BY_LAW: [&str; 2] = ["law_runs", "law_resamples"];
/// Tables that also lie on other nodes than the coordinator: a statement that reads one may run there.
const ON_OTHER_NODES: [&str; 7] =
    ["families", "laws", "runs", "forecasts", "forecast_scores", "law_runs", "law_resamples"];
/// System columns, which partitioned tables do not have.
const SYSTEM: [&str; 6] = ["xmin", "xmax", "cmin", "cmax", "ctid", "tableoid"];
/// Functions whose values differ between nodes.
const VOLATILE: [&str; 8] = [
    "clock_timestamp",
    "timeofday",
    "random",
    "gen_random_uuid",
    "uuidv4",
    "uuidv7",
    "nextval",
    "setval",
];
/// The last migration before this rule.
const BEFORE: &str = "20261130120000";

/// The last migration that changed an index together with something else.
const ALONE: &str = "20261130170000";

/// A statement as a list of words: names with their qualifiers, numbers, and signs.
fn words(sql: &str) -> Vec<String> {
    let code: String =
        sql.lines().map(|line| line.split("--").next().unwrap().to_owned() + "\n").collect();
    let mut words = Vec::new();
    let mut quoted = false;
    let mut word = String::new();
    for c in code.chars() {
        // Texts do not name tables.
        if c == '\'' {
            quoted = !quoted;
            continue;
        }
        if quoted {
            continue;
        }
        if c.is_alphanumeric() || "_.$".contains(c) {
            word.push(c.to_ascii_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if "(),=;*".contains(c) {
            words.push(c.to_string());
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// The scopes of a statement: itself, and each subquery.
fn scopes(words: &[String]) -> Vec<Vec<String>> {
    let mut done = Vec::new();
    let mut open: Vec<(Vec<String>, bool)> = vec![(Vec::new(), true)];
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).map_or("", String::as_str);
        match word.as_str() {
            "(" => {
                let begins = ["select", "insert", "update", "delete", "with"].contains(&next);
                open.last_mut().unwrap().0.push("(".to_owned());
                open.push((Vec::new(), begins));
            }
            ")" if open.len() > 1 => {
                let (inner, is_scope) = open.pop().unwrap();
                let outer = &mut open.last_mut().unwrap().0;
                if is_scope {
                    done.push(inner);
                } else {
                    outer.extend(inner);
                }
                outer.push(")".to_owned());
            }
            _ => open.last_mut().unwrap().0.push(word.clone()),
        }
    }
    done.extend(open.into_iter().map(|(scope, _)| scope));
    done
}

/// What is wrong with a statement.
fn wrong(sql: &str) -> Vec<String> {
    let words = words(sql);
    let mut found = Vec::new();
    for word in &words {
        let name = word.rsplit('.').next().unwrap();
        if SYSTEM.contains(&name) {
            found.push(format!("{name} is a column of the system"));
        }
    }
    if words.windows(2).any(|pair| pair == ["select", "from"]) {
        found.push("SELECT without a column: SELECT 1 FROM".to_owned());
    }
    let reads = |pair: &[String]| {
        ["from", "join", "into", "update", "using"].contains(&pair[0].as_str())
            && ON_OTHER_NODES.contains(&pair[1].as_str())
    };
    if words.iter().any(|word| word == "pg_notify") && words.windows(2).any(reads) {
        found.push("announces from where nobody listens".to_owned());
    }
    let is_write = |at: usize| {
        let before = at.checked_sub(1).map_or("", |at| words[at].as_str());
        match words[at].as_str() {
            "insert" | "delete" => true,
            // FOR UPDATE, FOR NO KEY UPDATE.
            "update" => !["for", "key"].contains(&before),
            _ => false,
        }
    };
    if (0..words.len()).any(is_write) {
        for pair in words.windows(2) {
            if VOLATILE.contains(&pair[0].as_str()) && pair[1] == "(" {
                found.push(format!("{} in what writes", pair[0]));
            }
        }
    }
    if words.windows(3).any(|three| three == ["lateral", "(", "select"])
        && BY_FAMILY.iter().any(|table| words.iter().any(|word| word == table))
    {
        found.push("runs or forecasts in a lateral subquery".to_owned());
    }
    let named = |words: &[String], tables: &[&str]| {
        words.iter().any(|word| tables.contains(&word.as_str()))
    };
    for scope in scopes(&words) {
        found.extend(without_family(&scope));
        // Results of a WITH may be joined: they are sent to the node that needs them.
        if named(&scope, &BY_LAW) && named(&scope, &BY_FAMILY) {
            found.push("tables that lie by law beside some that lie by family".to_owned());
        }
    }
    if words.first().is_some_and(|word| word == "insert")
        && named(&words, &["exists"])
        && named(&words, &BY_FAMILY)
    {
        found.push("a row that is stored on a condition".to_owned());
    }
    found
}

/// Tables distributed by family that a scope reads or writes without naming the family.
fn without_family(scope: &[String]) -> Vec<String> {
    let word = |at: usize| scope.get(at).map_or("", String::as_str);
    let mut found = Vec::new();
    let named: BTreeSet<&str> = scope
        .windows(2)
        .flat_map(|pair| match (pair[0].as_str(), pair[1].as_str()) {
            // Equal to a value, or to one of several.
            (name, "=") | ("=", name) if name.ends_with("family_id") => Some(name),
            _ => None,
        })
        .collect();
    let is_read = |pair: &&[String]| {
        ["from", "join", "update", "using"].contains(&pair[0].as_str())
            && BY_FAMILY.contains(&pair[1].as_str())
    };
    let is_one = scope.windows(2).filter(is_read).count() == 1;
    for at in 0..scope.len() {
        let table = word(at + 1);
        if !["from", "join", "into", "update", "using"].contains(&word(at))
            || !BY_FAMILY.contains(&table)
        {
            continue;
        }
        if word(at) == "into" {
            let end =
                scope[at..].iter().position(|word| word == ")").map_or(scope.len(), |end| at + end);
            if !scope[at..end].iter().any(|word| word == "family_id") {
                found.push(format!("INSERT INTO {table} without family_id"));
            }
            let conflict = scope[at..].windows(2).position(|pair| pair == ["on", "conflict"]);
            if let Some(conflict) = conflict.map(|conflict| at + conflict) {
                let target = &scope[conflict..(conflict + 6).min(scope.len())];
                if !target.iter().any(|word| word.contains("family_id")) {
                    found.push(format!("a conflict in {table} without the family: {target:?}"));
                }
            }
            continue;
        }
        let alias = match word(at + 2) {
            "as" => word(at + 3),
            _ => table,
        };
        // If the scope has a single table, its column needs no qualifier.
        let of_it = format!("{alias}.family_id");
        let is_named = named.contains(of_it.as_str()) || (is_one && named.contains("family_id"));
        if !is_named {
            found.push(format!("{table} without its family"));
        }
    }
    found
}

#[test]
fn every_statement_names_the_family_and_is_the_same_on_every_node() {
    let mut seen = 0;
    let mut found = Vec::new();
    for entry in fs::read_dir(".sqlx").unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let query: Value = serde_json::from_str(&text).unwrap();
        let sql = query["query"].as_str().unwrap();
        found.extend(wrong(sql).into_iter().map(|why| format!("{why}: {sql}")));
        seen += 1;
    }
    assert!(seen > 60, "{seen}");
    // Statements that are put together at run time are not among those.
    let staging = fs::read_to_string("src/store/staging.rs").unwrap();
    assert!(SYSTEM.iter().all(|column| !staging.contains(&format!(" {column}"))));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_rules_find_what_they_are_for() {
    for (sql, why) in [
        ("INSERT INTO runs (id, family_id) VALUES ($1, $2) RETURNING xmax = 0", "xmax"),
        ("SELECT id FROM laws LEFT JOIN runs ON runs.id = laws.id", "runs without"),
        ("SELECT EXISTS (SELECT 1 FROM runs WHERE id = $1)", "runs without"),
        ("SELECT 1 WHERE EXISTS (SELECT FROM families)", "SELECT without"),
        ("UPDATE refits SET lease_expires_at = clock_timestamp() WHERE id = $1", "clock_timestamp"),
        ("INSERT INTO runs (id, loss) VALUES ($1, $2)", "without family_id"),
        (
            "INSERT INTO runs (id, family_id) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
            "conflict",
        ),
        ("DELETE FROM runs WHERE id = $1", "runs without"),
        (
            "SELECT 1 FROM laws LEFT JOIN LATERAL (SELECT count(*) FROM runs WHERE runs.family_id = laws.family_id) AS a ON true",
            "lateral",
        ),
        (
            "SELECT runs.loss FROM law_runs JOIN runs ON runs.family_id = $1 AND runs.id = law_runs.run_id[1]",
            "by law beside",
        ),
        (
            "INSERT INTO forecasts (id, family_id) SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM runs WHERE family_id = $2)",
            "on a condition",
        ),
        ("SELECT pg_notify('laws', name) FROM families WHERE id = $1", "nobody listens"),
        (
            "SELECT 1 FROM runs AS a JOIN runs AS b ON b.id = a.id WHERE a.family_id = $1",
            "runs without",
        ),
    ] {
        let found = wrong(sql);
        assert!(found.len() == 1 && found[0].contains(why), "{sql}: {found:?}");
    }
    for sql in [
        "WITH refit AS (INSERT INTO refits (id) VALUES ($1) RETURNING id) SELECT pg_notify('refits', id::text) FROM refit",
        "SELECT clock_timestamp() -- runs, of which xmin says nothing",
        "SELECT loss FROM runs WHERE family_id = $1 AND id = $2 FOR NO KEY UPDATE",
        "SELECT 1 FROM laws LEFT JOIN runs ON runs.family_id = $2 AND runs.id = laws.id",
        "INSERT INTO runs (id, family_id) VALUES ($1, $2) ON CONFLICT (family_id, external_id) DO NOTHING",
    ] {
        assert_eq!(wrong(sql), [""; 0], "{sql}");
    }
}

/// A change of a distributed table is applied to its shards one by one.
#[test]
fn a_migration_changes_one_thing_a_statement() {
    let mut seen = 0;
    for entry in fs::read_dir("migrations").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.as_str() < BEFORE {
            continue;
        }
        seen += 1;
        let words = words(&fs::read_to_string(&path).unwrap());
        let statements = words.split(|word| word == ";").filter(|statement| !statement.is_empty());
        let indexes = |statement: &&[String]| statement.iter().any(|word| word == "index");
        // The coordinator sends its workers the whole text that contains a change of an index, as one statement.
        // Older migrations only concern tables on the coordinator.
        if name.as_str() > ALONE && statements.clone().any(|statement| indexes(&statement)) {
            assert_eq!(statements.clone().count(), 1, "{name}");
        }
        for statement in statements {
            if statement.starts_with(&["alter".to_owned(), "table".to_owned()]) {
                let mut depth = 0;
                for word in statement {
                    depth += i32::from(word == "(") - i32::from(word == ")");
                    assert!(depth > 0 || word != ",", "{name}: {statement:?}");
                }
            }
        }
    }
    assert!(seen > 0);
}
