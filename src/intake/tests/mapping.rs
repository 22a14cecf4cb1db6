//! What columns mean, as it is said beside an input: constants, arithmetic, and which rows are kept.

use super::*;
use crate::domain::run::TrainingStart;

fn read_csv(texts: OptionTexts, input: &str) -> (Vec<SubmittedRun>, Vec<String>) {
    let columns = texts.check().unwrap();
    let reading = Reading { columns, ..reading(Format::Csv, ColumnOptions::default()) };
    read(&reading, input.as_bytes()).unwrap()
}

fn map(items: &[&str]) -> OptionTexts {
    OptionTexts {
        map: items.iter().map(|&item| item.to_owned()).collect(),
        ..OptionTexts::default()
    }
}

#[test]
fn constants_and_arithmetic_over_columns() {
    let texts = OptionTexts {
        id: Some("run".into()),
        ..map(&[
            "sparsity:1-dense/total",
            "data:steps*batch*1024",
            "loss:ln(`eval/ppl`)",
            "nonzero_params:dense",
            "start:'pretrained'",
        ])
    };
    let (runs, errors) =
        read_csv(texts, "run,dense,total,steps,batch,eval/ppl\nx,50M,100M,1000,512,20.0\n");
    assert_eq!(errors, [""; 0]);
    let run = only(&runs);
    assert_eq!(run.observation.nonzero_params.get(), 5e7);
    assert_eq!(run.observation.sparsity.get(), 0.5);
    assert_eq!(run.observation.data.get(), 524_288_000.0);
    assert_eq!(run.observation.loss.get(), 20_f64.ln());
    assert_eq!(run.start, TrainingStart::Pretrained);
}

#[test]
fn the_name_of_a_column_comes_before_what_it_would_say_as_an_expression() {
    let texts = OptionTexts { id: Some("run".into()), ..map(&["loss:val-loss,sparsity:0"]) };
    let (runs, _) =
        read_csv(texts, "run,nonzero_params,data,val-loss,val,loss\nx,1e6,1e9,2.5,9,1\n");
    assert_eq!(only(&runs).observation.loss.get(), 2.5);
    let texts = OptionTexts { id: Some("run".into()), ..map(&["loss:val-loss,sparsity:0"]) };
    let (runs, _) = read_csv(texts, "run,nonzero_params,data,val,loss\nx,1e6,1e9,9,1\n");
    assert_eq!(only(&runs).observation.loss.get(), 8.0);
}

#[test]
fn one_row_of_a_run_out_of_many() {
    let table = "run,step,nonzero_params,sparsity,data,loss\n\
                 x,1,1e6,0,1e9,\nx,2,1e6,0,2e9,3\nx,3,1e6,0,3e9,2.9\ny,5,1e6,0,1e9,4\ny,4,1e6,0,1e9,9\n";
    for (keep, losses) in [
        ("last:step", [2.9, 4.0]),
        ("max:step", [2.9, 4.0]),
        ("min:loss", [2.9, 4.0]),
        ("max:loss", [3.0, 9.0]),
    ] {
        let texts = OptionTexts {
            id: Some("run".into()),
            keep: Some(keep.into()),
            ..OptionTexts::default()
        };
        let (runs, errors) = read_csv(texts, table);
        assert_eq!(errors, [""; 0], "{keep}");
        let found: Vec<f64> = runs.iter().map(|run| run.observation.loss.get()).collect();
        assert_eq!(found, losses, "{keep}");
    }
    // Without `keep`, several rows of one run are an error.
    let (_, errors) =
        read_csv(OptionTexts { id: Some("run".into()), ..OptionTexts::default() }, table);
    assert!(errors.iter().any(|error| error.contains("is that of row")), "{errors:?}");
}

#[test]
fn tabs_and_bars_separate_too() {
    for mark in ["\t", "|"] {
        let table =
            "external_id,nonzero_params,sparsity,data,loss\na,1e6,0,1e9,3\n".replace(',', mark);
        assert_eq!(read_csv(OptionTexts::default(), &table).0.len(), 1);
    }
}

#[test]
fn crlf_and_blank_lines_do_not_shift_line_numbers() {
    let table = "external_id,nonzero_params,sparsity,data,loss\r\n\r\na,1e6,0,1e9,3\r\n\r\nb,1e6,0,1e9,x\r\n";
    let (runs, errors) = read_csv(OptionTexts::default(), table);
    assert_eq!(runs.len(), 1);
    assert_eq!(errors, ["row 1: loss must be a number, not \"x\" (line 5)"]);
}
