"""`nextday keys`: the file it writes, and what it says."""

import json
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nextday import main
from service.key_file import add
from service.keys import Keys, make, read


def keys(*arguments: object, **env: str | None) -> Result:
    return CliRunner().invoke(main, ["keys", *map(str, arguments)], env=env)


def new(path: Path, *arguments: str) -> str:
    done = keys("new", "desk", "--scope", "forecast", "--file", path, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_a_new_key_is_alone_on_standard_output_and_let_in(tmp_path: Path) -> None:
    path = tmp_path / "api-keys"

    done = keys("new", "desk", "--scope", "jobs", "--scope", "forecast", "--rate", "5", "--file", path)

    assert done.exit_code == 0
    key = Keys(path).find(done.stdout.removesuffix("\n"))
    assert key is not None
    assert (key.name, key.scopes, key.rate_per_s) == ("desk", {"forecast", "jobs"}, 5.0)
    assert done.stdout.strip() not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["api-keys"]


@pytest.mark.parametrize("before", ["", "# ours\n", "# ours", "# ours\r\n\r\n"])
def test_what_was_in_the_file_stays_with_its_mode(before: str, tmp_path: Path) -> None:
    path = tmp_path / "api-keys"
    path.write_bytes(before.encode())
    path.chmod(0o644)

    first, second = new(path), new(path)

    assert path.read_bytes().decode().startswith(before)
    assert path.stat().st_mode & 0o777 == 0o644
    assert Keys(path).find(first)
    assert Keys(path).find(second)


def test_a_link_to_the_file_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")

    secret = new(tmp_path / "link")

    assert (tmp_path / "link").is_symlink()
    assert Keys(tmp_path / "real").find(secret)


def test_a_broken_file_is_left_as_it_is_and_told(tmp_path: Path) -> None:
    path = tmp_path / "api-keys"
    path.write_text("nonsense\n")

    done = keys("new", "desk", "--scope", "jobs", "--file", path)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "api-keys, line 1: has 1 parts" in done.stderr
    assert path.read_text() == "nonsense\n"


def test_keys_that_are_added_at_once_are_all_there(tmp_path: Path) -> None:
    made = [make("desk", ["jobs"])[1] for _ in range(20)]
    threads = [threading.Thread(target=add, args=(tmp_path / "api-keys", key)) for key in made]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(read(tmp_path / "api-keys")) == {key.id for key in made}


def test_without_a_file_the_line_to_append_is_on_standard_error(tmp_path: Path) -> None:
    done = keys("new", "desk", "--scope", "jobs", NEXTDAY_API_KEYS_FILE=None)

    (tmp_path / "api-keys").write_text(done.stderr.splitlines()[0])
    assert Keys(tmp_path / "api-keys").find(done.stdout.strip())


def test_the_file_is_that_of_the_environment_unless_named(tmp_path: Path) -> None:
    path = tmp_path / "api-keys"

    done = keys("new", "desk", "--scope", "jobs", NEXTDAY_API_KEYS_FILE=str(path))

    assert Keys(path).find(done.stdout.strip())
    assert "desk" in keys("list", NEXTDAY_API_KEYS_FILE=str(path)).stdout


def test_the_list_has_all_but_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "api-keys"
    secret = new(path, "--scope", "admin", "--rate", "0.5")

    document = json.loads(keys("list", "--json", "--file", path).stdout)
    table = keys("list", "--file", path).stdout

    (entry,) = document["keys"]
    assert entry == {"id": secret[3:11], "name": "desk", "scopes": ["forecast", "admin"], "rate_per_s": 0.5}
    assert table.splitlines()[1].split() == [secret[3:11], "desk", "forecast,admin", "0.5"]
    assert read(path)[secret[3:11]].digest.hex() not in table + str(document)


def test_a_revoked_key_is_gone_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "api-keys"
    first = new(path)
    with path.open("a") as file:
        file.write(f"# {first[3:11]} is the old one\n")
    second = new(path)

    done = keys("revoke", first[3:11], "--file", path)

    assert done.exit_code == 0
    assert "# " in path.read_text()
    assert Keys(path).find(first) is None
    assert Keys(path).find(second)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["revoke", "00000000", "--file", "api-keys"], "api-keys has no key with the id '00000000'"),
        (["list", "--file", "api-keys"], "api-keys: there is no such file of API keys"),
        (["list"], "name one with --file or in NEXTDAY_API_KEYS_FILE"),
        (["revoke", "00000000"], "name one with --file or in NEXTDAY_API_KEYS_FILE"),
        (["new", "a b", "--scope", "jobs"], "a key for 'a b': the name is not"),
        (["new", "desk"], "Missing option '--scope'"),
        (["new", "desk", "--scope", "root"], "'root' is not one of 'forecast', 'jobs', 'admin'"),
        (["new", "desk", "--scope", "jobs", "--rate", "-1"], "-1.0 is not in the range"),
        (["new", "desk", "--scope", "jobs", "--rate", "nan"], "rate="),
        (["new", "desk", "--scope", "jobs", "--file", "nowhere/api-keys"], "cannot be changed (No such file"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEXTDAY_API_KEYS_FILE", raising=False)

    done = keys(*arguments)

    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stdout == ""
