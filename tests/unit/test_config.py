from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from taskmesh.config import Settings, explain, load_settings, restore_settings, standing_above
from taskmesh.config.keys import KEYS
from taskmesh.config.loader import with_pushed
from taskmesh.config.pushed import NOTHING_PUSHED, Pushed, live_values
from taskmesh.config.sources import from_named_file, from_texts
from taskmesh.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
BROKER = "amqp://me:secret@rabbit/"
STORE = "redis://:secret@redis/0"


def problems(directory: Path, environ: dict[str, str], overrides: dict[str, object] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(overrides, environ, directory)
    return str(caught.value).splitlines()


def test_with_nothing_given_it_runs_embedded_with_the_defaults(tmp_path: Path) -> None:
    settings = load_settings({}, {}, tmp_path)
    assert settings == Settings()
    assert settings.is_embedded


def test_the_default_file_has_every_key_and_equals_the_defaults(tmp_path: Path) -> None:
    settings = load_settings({}, {"TASKMESH_CONFIG": str(CONFIGS / "default.toml")}, tmp_path)
    assert settings == Settings()
    origins = explain({}, {"TASKMESH_CONFIG": str(CONFIGS / "default.toml")}, tmp_path)
    assert {origin.key for origin in origins if origin.origin == "default"} == set()
    assert [origin.key for origin in origins] == list(KEYS)


def test_every_key_of_the_default_file_is_commented() -> None:
    lines = (CONFIGS / "default.toml").read_text().splitlines()
    keys = [place for place, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(keys) == len(KEYS)
    # health_port is told of above health_host.
    assert [lines[place] for place in keys if not lines[place - 1].startswith("#")] == ["health_port = 9464"]


def test_the_production_file_loads_and_says_only_what_differs(tmp_path: Path) -> None:
    path = CONFIGS / "production.toml"
    origins = explain({}, {"TASKMESH_CONFIG": str(path)}, tmp_path)
    defaults = {origin.key: origin.value_shown for origin in explain({}, {}, tmp_path)}
    said = [origin for origin in origins if origin.origin != "default"]
    assert said
    assert all(origin.value_shown != defaults[origin.key] for origin in said)


def test_program_over_environment_over_file_over_default(tmp_path: Path) -> None:
    (tmp_path / "taskmesh.toml").write_text("[worker]\nthreads = 2\nprocesses = 2\nio_processes = 2\n")
    environ = {"TASKMESH_WORKER__THREADS": "3", "TASKMESH_WORKER__PROCESSES": "3"}
    worker = load_settings({"worker": {"threads": 4}}, environ, tmp_path).worker
    assert (worker.threads, worker.processes, worker.io_processes, worker.max_crashes) == (4, 3, 2, 3)


LAYERS = ("default", "file", "pushed", "environment", "program")


@pytest.mark.parametrize("highest", range(len(LAYERS)))
def test_what_was_pushed_stands_over_the_file_and_below_what_is_given_to_one_worker(
    tmp_path: Path, highest: int
) -> None:
    said = LAYERS[: highest + 1]
    if "file" in said:
        (tmp_path / "taskmesh.toml").write_text("[worker]\ndrain_seconds = 1.0\n")
    pushed = Pushed(4, {"worker.drain_seconds": 2.0}) if "pushed" in said else NOTHING_PUSHED
    environ = {"TASKMESH_WORKER__DRAIN_SECONDS": "3"} if "environment" in said else {}
    given = {"worker.drain_seconds": 4.0} if "program" in said else {}
    expected = ["30.0", "1.0", "2.0", "3.0", "4.0"][highest]
    [origin] = [each for each in explain(given, environ, tmp_path, pushed) if each.key == "worker.drain_seconds"]
    names = ["default", "taskmesh.toml", "pushed, revision 4", "TASKMESH_WORKER__DRAIN_SECONDS", "given by the program"]
    assert (origin.value_shown, origin.origin) == (expected, names[highest])
    # A worker puts it over its own settings, and comes to the same.
    own = load_settings(given, environ, tmp_path)
    above = standing_above(given, environ)
    assert repr(with_pushed(own, pushed, above).worker.drain_seconds) == expected


def test_what_is_to_be_pushed_is_told_of_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "live.toml"
    file.write_text('[log]\nlevl = "debug"\nformat = "xml"\n[worker]\nthreads = 3\ndrain_seconds = 5\n')
    with pytest.raises(ConfigError) as caught:
        live_values(from_named_file(file), from_texts({"worker.drain_seconds": "soon", "log.formt": "x"}, "--set"))
    assert str(caught.value).splitlines() == [
        f"log.levl ({file}): no such setting; did you mean log.level?",
        f"log.format = 'xml' ({file}): must be one of text, json",
        f"worker.threads ({file}): takes a restart of each worker, so it cannot be pushed; leave it out",
        "worker.drain_seconds = 'soon' (--set): must be a number",
        "log.formt (--set): no such setting; did you mean log.format?",
    ]


def test_live_values_are_those_that_are_said_and_of_their_type(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.taskmesh.worker]\ndrain_seconds = 5\n")
    values = live_values(from_named_file(file), from_texts({"flows.activate": "true"}, "--set"))
    assert values == {"worker.drain_seconds": 5.0, "flows.activate": True}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "there is no setting to push; `taskmesh config unset`"),
        ("[log\n", "live.toml: is not TOML: "),
        (None, "live.toml: cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_says_nothing_is_not_pushed(tmp_path: Path, text: str | None, sentence: str) -> None:
    if text is not None:
        (tmp_path / "live.toml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        live_values(from_named_file(tmp_path / "live.toml"))


def test_overrides_may_be_dotted_and_none_says_nothing(tmp_path: Path) -> None:
    worker = load_settings({"worker.threads": 4, "worker": {"processes": None}}, {}, tmp_path).worker
    assert (worker.threads, worker.processes) == (4, 0)


def test_pyproject_is_read_where_there_is_no_file_of_our_own(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.taskmesh]\nnamespace = "shop"\n[tool.other]\nx = 1\n')
    assert load_settings({}, {}, tmp_path).namespace == "shop"
    (tmp_path / "taskmesh.toml").write_text("")
    assert load_settings({}, {}, tmp_path).namespace == "taskmesh"


def test_the_environment_writes_lists_with_commas(tmp_path: Path) -> None:
    environ = {
        "TASKMESH_WORKER__POOLS": "io, cpu",
        "TASKMESH_BROKER__SHARDS": "2",
        "TASKMESH_BROKER__SHARD_WEIGHTS": "1,100",
        "TASKMESH_WORKER__LEASE_SECONDS": "9.5",
        "TASKMESH_NAMESPACE": "",
    }
    settings = load_settings({}, environ, tmp_path)
    assert settings.worker.pools == ("io", "cpu")
    assert settings.broker.shard_weights == (1, 100)
    assert settings.worker.lease_seconds == 9.5
    assert settings.namespace == "taskmesh"


@pytest.mark.parametrize("names", [("TASKMESH_BROKER_URL", "TASKMESH_STORE_URL"), ("CLOUDAMQP_URL", "REDIS_URL")])
def test_servers_by_the_short_names_and_by_those_of_hosting_platforms(tmp_path: Path, names: tuple[str, str]) -> None:
    settings = load_settings({}, dict(zip(names, (BROKER, STORE), strict=True)), tmp_path)
    assert (settings.broker.url, settings.store.url) == (BROKER, STORE)
    assert not settings.is_embedded


def test_the_platforms_redis_completes_a_pair_but_never_makes_half_a_one(tmp_path: Path) -> None:
    assert load_settings({}, {"REDIS_URL": STORE}, tmp_path).is_embedded
    settings = load_settings({}, {"REDIS_URL": STORE, "TASKMESH_BROKER_URL": BROKER}, tmp_path)
    assert (settings.broker.url, settings.store.url) == (BROKER, STORE)


def test_an_explicit_embedded_stands_above_the_platforms_servers(tmp_path: Path) -> None:
    overrides = {"broker.url": "", "store.url": ""}
    assert load_settings(overrides, {"AMQP_URL": BROKER, "REDIS_URL": STORE}, tmp_path).is_embedded


def test_a_section_is_no_setting(tmp_path: Path) -> None:
    (tmp_path / "taskmesh.toml").write_text("worker = 3\n")
    [problem] = problems(tmp_path, {}, {})
    assert problem.startswith("worker (taskmesh.toml): is a section; say which of its settings, as worker.")


def test_all_problems_come_at_once_each_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "taskmesh.toml").write_text(
        '[worker]\nleas_seconds = 3\nthreads = true\n[log]\nformat = "xml"\n[limits]\nmax_nodes = 0\n'
    )
    environ = {"TASKMESH_WORKER__TREADS": "3", "TASKMESH_BROKER_URL": "htp://me:secret@rabbit"}
    assert problems(tmp_path, environ, {"broker.shards": "x", "namespace": "a b"}) == [
        "worker.leas_seconds (taskmesh.toml): no such setting; did you mean worker.lease_seconds?",
        "worker.threads = True (taskmesh.toml): must be a whole number",
        "log.format = 'xml' (taskmesh.toml): must be one of text, json",
        "limits.max_nodes = 0 (taskmesh.toml): must be between 1 and 10000000",
        "broker.url = htp://me:***@rabbit (TASKMESH_BROKER_URL): must be a URL that begins with one of "
        "amqp://, amqps://, redis://, rediss://, redis+socket://",
        "TASKMESH_WORKER__TREADS: no such setting; did you mean TASKMESH_WORKER__THREADS?",
        "broker.shards = 'x' (given by the program): must be a whole number",
        "namespace = 'a b' (given by the program): must be 1 to 64 letters, digits, '_' or '-', "
        "and begin with a letter or digit",
    ]


@pytest.mark.parametrize(
    ("overrides", "begins"),
    [
        ({"broker.url": BROKER}, "broker.url is set (given by the program), but store.url is not: give both"),
        ({"store.url": STORE}, "store.url is set (given by the program), but broker.url is not: give both"),
        (
            {"broker.shard_weights": [1, 2]},
            "broker.shard_weights (given by the program) has 2 weights, but broker.shards",
        ),
        ({"worker.lease_seconds": 5}, "worker.lease_seconds = 5 (given by the program) is less than 3 times"),
        ({"payload.claim_check_bytes": 1000}, "payload.claim_check_bytes = 1000 (given by the program) must be 0, or"),
        (
            {"payload.claim_check_bytes": 2**21},
            "payload.claim_check_bytes = 2097152 (given by the program) is more than",
        ),
        (
            {"payload.claim_check_bytes": 2**16, "broker.url": BROKER, "store.url": STORE},
            "payload.claim_check_bytes is set (given by the program), but payload.url does not say where",
        ),
        ({"payload.url": "s3://key:secret@bucket/x"}, "payload.url holds more than a place; keys, endpoint and region"),
        ({"payload.url": "s3://bucket/x?secret=1"}, "payload.url holds more than a place"),
        ({"payload.url": "file://here/x"}, "payload.url must name an absolute directory"),
        (
            {"payload.url": "ftp://here/x"},
            "payload.url = ftp://here/x (given by the program): must be a URL that begins",
        ),
    ],
)
def test_contradictions(tmp_path: Path, overrides: dict[str, object], begins: str) -> None:
    (problem,) = problems(tmp_path, {}, overrides)
    assert problem.startswith(begins)


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("broker.url", "rabbit:5672", "must be a URL that begins with"),
        ("broker.url", 3, "must be a URL"),
        ("store.url", "redis://", "names no server after redis://"),
        ("broker.shard_weights", [0], "must be between 1 and 100"),
        ("broker.shard_weights", 3, "must be a list of whole numbers"),
        ("worker.pools", "default", "must be a list of names"),
        ("worker.pools", ["a.b"], "must be 1 to 64 letters"),
        ("worker.health_host", "", "must be text, and not empty"),
        ("worker.lease_seconds", float("nan"), "must be a number"),
    ],
)
def test_wrong_values(tmp_path: Path, key: str, value: object, rule: str) -> None:
    (problem,) = problems(tmp_path, {}, {key: value})
    assert problem.startswith(f"{key} = ")
    assert rule in problem


def test_a_number_in_the_environment_that_is_none(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"TASKMESH_WORKER__THREADS": "many"})
    assert problem == "worker.threads = 'many' (TASKMESH_WORKER__THREADS): must be a whole number"


def test_variables_that_others_set_are_not_ours(tmp_path: Path) -> None:
    environ = dict.fromkeys(
        ["TASKMESH_PORT", "TASKMESH_WORKER_SERVICE_HOST", "TASKMESH_WORKER_PORT_9464_TCP", "TASKMESH_TEST_BROKER_URL"],
        "tcp://10.0.0.1:9464",
    )
    assert load_settings({}, environ, tmp_path) == Settings()


def test_a_file_that_is_missing_or_not_toml(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"TASKMESH_CONFIG": "no.toml"})
    assert problem.startswith("no.toml: cannot be read (No such file or directory)")
    (tmp_path / "taskmesh.toml").write_text("[worker\n")
    (problem,) = problems(tmp_path, {})
    assert problem.startswith("taskmesh.toml: is not TOML: ")
    assert "line 1" in problem


def test_no_secret_is_shown(tmp_path: Path) -> None:
    origins = explain({"broker.url": BROKER, "store.url": STORE}, {}, tmp_path)
    assert "secret" not in str(origins)
    shown = {origin.key: (origin.value_shown, origin.origin) for origin in origins}
    assert shown["broker.url"] == ("amqp://me:***@rabbit/", "given by the program")
    assert "secret" not in "".join(problems(tmp_path, {"TASKMESH_BROKER_URL": "me:secret@rabbit"}))


def test_settings_cross_to_another_process_as_plain_data(tmp_path: Path) -> None:
    settings = load_settings(
        {"broker.url": BROKER, "store.url": STORE, "worker.pools": ["io"], "namespace": "shop"}, {}, tmp_path
    )
    assert restore_settings(json.loads(json.dumps(settings.to_mapping()))) == settings


def test_derived_values(tmp_path: Path) -> None:
    worker = load_settings({"worker.processes": 3}, {}, tmp_path).worker
    assert worker.executors == 3
    assert Settings().worker.executors >= 1
    assert worker.renewal_seconds * 3 <= worker.lease_seconds


def test_the_files_are_toml() -> None:
    for path in CONFIGS.glob("*.toml"):
        assert tomllib.loads(path.read_text())


def test_the_reference_lists_every_key_with_its_default() -> None:
    page = (CONFIGS.parent / "docs/configuration.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| ([^|]+?) \|", page, re.MULTILINE))
    assert list(rows) == list(KEYS)
    for name, key in KEYS.items():
        if isinstance(key.default, bool):
            assert rows[name] == str(key.default).lower()
        elif isinstance(key.default, int | float) and key.default:
            assert rows[name] == f"{key.default:.15g}"
