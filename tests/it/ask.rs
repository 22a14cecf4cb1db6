//! The command `ask`, which asks a running service, as a pipeline uses it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

use serde_json::Value;

use crate::support::process::{Process, planner, script, succeeded};
use crate::support::{PROGRAM, empty_database};

const OPTIMUM: &str =
    "optimal-sparsity --family t5-c4 --nonzero-params 1e8 --compute 1e20 --flop-mode sparse";

/// Runs `ask` against a service, with the arguments separated by spaces.
fn ask(base: &str, key: Option<&str>, arguments: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("ask").args(arguments.split(' ')).env("SPARSITY_PLANNER_URL", base);
    match key {
        Some(key) => command.env("SPARSITY_PLANNER_KEY", key),
        None => command.env_remove("SPARSITY_PLANNER_KEY"),
    };
    command.output().unwrap()
}

/// Exit code, standard output and standard error.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn an_answer_is_one_sentence_or_json_and_doubts_stop_a_pipeline() {
    let service = Process::serve(&empty_database().await, &[]).await;
    script(
        service.base(),
        "post() { curl -sS --fail-with-body -X POST -H 'Content-Type: application/json' \"$@\"; }
         post -d '{\"name\": \"mine\", \"data_unit\": \"tokens\"}' $BASE/v1/families
         post --data-binary @examples/demo-runs.json $BASE/v1/families/mine/runs
         id=$(post -o /dev/null -w '%header{location}' -d '{\"bootstrap\": 100, \"holdout\": []}' $BASE/v1/families/mine/refits)
         curl -sS $BASE$id/events",
    );
    let optimum = OPTIMUM.replace("t5-c4", "mine");
    let ask = |arguments: &str| told(&ask(service.base(), None, arguments));

    let (code, text, errors) = ask(&optimum);
    assert_eq!((code, errors.as_str()), (0, ""));
    let (sentence, caveats) = text.split_once('\n').unwrap();
    let begin =
        "The best sparsity of 1e8 non-zero parameters trained with 1e20 FLOPs in mode sparse is 0.";
    assert!(sentence.starts_with(begin), "{sentence}");
    assert!(sentence.contains(" (95 % interval 0."), "{sentence}");
    assert!(sentence.ends_with(" dense, says law 1 of mine (fitted)."), "{sentence}");
    assert!(caveats.contains("extrapolation: nonzero_params is above the runs"), "{caveats}");
    // The trust level comes first, then the reasons and what concerns this answer, and last, in one line, what
    // concerns the law.
    let lines: Vec<&str> = caveats.lines().collect();
    assert!(lines[0].starts_with("trust: "), "{caveats}");
    let standing: Vec<&&str> = lines.iter().filter(|line| line.starts_with("on the law")).collect();
    assert_eq!(standing, [lines.last().unwrap()], "{caveats}");
    let address = format!("in words at {}/v1/families/mine/laws/1", service.base());
    assert!(standing[0].ends_with(&address) && standing[0].contains("narrow_data"), "{caveats}");
    assert!(caveats.contains("\nnote: no run has a sparsity between "), "{caveats}");

    let (code, text, _) = ask(&format!("{optimum} --json"));
    let answer: Value = serde_json::from_str(&text).unwrap();
    let query = "nonzero_params=1e8&compute=1e20&flop_mode=sparse";
    let url =
        format!("curl -sS $BASE/v1/families/mine/optimal-sparsity?{query}").replace('&', "\\&");
    assert_eq!((code, text.trim_end()), (0, script(service.base(), &url).as_str()));

    let (code, text, errors) = ask(&format!("{optimum} --max-sparsity 0.25"));
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(text.contains(" in mode sparse is 0.25"), "{text}");
    assert!(text.contains(", as much as max_sparsity allows, for a loss of "), "{text}");
    script(
        service.base(),
        "curl -sS --fail-with-body -o /dev/null -H 'Content-Type: application/json' \
         -d '{\"name\": \"own\", \"cost\": {\"points\": [[0.5, 0.8]]}, \"patterns\": [\"1:2\"], \"flops_per_second\": 1e15, \"devices\": 2}' \
         $BASE/v1/hardware-profiles",
    );
    let (code, text, errors) =
        ask(&optimum.replace("--compute 1e20 --flop-mode sparse", "--days 2 --flop-mode own"));
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(
        text.contains("trained with 2 days of all devices (3.456e20 FLOPs) in mode own"),
        "{text}"
    );
    assert!(text.contains("Of the patterns, 1:2 is best, for a loss of "), "{text}");
    let (code, _, errors) =
        ask(&optimum.replace("--compute 1e20 --flop-mode sparse", "--cost 2 --flop-mode own"));
    assert_eq!(code, 1);
    assert!(errors.contains("price_per_hour"), "{errors}");

    let factor = answer["extrapolation"].as_array().unwrap().iter();
    let factor = factor.map(|found| found["factor"].as_f64().unwrap()).fold(0.0, f64::max);
    let end = |name: &str| answer["interval"][name].as_f64().unwrap();
    let width = end("high") - end("low");
    for (limits, expected) in [
        (format!("--max-extrapolation {}", factor * 1.01), 0),
        (format!("--max-extrapolation {}", factor * 0.99), 2),
        (format!("--max-interval {}", width * 1.01), 0),
        (format!("--max-interval {}", width * 0.99), 2),
    ] {
        let (code, text, errors) = ask(&format!("{optimum} {limits}"));
        assert_eq!(code, expected, "{limits}: {errors}");
        assert!(text.starts_with(begin));
        assert_eq!(errors.contains("not to be relied on: "), expected == 2, "{errors}");
    }

    let (code, text, _) = ask(
        "prediction --family mine --nonzero-params 5e7 --sparsity 0.75 --data 3e10 --no-intervals",
    );
    let begin = "The loss of 5e7 non-zero parameters at a sparsity of 0.75, trained on 3e10 of data, will be ";
    assert_eq!((code, text.starts_with(begin)), (0, true), "{text}");
    assert!(!text.contains("% interval"), "{text}");
    assert!(text.contains("trust: weak, because of "), "{text}");
    let (code, text, _) = ask(
        "prediction --family mine --nonzero-params 5e7 --sparsity 0.75 --compute 1e19 --flop-mode sparse",
    );
    assert_eq!((code, text.contains(" % interval ")), (0, true), "{text}");

    // A law without resamples has no interval, so none is narrow enough.
    let (code, _, errors) = ask(&format!("{OPTIMUM} --law-version 1 --max-interval 1"));
    assert_eq!(code, 2);
    assert!(errors.contains("no interval for this answer"), "{errors}");
}

#[tokio::test]
async fn errors_end_with_1_and_the_words_of_the_service() {
    let service = Process::serve(&empty_database().await, &[]).await;
    for (arguments, expected) in [
        (OPTIMUM.replace("t5-c4", "nobody"), "404 Not Found: "),
        (OPTIMUM.replace("1e20", "-1"), "/compute: "),
        (OPTIMUM.replace("--flop-mode sparse", "--flop-mode fast"), "/flop_mode"),
        (OPTIMUM.replace("--compute 1e20 ", ""), "--compute"),
    ] {
        let arguments = arguments.replace("--compute -1", "--compute=-1");
        let (code, text, errors) = told(&ask(service.base(), None, &arguments));
        assert_eq!((code, text.as_str()), (1, ""), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    }
    // A client that speaks TLS gets no answer from a server that does not.
    let (code, _, errors) = told(&ask(&service.base().replace("http:", "https:"), None, OPTIMUM));
    assert_eq!((code, errors.starts_with("error: no answer")), (1, true), "{errors}");
}

#[tokio::test]
async fn a_key_is_sent_and_not_shown() {
    let database = empty_database().await;
    let created = planner(&database, &["keys", "create", "--name", "ci", "--scope", "read"]);
    let key = succeeded(&created);
    let service = Process::serve(&database, &[]).await;
    let (code, _, errors) = told(&ask(service.base(), None, OPTIMUM));
    assert_eq!((code, errors.contains("401 Unauthorized")), (1, true), "{errors}");
    let (code, text, errors) = told(&ask(service.base(), Some(key.trim()), OPTIMUM));
    assert_eq!(code, 0, "{errors}");
    assert!(!text.contains(key.trim()));
    let help = told(&ask(service.base(), Some(key.trim()), "prediction --help"));
    assert_eq!(help.0, 0);
    assert!(!help.1.contains(key.trim()));
}

/// Serves each connection the next of these answers. Returns the address, and a thread that gives the requests.
fn canned(answers: Vec<String>) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let serve = |answer: String| {
            let (mut connection, _) = listener.accept().unwrap();
            let lines = BufReader::new(&mut connection).lines();
            let head: Vec<String> =
                lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            connection.write_all(answer.as_bytes()).unwrap();
            head[0].clone()
        };
        answers.into_iter().map(serve).collect()
    });
    (base, served)
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[test]
fn what_cannot_be_answered_for_now_is_asked_again_and_nothing_else() {
    let good = r#"{"law": {"version": 1, "source": "published"}, "sparsity": 0.5, "loss": 2, "dense": {"loss": 3},
        "interval": null, "extrapolation": [], "warnings": []}"#;
    let busy = || answer("503 Service Unavailable\r\nretry-after: 1", "");
    let (base, served) = canned(vec![busy(), String::new(), answer("200 OK", good)]);
    let (code, text, errors) = told(&ask(&base, None, OPTIMUM));
    assert_eq!(
        (code, text.contains("is 0.5, for a loss of 2 against 3 dense")),
        (0, true),
        "{errors}"
    );
    assert_eq!(served.join().unwrap().len(), 3);

    for (response, expected) in [
        (answer("302 Found\r\nlocation: http://127.0.0.1:1/", ""), "302 Found"),
        (answer("500 Internal Server Error", "no problem document"), "no problem document"),
        (answer("200 OK", "<html>"), "none of a sparsity planner"),
        (answer("503 Service Unavailable\r\nretry-after: 3600", "later"), "later"),
    ] {
        let (base, served) = canned(vec![response]);
        let (code, _, errors) = told(&ask(&base, None, OPTIMUM));
        assert_eq!((code, errors.contains(expected)), (1, true), "{errors}");
        served.join().unwrap();
    }
}
