"""Files of trackers, written here byte by byte by the definition of their formats."""

from __future__ import annotations

import json
import math
import random
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from conftest import PROGRAM

from sparsity_planner import Family, ProblemError, trackers
from sparsity_planner.trackers.__main__ import main

DIGITS = 9007199254740993


def rows(path: Path, source: Any = None, **options: Any) -> list[dict[str, Any]]:
    return list(trackers.read(path, source, **options))


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare those columns that are expected; NaN is NaN."""
    chosen = {name: found.get(name, "no such column") for name in expected}
    assert repr(chosen) == repr(expected)


# Protocol buffers


def varint(value: int) -> bytes:
    value %= 1 << 64
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | float | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def float32(number: int, value: float) -> bytes:
    return varint(number << 3 | 5) + struct.pack("<f", value)


# Weights & Biases


def item(keys: list[str], value: Any) -> bytes:
    named = field(1, keys[0]) if len(keys) == 1 else b"".join(field(2, key) for key in keys)
    return field(1, named + field(16, json.dumps(value)))


def run_record(config: dict[str, Any], **texts: str) -> bytes:
    numbers = {"id": 1, "project": 3, "group": 6, "name": 8, "sweep": 12}
    about = b"".join(field(numbers[name], text) for name, text in texts.items())
    settings = b"".join(item([key], value) for key, value in config.items())
    return field(17, about + field(4, settings) + field(10, "first") + field(10, "second"))


def wandb_file(path: Path, records: Iterable[bytes], cut: int = 0) -> Path:
    out = bytearray(b":W&B\xe1\xbe\x00")
    for record in records:
        first = True
        while first or record:
            left = 32768 - len(out) % 32768
            if left < 7:
                out += bytes(left)
                continue
            part, record = record[: left - 7], record[left - 7 :]
            kind = (1 if not record else 2) if first else (4 if not record else 3)
            out += struct.pack("<IHB", zlib.crc32(part, zlib.crc32(bytes([kind]))), len(part), kind) + part
            first = False
    path.write_bytes(out[: len(out) - cut])
    return path


CONFIG = {"params": 4e7, "optim": {"lr": 0.001, "value": 3}, "seed": DIGITS, "_wandb": {}}
EXITED = field(18, field(2, 7))


def test_wandb_has_config_summary_and_exit(tmp_path: Path) -> None:
    records = [
        run_record(CONFIG, id="3kx9", project="p", name="calm-1", sweep="s1"),
        field(3, item(["_runtime"], 3)),
        field(3, item(["eval/loss"], 2.75) + item(["train", "loss"], 1.5) + item(["gone"], 1)),
        field(2, item(["eval/loss"], 9.0)),
        field(5, item(["tokens"], 20_000_000_000)),
        field(3, field(1, field(2, "eval/loss") + field(16, "2.5")) + field(2, field(1, "gone"))),
        field(3, item(["grad"], math.nan)),
        EXITED,
    ]
    (row,) = rows(wandb_file(tmp_path / "run-3kx9.wandb", records))
    same(
        row,
        {
            "id": "3kx9",
            "Name": "calm-1",
            "State": "finished",
            "Sweep": "s1",
            "Tags": "first, second",
            "config.params": 4e7,
            "config.optim.lr": 0.001,
            "config.optim.value": 3,
            "config.seed": DIGITS,
            "config.tokens": 20_000_000_000,
            "summary.eval/loss": 2.5,
            "summary.train.loss": 1.5,
            "summary.grad": math.nan,
        },
    )
    assert "summary.gone" not in row


def test_wandb_without_a_summary_has_the_last_of_its_history(tmp_path: Path) -> None:
    typed = field(1, field(1, "count") + field(5, DIGITS)) + field(1, field(1, "note") + field(7, "x"))
    typed += field(1, field(1, "rate") + field(6, 0.5)) + field(1, field(1, "on") + field(4, 1))
    records = [
        run_record({}, id="a"),
        field(2, item(["loss"], 3.0)),
        field(2, item(["loss"], 2.5) + typed),
        EXITED,
    ]
    (row,) = rows(wandb_file(tmp_path / "a.wandb", records))
    expected = {"loss": 2.5, "count": DIGITS, "note": "x", "rate": 0.5, "on": True}
    same(row, {f"summary.{name}": value for name, value in expected.items()})


def test_wandb_records_go_over_blocks(tmp_path: Path) -> None:
    long = field(4, "x" * 100_000)
    # So that less than a header is left of a block, too.
    for size in range(32_700, 32_760):
        filling = field(4, "y" * (size - 80))
        records = [run_record(CONFIG, id="a"), filling, long, field(3, item(["loss"], 2.5)), EXITED]
        (row,) = rows(wandb_file(tmp_path / "a.wandb", records))
        same(row, {"State": "finished", "summary.loss": 2.5})


def test_wandb_runs_that_did_not_finish_are_left_out_and_counted(tmp_path: Path) -> None:
    loss = field(3, item(["loss"], 2.5))
    wandb_file(tmp_path / "good.wandb", [run_record({}, id="good"), loss, EXITED])
    wandb_file(tmp_path / "failed.wandb", [run_record({}, id="failed"), loss, field(18, field(1, 1))])
    wandb_file(tmp_path / "killed.wandb", [run_record({}, id="killed"), loss, field(18, field(1, -9))])
    wandb_file(tmp_path / "running.wandb", [run_record({}, id="running"), loss, b"\x12\x05hello"], cut=3)
    wandb_file(tmp_path / "young.wandb", [])
    found = trackers.read(tmp_path)
    assert [row["id"] for row in found] == ["good"]
    assert found.left_out == {
        "exit code is not 0": 2,
        "no exit is recorded: it runs, crashed or was killed": 1,
        "nothing of it was written: it was killed early": 1,
    }
    (note,) = found.notes
    assert "running.wandb breaks off in the middle of a record" in note
    assert {row.get("id"): row["State"] for row in rows(tmp_path, unfinished=True)} == {
        None: "crashed",
        "good": "finished",
        "failed": "failed",
        "killed": "failed",
        "running": "running or crashed",
    }


def test_wandb_files_that_are_none_are_named(tmp_path: Path) -> None:
    path = wandb_file(tmp_path / "a.wandb", [run_record(CONFIG, id="a"), EXITED])
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    with pytest.raises(trackers.UnreadableError, match=r"a.wandb is damaged at byte 7"):
        rows(path)
    path.write_bytes(b"PK" + whole)
    with pytest.raises(trackers.UnreadableError, match="is no file of W&B"):
        rows(path)
    with pytest.raises(trackers.UnreadableError, match="is none of W&B's: field 17 ends behind"):
        rows(wandb_file(path, [b"\x8a\x01\x7fabc"]))
    with pytest.raises(trackers.UnreadableError, match=r"the value of loss is no JSON"):
        rows(wandb_file(path, [field(3, field(1, field(1, "loss") + field(16, "2.5.1")))]))
    clash = {"a": {"b": 1}, "a.b": 2}
    with pytest.raises(trackers.UnreadableError, match=r"run a: two values are called config\.a\.b"):
        rows(wandb_file(path, [run_record(clash, id="a"), EXITED]))


# TensorBoard


def crc32c(data: bytes) -> int:
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum ^= byte
        for _ in range(8):
            checksum = (checksum >> 1) ^ (0x82F63B78 if checksum & 1 else 0)
    checksum ^= 0xFFFFFFFF
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(path: Path, messages: Iterable[bytes], cut: int = 0) -> Path:
    out = b""
    for message in [field(1, 1.0) + field(3, "brain.Event:2"), *messages]:
        length = struct.pack("<Q", len(message))
        out += length + struct.pack("<I", crc32c(length)) + message + struct.pack("<I", crc32c(message))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out[: len(out) - cut])
    return path


def event(step: int, *values: bytes, time: float = 2.0) -> bytes:
    return field(1, time) + field(2, step) + field(5, b"".join(field(1, value) for value in values))


def scalar(tag: str, value: float) -> bytes:
    return field(1, tag) + float32(2, value)


def tensor(tag: str, type: int, content: bytes, dims: bytes = b"") -> bytes:
    plugin = field(9, field(1, field(1, "scalars")))
    return field(1, tag) + plugin + field(8, field(1, type) + field(2, dims) + content)


def hparams(values: dict[str, Any], status: int | None) -> list[bytes]:
    def value(of: Any) -> bytes:
        if isinstance(of, bool):
            return field(4, int(of))
        return field(2, of) if isinstance(of, float) else field(3, str(of))

    def data(content: bytes) -> bytes:
        return field(9, field(1, field(1, "hparams") + field(2, content)))

    pairs = b"".join(field(1, field(1, name) + field(2, value(of))) for name, of in values.items())
    messages = [event(0, field(1, "_hparams_/session_start_info") + data(field(3, pairs)))]
    if status is not None:
        end = data(field(4, field(1, status)))
        messages.append(event(0, field(1, "_hparams_/session_end_info") + end))
    return messages


def test_tensorboard_has_the_last_scalar_of_each_tag(tmp_path: Path) -> None:
    run = tmp_path / "sweep" / "run-1"
    events(run / "events.out.tfevents.1.a", [event(0, scalar("loss", 3)), event(200, scalar("loss", 2.6))])
    # A run that was continued from an earlier checkpoint writes its steps again, later.
    events(
        run / "events.out.tfevents.2.a",
        [
            event(100, scalar("loss", 9)),
            event(200, scalar("loss", 2.5), time=3.0),
            event(7, tensor("double", 2, field(4, struct.pack("<d", 0.1)))),
            event(7, tensor("tokens", 9, field(10, 20_000_000_001))),
            event(7, tensor("packed", 1, field(5, struct.pack("<f", 1.5)))),
            event(7, tensor("vector", 1, field(4, bytes(8)), dims=field(2, field(1, 2)))),
        ],
    )
    (row,) = rows(tmp_path)
    expected = {"metrics.loss": 2.5, "metrics.double": 0.1, "metrics.tokens": 20_000_000_001.0}
    same(row, {**expected, "metrics.packed": 1.5, "step": 200, "folder": "run-1", "parent": "sweep"})
    assert "metrics.vector" not in row


def test_tensorboard_hparams_belong_to_the_run_above_them(tmp_path: Path) -> None:
    given = {"params": 4e7, "opt": "adam", "tied": True}
    events(tmp_path / "a" / "events.out.tfevents.1.x", [event(9, scalar("eval/loss", 2.5))])
    written = [*hparams(given, 1), event(0, scalar("hp/loss", 2.5))]
    events(tmp_path / "a" / "1795.3" / "events.out.tfevents.2.x", written)
    events(tmp_path / "b" / "events.out.tfevents.3.x", [*hparams({}, 2), event(1, scalar("eval/loss", 9))])
    events(tmp_path / "c" / "events.out.tfevents.4.x", [*hparams({}, None), event(1, scalar("eval/loss", 8))])
    found = trackers.read(tmp_path, "tensorboard")
    (row,) = found
    same(
        row,
        {
            "folder": "a",
            "status": "finished",
            "metrics.eval/loss": 2.5,
            "metrics.hp/loss": 2.5,
            "params.params": 4e7,
            "params.opt": "adam",
            "params.tied": True,
        },
    )
    assert found.left_out == {"status is failed": 1, "status is running": 1}


def test_tensorboard_halves_of_keras_are_one_run(tmp_path: Path) -> None:
    for half, loss in (("train", 1.5), ("validation", 2.5)):
        events(tmp_path / "k" / half / "events.out.tfevents.1.x", [event(3, scalar("epoch_loss", loss))])
    (row,) = rows(tmp_path)
    same(row, {"folder": "k", "metrics.train/epoch_loss": 1.5, "metrics.validation/epoch_loss": 2.5})


def test_tensorboard_files_that_are_none_are_named(tmp_path: Path) -> None:
    path = events(
        tmp_path / "events.out.tfevents.1.x", [event(1, scalar("a", 1)), event(2, scalar("a", 2))], cut=3
    )
    found = trackers.read(path)
    (row,) = found
    same(row, {"metrics.a": 1.0})
    assert "breaks off" in found.notes[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + b"\xff" + whole[21:])
    with pytest.raises(trackers.UnreadableError, match="damaged at byte 0"):
        rows(path)
    path.write_bytes(b"x" * 100)
    with pytest.raises(trackers.UnreadableError, match="is no event file"):
        rows(path)


# MLflow


def mlflow_database(path: Path) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT, lifecycle_stage TEXT);
        CREATE TABLE runs (run_uuid TEXT, name TEXT, status TEXT, start_time BIGINT, end_time BIGINT,
            lifecycle_stage TEXT, experiment_id INTEGER);
        CREATE TABLE metrics (key TEXT, value FLOAT, run_uuid TEXT, step BIGINT);
        CREATE TABLE latest_metrics (key TEXT, value FLOAT, timestamp BIGINT, step BIGINT, is_nan BOOLEAN,
            run_uuid TEXT);
        CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
        CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT);
        INSERT INTO experiments VALUES (1, 'sweeps', 'active'), (2, 'old', 'deleted');
        INSERT INTO runs VALUES ('good', 'calm', 'FINISHED', 1, 9, 'active', 1),
            ('failed', 'b', 'FAILED', 2, 9, 'active', 1), ('running', 'c', 'RUNNING', 3, NULL, 'active', 1),
            ('gone', 'd', 'FINISHED', 4, 9, 'deleted', 1), ('old', 'e', 'FINISHED', 5, 9, 'active', 2);
        INSERT INTO latest_metrics VALUES ('val_loss', 2.5, 1, 20, 0, 'good'), ('nan', 0.0, 1, 1, 1, 'good'),
            ('inf', 1.7976931348623157e308, 1, 1, 0, 'good'),
            ('less', -1.7976931348623157e308, 1, 1, 0, 'good');
        INSERT INTO params VALUES ('nonzero_params', '20000000', 'good'), ('loss', 'CrossEntropy', 'good'),
            ('sparsity', '0.5', 'good'), ('data', '9007199254740993', 'good');
        INSERT INTO tags VALUES ('team', 'vision', 'good');
        """
    )
    connection.close()
    return path


MLFLOW_LEFT_OUT = {"status is failed": 1, "status is running": 1, "lifecycle_stage is deleted": 2}


def test_mlflow_database(tmp_path: Path) -> None:
    found = trackers.read(mlflow_database(tmp_path / "mlflow.db"))
    (row,) = found
    same(
        row,
        {
            "run_id": "good",
            "experiment": "sweeps",
            "status": "FINISHED",
            "metrics.val_loss": 2.5,
            "metrics.nan": math.nan,
            "metrics.inf": math.inf,
            "metrics.less": -math.inf,
            "params.data": str(DIGITS),
            "tags.team": "vision",
        },
    )
    assert found.left_out == MLFLOW_LEFT_OUT


def test_mlflow_folder(tmp_path: Path) -> None:
    def run(name: str, status: int, stage: str = "active", folder: str = "7") -> Path:
        path = tmp_path / "mlruns" / folder / name
        for part in ("metrics/eval", "params", "tags"):
            (path / part).mkdir(parents=True)
        meta = f"experiment_id: '7'\nlifecycle_stage: {stage}\nrun_id: {name}\nstatus: {status}\n"
        (path / "meta.yaml").write_text(meta)
        return path

    good = run("good", 3)
    run("failed", 4)
    run("running", 1)
    run("gone", 3, "deleted")
    run("old", 3, folder=".trash/6")
    (good.parent / "meta.yaml").write_text("experiment_id: '7'\nlifecycle_stage: active\nname: sweeps\n")
    (good / "metrics" / "eval" / "loss").write_text("5 2.75 20\n9 2.5 20\n99 9.0 10\n")
    (good / "metrics" / "nan").write_text("5 nan 0\n")
    (good / "params" / "data").write_text(str(DIGITS))
    (good / "tags" / "team").write_text("vision")
    found = trackers.read(tmp_path / "mlruns")
    (row,) = found
    same(
        row,
        {
            "run_id": "good",
            "experiment": "sweeps",
            "status": "FINISHED",
            "metrics.eval/loss": 2.5,
            "metrics.nan": math.nan,
            "params.data": str(DIGITS),
            "tags.team": "vision",
        },
    )
    assert found.left_out == MLFLOW_LEFT_OUT
    (good / "metrics" / "nan").write_text("5 2,5 0\n")
    with pytest.raises(trackers.UnreadableError, match=r"nan, line 1 must be time, value and step"):
        rows(tmp_path / "mlruns")


# Hugging Face


def trainer_state(folder: Path, **changes: Any) -> Path:
    state = {
        "global_step": 100,
        "max_steps": 100,
        "epoch": 1.0,
        "num_input_tokens_seen": 20_000_000_000,
        "total_flos": 1e18,
        "trial_name": None,
        "log_history": [
            {"loss": 3.0, "grad_norm": math.nan, "step": 50},
            {"eval_loss": 2.75, "step": 50},
            {"loss": 1.5, "step": 100},
            {"eval_loss": 2.5, "eval_runtime": 7.0, "step": 100},
            {"train_loss": 2.0, "step": 100},
        ],
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "trainer_state.json"
    path.write_text(json.dumps(state))
    return path


def test_huggingface_takes_the_last_evaluation_and_no_training_loss(tmp_path: Path) -> None:
    trainer_state(tmp_path / "run-1")
    (tmp_path / "run-1" / "config.json").write_text('{"hidden_size": 64, "rope": {"theta": 1e6}}')
    (row,) = rows(tmp_path)
    expected = {
        "folder": "run-1",
        "data": 20_000_000_000,
        "metrics.eval_loss": 2.5,
        "metrics.eval_runtime": 7.0,
    }
    same(row, {**expected, "params.config.hidden_size": 64, "params.config.rope.theta": 1e6})
    assert not [name for name in row if name.endswith(("train_loss", ".loss"))]


def test_huggingface_reads_the_newest_state_of_a_run(tmp_path: Path) -> None:
    trainer_state(tmp_path / "a" / "checkpoint-9", global_step=9)
    trainer_state(tmp_path / "a" / "checkpoint-100")
    trainer_state(tmp_path / "b" / "checkpoint-100", total_flos=1)
    trainer_state(tmp_path / "b", total_flos=2)
    trainer_state(tmp_path / "c" / "checkpoint-60", global_step=60)
    found = trackers.read(tmp_path)
    assert [(row["folder"], row["global_step"], row["total_flos"]) for row in found] == [
        ("a", 100, 1e18),
        ("b", 100, 2),
    ]
    assert found.left_out == {"global_step is below max_steps": 1}
    assert found.notes[0] == "2 older checkpoints of the same runs are not read"


def test_huggingface_says_what_would_be_right(tmp_path: Path, family: Family) -> None:
    trainer_state(tmp_path / "run-1", num_input_tokens_seen=0, log_history=[{"loss": 2.0, "step": 100}])
    with pytest.raises(ProblemError) as caught:
        family.log_runs(trackers.read(tmp_path))
    found = {error.pointer: error.detail for error in caught.value.errors}
    assert found.keys() == {
        f"/0/{name}" for name in ("external_id", "nonzero_params", "sparsity", "data", "loss")
    }
    assert all("run-1/trainer_state.json" in detail for detail in found.values())
    assert "id=folder says run-1" in found["/0/external_id"]
    assert "include_num_input_tokens_seen" in found["/0/data"]
    assert "eval_strategy" in found["/0/loss"]
    assert "no *.safetensors lie beside the state" in found["/0/nonzero_params"]
    reading: dict[str, Any] = {
        "id": ["folder"],
        "map": {"data": "global_step*8*1024", "loss": 2.5, "nonzero_params": "1e7", "sparsity": 0},
    }
    assert family.log_runs(trackers.read(tmp_path), **reading).created == 1


def test_huggingface_names_the_losses_of_several_data_sets(tmp_path: Path) -> None:
    history = [{"eval_wiki_loss": 2.5, "eval_code_loss": 1.5, "step": 100}]
    trainer_state(tmp_path, log_history=history)
    found = trackers.read(tmp_path)
    (row,) = found
    same(row, {"metrics.eval_wiki_loss": 2.5})
    assert any("eval_code_loss, eval_wiki_loss: map=loss:metrics.NAME" in detail for detail in found.absent())


def test_huggingface_says_that_the_best_weights_are_others(tmp_path: Path) -> None:
    trainer_state(tmp_path, best_global_step=50)
    found = trackers.read(tmp_path)
    assert len(list(found)) == 1
    assert "the best step is 50" in found.notes[0]


def test_huggingface_measures_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer_state(tmp_path / "run")
    weights = Path(__file__).parents[3] / "examples" / "two-of-four.safetensors"
    shutil.copy(weights, tmp_path / "run" / "model.safetensors")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    found = trackers.read(tmp_path)
    assert "nonzero_params" not in next(iter(found))
    assert any("sparsity-planner is not on PATH" in detail for detail in found.absent())
    monkeypatch.setenv("PATH", str(PROGRAM.parent))
    (row,) = rows(tmp_path)
    same(row, {"nonzero_params": 1040, "sparsity": 1 - 1040 / 2064, "pattern": "2:4"})
    (row,) = rows(tmp_path, count="prunable")
    same(row, {"nonzero_params": 1024, "sparsity": 0.5, "pattern": "2:4"})
    (row,) = rows(tmp_path, count=None)
    assert "nonzero_params" not in row


def test_huggingface_files_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    for text, message in (
        ("{", "is no JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "no state of a Trainer"),
    ):
        path.write_text(text)
        with pytest.raises(trackers.UnreadableError, match=rf"trainer_state.json .*{message}"):
            rows(path)


# Lightning, Ray, Trackio, Optuna


def test_lightning_takes_the_last_cell_of_each_column(tmp_path: Path) -> None:
    run = tmp_path / "lightning_logs" / "version_3"
    run.mkdir(parents=True)
    (run / "metrics.csv").write_text(
        "epoch,step,train_loss,val_loss\r\n0,9,1.5,\r\n0,9,,2.75\r\n1,19,1.25,\r\n1,19,,2.5\r\n"
    )
    (run / "hparams.yaml").write_text(
        "pattern: 2:4\nlr: 1e-3\nseed: 9007199254740993\nnone: null\n"
        "opt: !!python/object:builtins.list {a: [1, 2]}\n"
    )
    (row,) = rows(tmp_path)
    same(
        row,
        {
            "parent": "lightning_logs",
            "folder": "version_3",
            "metrics.train_loss": "1.25",
            "metrics.val_loss": "2.5",
            "metrics.step": "19",
            "params.pattern": "2:4",
            "params.lr": "1e-3",
            "params.seed": str(DIGITS),
            "params.opt.a": ["1", "2"],
        },
    )
    found = trackers.read(tmp_path)
    assert len(list(found)) == 1
    assert not any("the last val_loss" in note for note in found.notes)
    (run / "metrics.csv").write_text("epoch,step,train_loss,val_loss\r\n0,10,,2.75\r\n1,20,1.25,\r\n")
    assert len(list(found)) == 1
    assert found.notes[0].endswith("metrics.csv: the last val_loss is of step 10 of 20")
    for table, message in (
        ("a,a\n1,2\n", "two columns of one name: a"),
        ("a,b\n1\n", "line 2 has 1 cells under 2"),
    ):
        (run / "metrics.csv").write_text(table)
        with pytest.raises(trackers.UnreadableError, match=message):
            rows(tmp_path)
    (run / "metrics.csv").write_text('a,b\n1,"2\n')
    with pytest.raises(trackers.UnreadableError, match=r"metrics.csv, line 2"):
        rows(tmp_path)


def test_ray_takes_the_last_report(tmp_path: Path) -> None:
    def trial(name: str, *reports: dict[str, Any], rest: str = "") -> Path:
        (tmp_path / name).mkdir()
        text = "".join(json.dumps(report) + "\n" for report in reports) + rest
        (tmp_path / name / "result.json").write_text(text)
        return tmp_path / name

    config = {"params": 4e7, "opt": {"lr": 0.1}}
    last = {"loss": 2.5, "trial_id": "t_0", "done": True, "training_iteration": 2, "config": config}
    trial("a", {"loss": 3.0, "trial_id": "t_0", "done": False, "config": config}, last, rest='{"loss": 1')
    (trial("b", {"loss": 3.0, "trial_id": "t_1", "done": False}) / "error.txt").write_text("x")
    trial("c", {"loss": 3.0, "trial_id": "t_2", "done": False})
    trial("d")
    found = trackers.read(tmp_path)
    (row,) = found
    same(
        row,
        {
            "run_id": "t_0",
            "metrics.loss": 2.5,
            "params.opt.lr": 0.1,
            "training_iteration": 2,
            "status": "finished",
        },
    )
    assert found.left_out == {
        "error.txt says that it failed": 1,
        "done is not true": 1,
        "no report was written": 1,
    }
    assert "breaks off" in found.notes[0]


@pytest.mark.parametrize("with_ids", [True, False])
def test_trackio_takes_the_last_value_of_each_metric(tmp_path: Path, with_ids: bool) -> None:
    connection = sqlite3.connect(tmp_path / "p.db")
    id = "run_id TEXT, " if with_ids else ""
    connection.execute(
        f"CREATE TABLE metrics (id INTEGER PRIMARY KEY, {id}run_name TEXT, step INTEGER, metrics TEXT)"
    )
    connection.execute(f"CREATE TABLE configs (id INTEGER PRIMARY KEY, {id}run_name TEXT, config TEXT)")
    named = ["x1", "calm"] if with_ids else ["calm"]
    places = "?, " * len(named)
    for step, metrics in (
        (2, {"loss": 2.5, "n": "NaN"}),
        (1, {"loss": 9.0, "once": {"x": DIGITS}, "up": "Infinity"}),
    ):
        connection.execute(
            f"INSERT INTO metrics VALUES (NULL, {places}?, ?)", (*named, step, json.dumps(metrics).encode())
        )
    connection.execute(f"INSERT INTO configs VALUES (NULL, {places}?)", (*named, json.dumps({"params": 4e7})))
    connection.commit()
    connection.close()
    (row,) = rows(tmp_path)
    same(
        row,
        {
            "run_id": named[0],
            "run_name": "calm",
            "step": 2,
            "params.params": 4e7,
            "metrics.loss": 2.5,
            "metrics.once.x": DIGITS,
            "metrics.up": math.inf,
            "metrics.n": math.nan,
        },
    )


def optuna_database(path: Path) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE studies (study_id INTEGER, study_name TEXT);
        CREATE TABLE study_system_attributes (study_id INTEGER, key TEXT, value_json TEXT);
        CREATE TABLE trials (trial_id INTEGER, number INTEGER, study_id INTEGER, state TEXT,
            datetime_start TEXT, datetime_complete TEXT);
        CREATE TABLE trial_user_attributes (trial_id INTEGER, key TEXT, value_json TEXT);
        CREATE TABLE trial_params (trial_id INTEGER, param_name TEXT, param_value FLOAT,
            distribution_json TEXT);
        CREATE TABLE trial_values (trial_id INTEGER, objective INTEGER, value FLOAT, value_type TEXT);
        INSERT INTO studies VALUES (1, 'sweep'), (2, 'two');
        INSERT INTO study_system_attributes VALUES (2, 'study:metric_names', '["val_loss", "cost"]');
        INSERT INTO trials VALUES (1, 0, 1, 'COMPLETE', 'a', 'b'), (2, 1, 1, 'PRUNED', 'a', 'b'),
            (3, 2, 1, 'FAIL', 'a', 'b'), (4, 3, 1, 'RUNNING', 'a', NULL), (5, 4, 1, 'COMPLETE', 'a', 'b'),
            (6, 0, 2, 'COMPLETE', 'a', 'b');
        INSERT INTO trial_values VALUES (1, 0, 2.5, 'FINITE'), (2, 0, 2.75, 'FINITE'),
            (5, 0, NULL, 'INF_POS'), (6, 0, 2.5, 'FINITE'), (6, 1, 7.0, 'FINITE');
        INSERT INTO trial_user_attributes VALUES (1, 'data', '9007199254740993');
        INSERT INTO trial_params VALUES
            (1, 'width', 1.0, '{"name": "CategoricalDistribution", "attributes": {"choices": [128, 256]}}'),
            (1, 'n', 3.0, '{"name": "IntDistribution", "attributes": {"low": 1}}'),
            (1, 'sparsity', 0.5, '{"name": "FloatDistribution", "attributes": {"low": 0}}');
        """
    )
    connection.close()
    return path


def test_optuna_database(tmp_path: Path) -> None:
    found = trackers.read(optuna_database(tmp_path / "o.db"))
    good, infinite, two = found
    same(
        good,
        {
            "run_id": "sweep:0",
            "study": "sweep",
            "state": "COMPLETE",
            "value": 2.5,
            "params.width": 256,
            "params.n": 3,
            "params.sparsity": 0.5,
            "metrics.data": DIGITS,
        },
    )
    same(infinite, {"run_id": "sweep:4", "value": math.inf})
    same(two, {"run_id": "two:0", "values_val_loss": 2.5, "values_cost": 7.0})
    assert found.left_out == {"state is pruned": 1, "state is fail": 1, "state is running": 1}


def test_optuna_frame(tmp_path: Path) -> None:
    path = tmp_path / "trials.csv"
    path.write_text(
        ",number,value,params_sparsity,user_attrs_data,state\n"
        "0,0,2.5,0.5,9007199254740993,COMPLETE\n1,1,2.75,0.5,1,PRUNED\n"
    )
    found = trackers.read(path, "optuna")
    (row,) = found
    same(row, {"number": "0", "value": "2.5", "params.sparsity": "0.5", "metrics.data": str(DIGITS)})
    assert found.left_out == {"state is pruned": 1}
    path.write_text("a,b\n1,2\n")
    with pytest.raises(trackers.UnreadableError, match="no columns number and state"):
        rows(path, "optuna")


# All of them


def test_damaged_files_are_refused_or_read_and_nothing_else(tmp_path: Path) -> None:
    """Each byte that is changed makes a file that is refused by name, or read."""
    config = {"params": 4e7, "optim": {"lr": 0.001}}
    summary = field(3, item(["loss"], 2.5) + item(["train", "loss"], 1.0))
    trainer_state(tmp_path / "hf")
    (tmp_path / "lightning").mkdir()
    (tmp_path / "lightning" / "metrics.csv").write_text('step,val_loss\n1,2.75\n2,"2.5"\n')
    (tmp_path / "lightning" / "hparams.yaml").write_text("a: {b: [1, 2]}\nc: &x 2\nd: *x\n")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "result.json").write_text('{"loss": 2.5, "done": true, "config": {"a": 1}}\n')
    (tmp_path / "mlruns" / "7" / "a" / "metrics").mkdir(parents=True)
    (tmp_path / "mlruns" / "7" / "a" / "meta.yaml").write_text("run_id: a\nstatus: 3\n")
    (tmp_path / "mlruns" / "7" / "a" / "metrics" / "loss").write_text("5 2.5 0\n")
    files: list[tuple[Any, Path]] = [
        ("wandb", wandb_file(tmp_path / "a.wandb", [run_record(config, id="a"), summary, EXITED])),
        (
            "tensorboard",
            events(tmp_path / "events.out.tfevents.1", [event(1, scalar("a", 1)), *hparams(config, 1)]),
        ),
        ("huggingface", tmp_path / "hf" / "trainer_state.json"),
        ("lightning", tmp_path / "lightning" / "metrics.csv"),
        ("lightning", tmp_path / "lightning" / "hparams.yaml"),
        ("ray", tmp_path / "ray" / "result.json"),
        ("mlflow", tmp_path / "mlruns" / "7" / "a" / "metrics" / "loss"),
        ("mlflow", tmp_path / "mlruns" / "7" / "a" / "meta.yaml"),
        ("mlflow", mlflow_database(tmp_path / "m.db")),
        ("optuna", optuna_database(tmp_path / "o.db")),
    ]
    roots = {"lightning": tmp_path / "lightning", "mlflow": tmp_path / "mlruns"}
    chance = random.Random(1)
    outcomes = {"read": 0, "refused": 0}
    for source, path in files:
        whole = path.read_bytes()
        root = path if path.suffix == ".db" else roots.get(source, path)
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(chance.choice((1, 1, 4, 32))):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            path.write_bytes(damaged[: chance.choice((len(damaged), chance.randrange(len(damaged))))])
            refused = None
            try:
                rows(root, source, unfinished=True)
            except trackers.UnreadableError as error:
                refused = str(error)
            assert refused is None or str(tmp_path) in refused
            outcomes["refused" if refused else "read"] += 1
        path.write_bytes(whole)
    assert min(outcomes.values()) > 100


def test_what_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("val_loss\n2.5\n")
    levels = "".join(f"l{n}: &l{n} {{a: *l{n - 1}, b: *l{n - 1}, c: *l{n - 1}}}\n" for n in range(1, 13))
    wide, deep = f"l0: &l0 {{x: 1}}\n{levels}", "{a: " * 70 + "1" + "}" * 70
    for text in (wide, deep):
        (tmp_path / "hparams.yaml").write_text(text)
        with pytest.raises(trackers.UnreadableError, match="beyond 64 levels or 100000 columns"):
            rows(tmp_path)
    (tmp_path / "hparams.yaml").write_text("a: &a {a: *a}\n")
    with pytest.raises(trackers.UnreadableError, match="is no YAML"):
        rows(tmp_path)


def test_a_tracker_is_found_by_its_files(tmp_path: Path) -> None:
    with pytest.raises(trackers.UnreadableError, match="has no file of a tracker"):
        trackers.read(tmp_path)
    with pytest.raises(trackers.UnreadableError, match="does not exist"):
        trackers.read(tmp_path / "nowhere")
    with pytest.raises(trackers.UnreadableError, match="there is no reader for excel"):
        trackers.read(tmp_path, "excel")  # type: ignore[arg-type]
    optuna_database(tmp_path / "o.db")
    (tmp_path / "other.db").write_bytes(b"nothing of the kind")
    assert trackers.recognise(tmp_path) == "optuna"
    mlflow_database(tmp_path / "m.db")
    with pytest.raises(trackers.UnreadableError, match="several trackers, mlflow, optuna: say which"):
        trackers.read(tmp_path)
    assert [row["run_id"] for row in rows(tmp_path, "mlflow")] == ["good"]
    with pytest.raises(trackers.UnreadableError, match=r"o\.db is no SQLite file of MLflow"):
        rows(tmp_path / "o.db", "mlflow")
    (tmp_path / "m.db").rename(tmp_path / "m.sqlite")
    assert [row["run_id"] for row in rows(tmp_path, "mlflow")] == ["good"]
    with pytest.raises(trackers.UnreadableError, match="has no runs of wandb"):
        rows(tmp_path, "wandb")
    (tmp_path / "o.db").write_bytes(b"SQLite format 3\0 and no more")
    with pytest.raises(trackers.UnreadableError, match=r"o\.db cannot be read as SQLite"):
        trackers.read(tmp_path)


def test_runs_go_to_the_service_and_what_was_left_out_is_said(tmp_path: Path, family: Family) -> None:
    found = trackers.read(mlflow_database(tmp_path / "mlflow.db"))
    tried = family.log_runs(found, dry_run=True, tag_columns=["tags.team"])
    assert (tried.created, list(family.runs())) == (1, [])
    assert tried.recognised.columns["loss"] == "metrics.val_loss"
    stored = family.log_runs(found, tag_columns=["tags.team"])
    assert (stored.created, stored.left_out) == (1, MLFLOW_LEFT_OUT)
    (run,) = family.runs()
    assert (run.external_id, run.loss, run.tags) == ("good", 2.5, {"team": "vision"})
    assert family.log_runs(found, tag_columns=["tags.team"]).unchanged == 1


def test_files_of_a_resumed_run_are_refused_unless_one_is_chosen(tmp_path: Path, family: Family) -> None:
    config = {"nonzero_params": 1e7, "sparsity": 0.5, "data": 1e9}
    for name, step, loss in (("a", 9, 3.0), ("b", 20, 2.5)):
        summary = field(3, item(["loss"], loss) + item(["_step"], step))
        wandb_file(tmp_path / f"{name}.wandb", [run_record(config, id="3kx9"), summary, EXITED])
    found = trackers.read(tmp_path)
    with pytest.raises(ProblemError, match=r"external_id.*b\.wandb, run 3kx9"):
        family.log_runs(found)
    assert family.log_runs(found, keep="last:summary._step").created == 1
    assert [run.loss for run in family.runs()] == [2.5]


def test_errors_name_file_and_run(tmp_path: Path, family: Family) -> None:
    records = [run_record({"params": 1e7}, id="3kx9"), field(3, item(["bpb"], 0.9)), EXITED]
    wandb_file(tmp_path / "a.wandb", records)
    with pytest.raises(ProblemError) as caught:
        family.log_runs(
            trackers.read(tmp_path), map={"nonzero_params": "config.params", "sparsity": 0, "data": 1e9}
        )
    (error,) = caught.value.errors
    assert error.pointer == "/0/loss"
    assert (
        f"[{tmp_path}/a.wandb, run 3kx9; it has config.params, summary.bpb: map=loss:COLUMN" in error.detail
    )
    result = family.log_runs(trackers.read(tmp_path), on_error="skip")
    assert {one.field for one in result.rejected} == {"loss", "data", "sparsity", "nonzero_params"}
    assert all("run 3kx9" in one.detail for one in result.rejected)


def test_a_loss_that_is_none_is_refused(tmp_path: Path, family: Family) -> None:
    config = {"nonzero_params": 1e7, "sparsity": 0.5, "data": 1e9}
    wandb_file(tmp_path / "a.wandb", [run_record(config, id="a"), field(3, item(["loss"], math.nan)), EXITED])
    with pytest.raises(ProblemError) as caught:
        family.log_runs(trackers.read(tmp_path))
    assert [error.pointer for error in caught.value.errors] == ["/0/loss"]


def test_the_command_logs_runs(
    tmp_path: Path, family: Family, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(mlflow_database(tmp_path / "mlflow.db"))
    to_family = ["--family", family.name, "--server", url]
    assert main([path, *to_family, "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert "would be created 1, updated 0, unchanged 0\n" in printed.out
    assert "left out 2: lifecycle_stage is deleted\n" in printed.out
    assert "loss is metrics.val_loss\n" in printed.out
    assert list(family.runs()) == []
    assert main([path, "--from", "mlflow", *to_family, "--tag-columns", "tags.team"]) == 0
    assert [run.external_id for run in family.runs()] == ["good"]


def test_the_command_takes_unfinished_runs_where_it_is_asked_to(
    tmp_path: Path, family: Family, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"nonzero_params": 1e7, "sparsity": 0.5, "data": 1e9}
    summary = field(3, item(["loss"], 2.5))
    for id, code in (("good", 0), ("failed", 1)):
        wandb_file(tmp_path / f"{id}.wandb", [run_record(config, id=id), summary, field(18, field(1, code))])
    command = [str(tmp_path), "--family", family.name, "--server", url]
    assert main(command) == 0
    assert "created 1, updated 0, unchanged 0\nleft out 1: exit code is not 0\n" in capsys.readouterr().out
    assert main([*command, "--where", "exit_code == 1"]) == 0
    assert "created 1, updated 0, unchanged 0\nleft out 1: where\n" in capsys.readouterr().out
    assert main([*command, "--unfinished"]) == 0
    assert "created 0, updated 0, unchanged 2\n" in capsys.readouterr().out


def test_the_command_says_errors_one_line_a_kind(
    tmp_path: Path, family: Family, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"nonzero_params": 1e7, "sparsity": 0.5, "data": 1e9}
    for id in ("a", "b"):
        wandb_file(tmp_path / f"{id}.wandb", [run_record(config, id=id), field(3, item(["bpb"], 2)), EXITED])
    command = [str(tmp_path), "--family", family.name, "--server", url]
    for more in ([], ["--on-error", "skip"]):
        assert main([*command, *more]) == 1
        said = capsys.readouterr().err
        assert said.count("loss: must be given, in 2 runs\n") == 1
        assert "b.wandb, run b; it has config.nonzero_params" in said
    assert main([str(tmp_path), "--dry-run"]) == 2
    assert "give --family" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "nowhere does not exist" in capsys.readouterr().err


def test_the_command_prints_runs_for_other_ways(
    tmp_path: Path, family: Family, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(mlflow_database(tmp_path / "mlflow.db"))]) == 0
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    assert "1 runs, to be sent with source=mlflow\n" in printed.err
    assert "left out 1: status is failed\n" in printed.err
    assert family.log_runs([json.loads(line)], source="mlflow").created == 1
