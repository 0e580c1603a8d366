"""A store that can't be used says so in a sentence, and no fault breaks it."""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from paretune.core.errors import StoreError
from paretune.store import _database, _figures, _schema
from paretune.store.artifacts import Artifacts
from paretune.store.cache import Cache
from paretune.store.trials import Trials
from tests.store.faults import folder, fork, kill, result, trial, until

STEPS = [{"technique": "structured_pruning", "ratio": 0.5}]
SCHEMAS = Path(__file__).parent / "schemas"


def raw(root: Path) -> "closing[sqlite3.Connection]":
    return closing(sqlite3.connect(root / "studies.db", isolation_level=None))


def code(root: Path, create: bool = True) -> tuple[str, str]:
    with pytest.raises(StoreError) as caught:
        Trials.open(root, create)
    return caught.value.code, caught.value.message


def filled(root: Path, trials: int = 3) -> Trials:
    store = Trials.open(root)
    store.create_study("a", {})
    lease = store.acquire("a", "me")
    for _ in range(trials):
        claim = store.claim("a", STEPS, lease)
        store.finish(claim, trial(claim.number, samples=500))
    store.release(lease)
    return store


def test_a_missing_one_is_not_made_for_a_reader(tmp_path: Path) -> None:
    found, message = code(tmp_path / "none", create=False)
    assert found == "store-missing"
    assert str(tmp_path / "none") in message
    assert not (tmp_path / "none").exists()


def test_one_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with raw(tmp_path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = (tmp_path / "studies.db").read_bytes()
    assert code(tmp_path)[0] == "store-foreign"
    assert code(tmp_path, create=False)[0] == "store-foreign"
    assert (tmp_path / "studies.db").read_bytes() == before


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "studies.db").write_bytes(b"not a database, " * 100)
    assert code(tmp_path)[0] == "store-foreign"
    (tmp_path / "file").touch()
    assert code(tmp_path / "file")[0] == "store-foreign"


def test_an_empty_file_is_begun(tmp_path: Path) -> None:
    (tmp_path / "studies.db").touch()
    assert code(tmp_path, create=False)[0] == "store-foreign"
    assert Trials.open(tmp_path).names() == ()


def test_a_newer_one_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    with raw(tmp_path) as connection:
        connection.execute("UPDATE paretune SET version = 99")
    found, message = code(tmp_path)
    assert found == "store-newer"
    assert "99" in message
    assert "upgrade paretune" in message


@pytest.mark.parametrize("schema", sorted(SCHEMAS.glob("*.sql")), ids=lambda p: p.stem)
def test_one_of_every_released_schema_goes_on(tmp_path: Path, schema: Path) -> None:
    with raw(tmp_path) as connection:
        connection.executescript(schema.read_text())
    store = Trials.open(tmp_path)
    assert [t.number for t in store.trials("a")] == [0, 1]
    assert store.certifications("a") == 1
    lease = store.acquire("a", "me")
    for claim in store.abandoned("a"):
        again = store.claim_again("a", claim.number, lease, fault=False)
        assert again is not None
        store.finish(again, trial(again.number))
    claim = store.claim("a", STEPS, lease)
    store.finish(claim, trial(claim.number))
    assert [t.number for t in store.trials("a")] == [0, 1, 2, 3]


def older(root: Path) -> None:
    with raw(root) as connection:
        connection.executescript((SCHEMAS / "1_figures.sql").read_text())


def version(root: Path) -> int:
    with raw(root) as connection:
        (found,) = connection.execute("SELECT version FROM paretune").fetchone()
    return int(found)


def test_an_older_one_is_brought_up_to_date_by_whoever_writes(tmp_path: Path) -> None:
    older(tmp_path)
    reader = Trials.open(tmp_path, create=False)
    assert version(tmp_path) == 1
    reader.amend("a", 1, trial(1, 2).measurements)
    Trials.open(tmp_path)
    assert version(tmp_path) == _schema.VERSION
    amended = trial(1, 3).measurements
    reader.amend("a", 1, amended)  # it was opened before
    with reader.view("a") as view:
        accuracy = amended["accuracy"].value
        assert view.records["value"][1, 0] == accuracy


def test_an_older_one_that_a_search_runs_waits(tmp_path: Path) -> None:
    older(tmp_path)
    with raw(tmp_path) as connection:
        connection.execute("UPDATE leases SET deadline = 1e11")
    found, message = code(tmp_path)
    assert found == "store-busy"
    assert "'a' is run by pid 411" in message
    assert version(tmp_path) == 1


def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(_figures, "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Trials.open(tmp_path)
    with raw(tmp_path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert version(tmp_path) == 1
    assert ("figures",) not in tables
    assert [t.number for t in Trials.open(tmp_path).trials("a")] == [0, 1]


def test_the_schema_that_is_written_has_its_file(tmp_path: Path) -> None:
    """Whoever changes a table raises VERSION and adds a file of the new schema."""
    Trials.open(tmp_path / "new")
    with raw(tmp_path) as connection:
        connection.executescript((SCHEMAS / f"{_schema.VERSION}.sql").read_text())

    def tables(root: Path) -> list[str]:
        query = "SELECT sql FROM sqlite_master WHERE type = 'table' ORDER BY name"
        with raw(root) as connection:
            return [" ".join(sql.split()) for (sql,) in connection.execute(query)]

    assert tables(tmp_path / "new") == tables(tmp_path)


def test_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/x / ext4 rw 0 0\nhost:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(_database, "MOUNTS", mounts)
    found, message = code(tmp_path / "store")
    assert found == "store-network-fs"
    assert "nfs4" in message
    assert "PostgreSQL" in message
    assert not (tmp_path / "store").exists()


def test_one_that_another_program_keeps_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    monkeypatch.setattr(_database, "BUSY_S", 0.1)
    store = Trials.open(tmp_path)
    with raw(tmp_path) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        works = lambda: store.trials("a"), lambda: store.update_study("a", "x", 1)
        for work in works:
            with pytest.raises(StoreError, match=r"studies\.db to itself") as caught:
                work()
            assert caught.value.code == "store-busy"


def test_those_who_wait_while_others_work_wait_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with folder() as root:
        filled(root)
        monkeypatch.setattr(_database, "BUSY_S", 0.2)
        store = Trials.open(root)

        def work() -> None:
            end = time.monotonic() + 1.5
            with raw(root) as connection:
                connection.execute("PRAGMA busy_timeout=5000")
                while time.monotonic() < end:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute("UPDATE studies SET created = created || 'x'")
                    (root / "begun").touch()
                    time.sleep(0.12)
                    connection.execute("COMMIT")

        pid = fork(work)
        until((root / "begun").exists)
        for n in range(5):
            store.update_study("a", "n", n)
        assert result(pid) == 0
        assert store.facts("a") == {"n": 4}


def test_what_is_committed_is_on_the_disk(tmp_path: Path) -> None:
    database = filled(tmp_path)._database
    safe = _database.wal_is_safe(sqlite3.sqlite_version_info)
    with database.read() as connection:

        def pragma(name: str) -> object:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()

        assert pragma("journal_mode") == ("wal" if safe else "delete")
        assert pragma("synchronous") == 3
        assert pragma("busy_timeout") == 30_000
        assert pragma("foreign_keys") == 1


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 9), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_the_write_ahead_log_only_where_it_is_safe(
    version: tuple[int, ...], safe: bool
) -> None:
    assert _database.wal_is_safe(version) is safe


def test_a_write_ahead_log_of_another_program_is_ended(tmp_path: Path) -> None:
    if _database.wal_is_safe(sqlite3.sqlite_version_info):
        pytest.skip("this SQLite's write-ahead log is safe")
    filled(tmp_path)
    with raw(tmp_path) as connection:
        assert connection.execute("PRAGMA journal_mode=wal").fetchone() == ("wal",)
    assert len(Trials.open(tmp_path).trials("a")) == 3
    with raw(tmp_path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def scribble(root: Path) -> None:
    """Overwrites the pages in the middle, as a failing disk does."""
    path = root / "studies.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096 * 3)


def test_damage_is_found_after_an_unclean_end(tmp_path: Path) -> None:
    filled(tmp_path, 20)
    pid = fork(lambda: Trials.open(tmp_path).acquire("a", "child"))
    assert result(pid) == 0
    Trials.open(tmp_path)
    scribble(tmp_path)
    found, message = code(tmp_path)
    assert found == "store-corrupt"
    assert str(tmp_path) in message


def test_damage_is_said_when_it_is_met(tmp_path: Path) -> None:
    store = filled(tmp_path, 20)
    scribble(tmp_path)
    with pytest.raises(StoreError) as caught:
        Trials.open(tmp_path).trials("a")
        store._database.check()
    assert caught.value.code == "store-corrupt"


def test_half_a_transaction_is_undone(tmp_path: Path) -> None:
    """Killed after it has overwritten pages, with the old ones in its journal."""
    store = filled(tmp_path, 20)
    before = store.trials("a")
    journal = tmp_path / "studies.db-journal"

    def work() -> None:
        with raw(tmp_path) as connection:
            connection.execute("PRAGMA cache_size=1")
            connection.execute("PRAGMA cache_spill=1")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE trials SET body = body || 'spoilt'")
            (tmp_path / "spoilt").touch()
            until(lambda: False, 60)

    content = (tmp_path / "studies.db").read_bytes()
    pid = fork(work)
    until((tmp_path / "spoilt").exists)
    kill(pid)
    assert journal.stat().st_size > 512
    assert (tmp_path / "studies.db").read_bytes() != content
    assert Trials.open(tmp_path, create=False).trials("a") == before
    assert not journal.exists()
    Trials.open(tmp_path)._database.check()


def as_nobody(work: Callable[[], object]) -> int:
    """Runs `work` as a user whom permissions bind; its exit code."""

    def child() -> None:
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        work()

    return result(fork(child))


def test_one_that_can_only_be_read(capfd: pytest.CaptureFixture[str]) -> None:
    with folder() as root:
        root.chmod(0o755)
        filled(root)
        Artifacts(root), Cache(root)
        try:
            for path in [root, *root.rglob("*")]:
                path.chmod(0o555 if path.is_dir() else 0o444)

            def refused() -> None:
                found, message = code(root)
                assert found == "store-readonly"
                assert str(root) in message
                assert "bytes are free" in message

            def reads() -> None:
                store = Trials.open(root, create=False)
                assert len(store.trials("a")) == 3
                with pytest.raises(StoreError) as caught:
                    store.update_study("a", "x", 1)
                assert caught.value.code == "store-readonly"

            def unmakable() -> None:
                assert code(root / "deeper")[0] == "store-readonly"

            def unstorable() -> None:
                with pytest.raises(StoreError) as caught:
                    Artifacts(root).put(root / "studies.db", "onnx")
                assert caught.value.code == "store-readonly"
                with pytest.raises(StoreError) as caught:
                    Cache(root).put("ab" * 32, lambda f: None)
                assert caught.value.code == "store-readonly"

            for work in (refused, reads, unmakable, unstorable):
                assert as_nobody(work) == 0, capfd.readouterr().err
        finally:
            for path in [root, *root.rglob("*")]:
                path.chmod(0o755)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB."""
    where = tmp_path / "small"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(where)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small file system")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def test_a_full_disk_breaks_nothing(small: Path) -> None:
    """At many fill levels: an error that names it; nothing lost; it goes on after."""
    store = filled(small, 0)
    lease = store.acquire("a", "me")
    ended = []
    ballast = small / "ballast"
    full = {"studies": 0, "artifacts": 0, "cache": 0}
    source = small.parent / "made.onnx"
    source.write_bytes(os.urandom(20_000))
    artifacts, cache = Artifacts(small), Cache(small)
    for kilobytes in range(0, 100, 2):
        stats = os.statvfs(small)
        free = stats.f_bavail * stats.f_frsize
        ballast.write_bytes(bytes(max(free - kilobytes * 1024, 0)))
        try:
            claim = store.claim("a", STEPS, lease)
            store.finish(claim, trial(claim.number))
            ended.append(claim.number)
        except StoreError as error:
            assert error.code == "store-full"
            assert "bytes are free" in error.message
            assert str(small) in error.message
            full["studies"] += 1
        try:
            digest, _ = artifacts.put(source, "onnx")
            artifacts.path(digest, "onnx").unlink()
        except StoreError as error:
            assert error.code == "store-full"
            full["artifacts"] += 1
        try:
            found = cache.put(Cache.key(), lambda f: shutil.copy(source, f))
            shutil.rmtree(found.parent)
        except StoreError as error:
            assert error.code == "store-full"
            full["cache"] += 1
        ballast.unlink()
        with raw(small) as connection:
            assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
        assert not list((small / "making").iterdir())
        for claim in store.running("a"):
            store.finish(claim, trial(claim.number))
            ended.append(claim.number)
        assert [t.number for t in store.trials("a")] == sorted(ended)
    assert all(full.values()), full


def test_a_full_disk_is_said_before_the_search(small: Path) -> None:
    stats = os.statvfs(small)
    (small / "ballast").write_bytes(bytes(stats.f_bavail * stats.f_frsize))
    found, message = code(small / "store")
    assert found == "store-full"
    assert str(small) in message
    (small / "ballast").unlink()
    filled(small)
    stats = os.statvfs(small)
    (small / "ballast").write_bytes(bytes(stats.f_bavail * stats.f_frsize))
    assert code(small)[0] == "store-full"
    assert len(Trials.open(small, create=False).trials("a")) == 3


def test_the_tables_and_the_clock_are_postgresqls_too() -> None:
    dialect = postgresql.dialect()
    for table in _schema.metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=dialect))
    clock = str(select(_schema.clock()).compile(dialect=dialect))
    assert "clock_timestamp()" in clock
