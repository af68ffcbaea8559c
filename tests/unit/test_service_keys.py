"""API keys: their form, their file, and what becomes of both when they are wrong or change."""

import logging
from pathlib import Path

import pytest

from service.keys import LOOK_S, BadKey, BadKeyFile, Key, Keys, make, parse, read, without_secrets

SECRET, KEY = make("desk", ["forecast", "jobs"], 2.5)
OTHER_SECRET, OTHER = make("ops", ["admin"])
HASH = "sha256:" + "0f" * 32


class Clock:
    """A clock that tests move on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "api-keys"
    path.write_text(f"# who may come in\n\n{KEY.line}\n{OTHER.line}\n")
    return path


def test_a_key_says_its_id_and_holds_32_random_bytes_behind_it() -> None:
    kind, key_id, secret = SECRET.split("_", 2)

    assert (kind, key_id, len(secret)) == ("nd", KEY.id, 43)
    assert make("desk", ["jobs"])[0] != make("desk", ["jobs"])[0]


def test_a_line_of_the_file_reads_back_and_has_no_key_in_it() -> None:
    assert Key.parse(KEY.line) == KEY
    assert Key.parse(f"  {KEY.line}\r") == KEY
    assert KEY.line.endswith(" rate=2.5")
    assert SECRET.rpartition("_")[2] not in KEY.line


def test_neither_key_nor_hash_shows_in_a_repr(file: Path) -> None:
    shown = repr((KEY, Keys(file), read(file)))

    assert KEY.digest.hex() not in shown
    assert repr(KEY.digest) not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("0123abcd desk forecast", "has 3 parts"),
        (f"0123abcd desk forecast {HASH} rate=1 # fast", "has 7 parts"),
        (f"0123ABCD desk forecast {HASH}", "the id is not 8 digits"),
        (f"123abcd desk forecast {HASH}", "the id is not 8 digits"),
        (f"0123abcd de$k forecast {HASH}", "the name is not"),
        (f"0123abcd desk forecasts {HASH}", "the scopes are not some of forecast, jobs, admin"),
        (f"0123abcd desk forecast,, {HASH}", "the scopes are not"),
        ("0123abcd desk forecast " + "0f" * 32, "the hash is not"),
        ("0123abcd desk forecast sha256:0f", "the hash is not"),
        (f"0123abcd desk forecast {HASH} rate=fast", "rate=<requests per second>"),
        (f"0123abcd desk forecast {HASH} rate=nan", "rate=<requests per second>"),
        (f"0123abcd desk forecast {HASH} rate=-1", "rate=<requests per second>"),
        (f"0123abcd desk forecast {HASH} burst=1", "rate=<requests per second>"),
        (SECRET, "has 1 parts"),
    ],
)
def test_a_line_that_is_no_key_is_told_with_its_file_and_number_and_not_repeated(line: str, told: str) -> None:
    with pytest.raises(BadKeyFile, match=r"^etc/api-keys, line 2: ") as caught:
        parse(f"{KEY.line}\n{line}\n", Path("etc/api-keys"))

    assert told in str(caught.value)
    assert "0f0f" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_an_id_that_is_there_twice_is_told() -> None:
    with pytest.raises(BadKeyFile, match=f"line 3: the id {KEY.id} is there already"):
        parse(f"{KEY.line}\n\n{KEY.line}\n", Path("keys"))


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "there is no such file of API keys; make one with `nextday keys new"), (b"\xff\xfe", "is not UTF-8")],
)
def test_a_file_that_cannot_be_read_is_told(content: bytes | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "keys").write_bytes(content)

    with pytest.raises(BadKeyFile, match=told):
        Keys(tmp_path / "keys")


@pytest.mark.parametrize(
    ("name", "scopes", "rate_per_s", "told"),
    [
        ("a b", ["jobs"], None, "a key for 'a b': the name is not"),
        ("#desk", ["jobs"], None, "a key for '#desk': the name is not"),
        ("desk", ["job", "jobs"], None, "the scopes are not"),
        ("desk", [], None, "the scopes are not"),
        ("desk", ["jobs"], float("inf"), "rate="),
    ],
)
def test_a_key_that_cannot_be_is_not_made(name: str, scopes: list[str], rate_per_s: float | None, told: str) -> None:
    with pytest.raises(BadKey, match=told):
        make(name, scopes, rate_per_s)


def test_each_key_of_the_file_is_found(file: Path) -> None:
    keys = Keys(file)

    assert keys.find(SECRET) == KEY
    assert keys.find(OTHER_SECRET) == OTHER


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nd_",
        SECRET[:-1],
        SECRET + "x",
        SECRET.upper(),
        SECRET.replace(KEY.id, OTHER.id),
        SECRET.replace(KEY.id, "00000000"),
        f"nd__{SECRET}",
        f"{KEY.id}",
        KEY.digest.hex(),
        KEY.line,
        "ü" * 60,
        "\ud800" * 60,
        "x" * 100_000,
    ],
    ids=range(14),
)
def test_nothing_but_a_key_of_the_file_is_found(given: str, file: Path) -> None:
    assert Keys(file).find(given) is None


def test_a_key_that_is_added_or_removed_counts_at_the_next_look(file: Path) -> None:
    clock = Clock()
    keys = Keys(file, clock)
    file.write_text(OTHER.line)
    assert keys.find(SECRET) == KEY

    clock.now += LOOK_S

    assert keys.find(SECRET) is None
    assert keys.find(OTHER_SECRET) == OTHER


@pytest.mark.parametrize("broken", ["nonsense\n", None], ids=["a line", "no file"])
def test_a_new_file_that_is_broken_is_logged_once_and_leaves_the_old_keys(
    broken: str | None, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    keys = Keys(file, clock)
    file.unlink()
    if broken:
        file.write_text(broken)

    for _ in range(3):
        clock.now += LOOK_S
        assert keys.find(SECRET) == KEY

    assert caplog.text.count("the keys that were there before stay") == 1
    file.write_text(OTHER.line)
    clock.now += LOOK_S
    assert keys.find(SECRET) is None


def test_what_changes_while_the_file_is_read_is_seen_at_the_next_look(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()

    def read_and_change(path: Path) -> dict[str, Key]:
        found = read(path)
        path.write_text(OTHER.line)
        return found

    monkeypatch.setattr("service.keys.read", read_and_change)
    keys = Keys(file, clock)
    monkeypatch.undo()

    clock.now += LOOK_S

    assert keys.find(SECRET) is None


def test_a_change_is_logged_without_keys(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    keys = Keys(file, clock)
    file.write_text(KEY.line)

    clock.now += LOOK_S
    keys.find(SECRET)

    assert "has changed: 1 API keys" in caplog.text
    assert KEY.digest.hex() not in caplog.text


def test_a_key_in_a_text_loses_its_secret() -> None:
    assert (
        without_secrets(f'{{"path":"/v1/{SECRET}/x","ok":"nd_1"}}') == f'{{"path":"/v1/nd_{KEY.id}_.../x","ok":"nd_1"}}'
    )
