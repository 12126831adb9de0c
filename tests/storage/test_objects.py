"""One contract for object stores, S3 or Azure behind a network or a store in memory; and what only a network does."""

from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Iterator

import pytest

from holdfastd.storage.bulk import BulkWriter
from holdfastd.storage.object_stores import ObjectStores
from holdfastd.storage.object_writer import AT_ONCE, MOST_PARTS, PART_BYTES, part_bytes
from holdfastd.storage.objects import ObjectFileSystem
from holdfastd.storage.osfiles import OsFileSystem
from holdfastd.storage.routing import RoutedFileSystem
from holdfastd.storage.store_errors import StoreError, StoreProblem, translated
from tests.support.object_files import PATIENCE, noise, objects_at, put
from tests.support.object_memory import MemoryObjects, MemoryStores
from tests.support.object_server import KEY_ID, SECRET, BreakingLine, Refusing, S3Server, lead_to

pytestmark = pytest.mark.xdist_group("objects")

MIB = 1 << 20


@pytest.fixture(params=["s3", "azure", "memory"])
def fs(request: pytest.FixtureRequest) -> ObjectFileSystem:
    if request.param == "memory":
        return MemoryObjects(MemoryStores())
    found: ObjectFileSystem = request.getfixturevalue(request.param)
    return found


# The contract --------------------------------------------------------------------------------------------------------


def test_an_object_is_there_once_it_is_complete_and_not_before(fs: ObjectFileSystem, at: str) -> None:
    file = fs.create(f"{at}/x.part", 100)
    file.pwrite([b"abc", memoryview(b"de")], 0)
    file.pwrite([b"fgh\0\0\0"], 5)
    file.truncate(8)
    file.sync()
    file.close()
    assert (fs.exists(f"{at}/x"), fs.exists(f"{at}/x.part")) == (False, True)
    fs.rename(f"{at}/x.part", f"{at}/x")
    assert (fs.exists(f"{at}/x"), fs.exists(f"{at}/x.part")) == (True, False)
    assert (fs.size(f"{at}/x"), fs.read(f"{at}/x")) == (8, b"abcdefgh")
    assert (fs.read(f"{at}/x", 2, 3), fs.read(f"{at}/x", 6, 9), fs.read(f"{at}/x", 20, 3)) == (b"cde", b"gh", b"")


def test_an_object_of_many_parts_is_the_bytes_that_were_written(fs: ObjectFileSystem, at: str) -> None:
    data = noise(2 * PART_BYTES + 12345)
    with BulkWriter(fs, f"{at}/x.part", len(data)) as out:
        for start in range(0, len(data), 700_001):
            out.write(data[start : start + 700_001])
        assert out.close().size == len(data)
    fs.rename(f"{at}/x.part", f"{at}/x")
    reader = fs.reader(f"{at}/x")
    assert reader.size == len(data)
    read, position = [], 0
    while piece := reader.read(position, 333_333):
        read.append(piece)
        position += len(piece)
    assert b"".join(read) == data
    assert reader.read(5 * MIB, 10) == data[5 * MIB : 5 * MIB + 10]


def test_a_list_and_a_question_about_one_object_tell_the_same(fs: ObjectFileSystem, at: str) -> None:
    put(fs, f"{at}/x", b"abc")
    assert fs.facts(at) == {"x": (fs.size(f"{at}/x"), fs.modified_ns(f"{at}/x"))}
    with pytest.raises(FileNotFoundError):
        fs.modified_ns(f"{at}/y")


def test_an_empty_object_is_one(fs: ObjectFileSystem, at: str) -> None:
    put(fs, f"{at}/x", b"")
    assert (fs.size(f"{at}/x"), fs.read(f"{at}/x"), {name: facts.size for name, facts in fs.facts(at).items()}) == (
        0,
        b"",
        {"x": 0},
    )


def test_what_is_given_up_leaves_nothing(fs: ObjectFileSystem, at: str) -> None:
    file = fs.create(f"{at}/x.part", 3 * PART_BYTES)
    file.pwrite([noise(PART_BYTES + 1)], 0)
    file.pwrite([noise(PART_BYTES)], PART_BYTES + 1)
    file.sync()
    fs.unlink(f"{at}/x.part")
    assert (fs.exists(f"{at}/x.part"), fs.exists(f"{at}/x"), fs.exists(at)) == (False, False, False)


def test_a_name_is_taken_once(fs: ObjectFileSystem, at: str) -> None:
    first = fs.create(f"{at}/x.part")
    with pytest.raises(FileExistsError):
        fs.create(f"{at}/x.part")
    first.pwrite([b"first"], 0)
    fs.rename(f"{at}/x.part", f"{at}/x")
    with pytest.raises(FileExistsError):
        fs.create(f"{at}/x.part")
    assert not fs.exists(f"{at}/x.part")
    assert fs.read(f"{at}/x") == b"first"


def test_an_object_that_came_meanwhile_is_never_replaced(fs: ObjectFileSystem, at: str) -> None:
    fs.create(f"{at}/x.part").pwrite([b"late"], 0)
    fs._library(at).put(fs._stores.of(at), f"{at}/x".split("/", 3)[3], b"another's")
    with pytest.raises(FileExistsError):
        fs.rename(f"{at}/x.part", f"{at}/x")
    fs.unlink(f"{at}/x.part")
    assert fs.read(f"{at}/x") == b"another's"


def test_whoever_may_not_delete_writes_all_the_same(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = MemoryObjects(MemoryStores())

    def denied(path: str) -> None:
        raise StoreError(StoreProblem.ACCESS_DENIED, path)

    monkeypatch.setattr(fs, "unlink", denied)
    put(fs, f"{at}/x", b"abc")
    assert (fs.read(f"{at}/x"), fs.listdir(at)) == (b"abc", ["x", "x.part"])


def test_a_prefix_is_a_directory_once_something_lies_below_it(fs: ObjectFileSystem, at: str) -> None:
    assert (fs.exists(at), fs.is_dir(at), fs.listdir(at)) == (False, False, [])
    put(fs, f"{at}/b", b"12")
    put(fs, f"{at}/a", b"1")
    put(fs, f"{at}/below/c", b"123")
    put(fs, f"{at}-beside/d", b"1234")
    assert (fs.exists(at), fs.is_dir(at), fs.is_dir(f"{at}/a")) == (True, True, False)
    assert fs.listdir(at) == ["a", "b", "below"]
    assert {name: facts.size for name, facts in fs.facts(at).items()} == {"a": 1, "b": 2}
    fs.unlink(f"{at}/a")
    fs.unlink(f"{at}/a")
    assert {name: facts.size for name, facts in fs.facts(at).items()} == {"b": 2}


def test_what_is_missing_is_not_found(fs: ObjectFileSystem, at: str) -> None:
    for look in (fs.size, fs.read, fs.reader):
        with pytest.raises(FileNotFoundError) as caught:
            look(f"{at}/x")
        assert caught.value.filename == f"{at}/x"


def test_an_object_is_written_in_order_and_never_changed(fs: ObjectFileSystem, at: str) -> None:
    file = fs.create(f"{at}/x.part")
    file.pwrite([b"abc"], 0)
    with pytest.raises(OSError, match="in order") as caught:
        file.pwrite([b"x"], 1)
    assert caught.value.errno == errno.ESPIPE
    file.sync()
    with pytest.raises(OSError, match="taken back"):
        file.truncate(1)
    fs.unlink(f"{at}/x.part")
    for refused in (lambda: fs.open(at), lambda: fs.map(at), lambda: fs.lock(at), lambda: fs.create(f"{at}/x")):
        with pytest.raises(OSError) as caught:
            refused()
        assert caught.value.errno == errno.EOPNOTSUPP
    with pytest.raises(OSError, match="renamed"):
        fs.rename(f"{at}/x", f"{at}/y")


def test_parts_are_as_large_as_the_object_needs() -> None:
    assert part_bytes(0) == part_bytes(PART_BYTES * MOST_PARTS) == PART_BYTES
    for size in (PART_BYTES * MOST_PARTS + 1, 1 << 40, 5 << 40):
        part = part_bytes(size)
        assert part % MIB == 0
        assert size * 1.05 < part * 10_000
        assert part < 1 << 30


def test_paths_go_to_the_disk_and_urls_to_the_store(tmp_path: object) -> None:
    fs = RoutedFileSystem(OsFileSystem(), MemoryObjects(MemoryStores()))
    url = "gs://bucket/x"
    fs.create(f"{url}.part").pwrite([b"abc"], 0)
    with pytest.raises(OSError) as caught:
        fs.rename(f"{url}.part", f"{tmp_path}/x")
    assert caught.value.errno == errno.EXDEV
    fs.rename(f"{url}.part", url)
    assert (fs.read(url), fs.exists(f"{tmp_path}/x"), fs.same_disk(url, str(tmp_path))) == (b"abc", False, False)
    assert fs.same_disk(url, "gs://bucket/y")
    assert not fs.same_disk(url, "gs://other/y")


# The network ---------------------------------------------------------------------------------------------------------


def test_an_upload_that_is_given_up_is_gone_from_the_server(server: S3Server, s3: ObjectFileSystem, at: str) -> None:
    file = s3.create(f"{at}/x.part")
    file.pwrite([noise(PART_BYTES)], 0)
    file.pwrite([noise(PART_BYTES + 1)], PART_BYTES)
    file.sync()
    assert b"<UploadId>" in server.uploads()
    s3.unlink(f"{at}/x.part")
    assert b"<UploadId>" not in server.uploads()


@pytest.fixture
def line(server: S3Server) -> Iterator[BreakingLine]:
    made = BreakingLine(server.port)
    yield made
    made.close()


def test_a_broken_connection_is_taken_up_where_it_broke(
    server: S3Server, s3: ObjectFileSystem, line: BreakingLine, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(6 * MIB + 17)
    put(s3, f"{at}/x", data)
    over_it = objects_at(line.endpoint, monkeypatch)
    line.answers = [1000, 100_000, 1_500_000, 2_345_678]
    assert over_it.read(f"{at}/x") == data
    assert (line.answers, line.broken) == ([], 4)


def test_a_look_at_the_beginning_or_the_end_reads_no_more_than_that(
    s3: ObjectFileSystem, line: BreakingLine, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(6 * MIB)
    put(s3, f"{at}/x", data)
    reader = objects_at(line.endpoint, monkeypatch).reader(f"{at}/x")
    assert reader.read(0, 600) + reader.read(len(data) - 700, 700) == data[:600] + data[-700:]
    assert line.answered < 100_000


def test_an_upload_goes_on_after_a_broken_connection(
    line: BreakingLine, s3: ObjectFileSystem, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(2 * PART_BYTES + 99)
    over_it = objects_at(line.endpoint, monkeypatch)
    line.requests = [3 * MIB, 5 * MIB]
    put(over_it, f"{at}/x", data)
    assert line.broken >= 1
    assert s3.read(f"{at}/x") == data


def test_an_object_whose_completion_was_answered_by_nobody_is_there(
    s3: ObjectFileSystem, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = s3.create(f"{at}/x.part")
    file.pwrite([b"abc"], 0)
    complete = type(file).complete

    def unanswered(self: object) -> None:
        complete(file)
        raise StoreError(StoreProblem.UNREACHABLE, f"{at}/x")

    monkeypatch.setattr(type(file), "complete", unanswered)
    s3.rename(f"{at}/x.part", f"{at}/x")
    assert (s3.read(f"{at}/x"), s3.exists(f"{at}/x.part")) == (b"abc", False)


def test_an_object_that_is_replaced_while_it_is_read_is_refused(
    server: S3Server, s3: ObjectFileSystem, at: str
) -> None:
    put(s3, f"{at}/x", noise(MIB))
    reader = s3.reader(f"{at}/x")
    assert len(reader.read(0, 10)) == 10
    server.ask("PUT", f"{at}/x".removeprefix("s3://"), noise(MIB + 1))
    with pytest.raises(StoreError) as caught:
        reader.read(10, MIB)
    assert caught.value.problem is StoreProblem.CHANGED


def test_memory_is_bounded_whatever_the_size(s3: ObjectFileSystem, at: str) -> None:
    pieces, piece = 64, noise(MIB)
    tracemalloc.start()
    try:
        with BulkWriter(s3, f"{at}/x.part", pieces * MIB) as out:
            for _ in range(pieces):
                out.write(piece)
            out.close()
        s3.rename(f"{at}/x.part", f"{at}/x")
        reader = s3.reader(f"{at}/x")
        for number in range(pieces):
            assert reader.read(number * MIB, MIB) == piece
        # The part that is being filled, and those on their way.
        assert tracemalloc.get_traced_memory()[1] < (1 + AT_ONCE) * PART_BYTES + 4 * MIB
    finally:
        tracemalloc.stop()


ANSWERS = [
    (403, "AccessDenied", StoreProblem.ACCESS_DENIED),
    (403, "SignatureDoesNotMatch", StoreProblem.ACCESS_DENIED),
    (400, "ExpiredToken", StoreProblem.ACCESS_DENIED),
    (401, "", StoreProblem.ACCESS_DENIED),
    (404, "NoSuchBucket", StoreProblem.NO_BUCKET),
    (301, "PermanentRedirect", StoreProblem.MISCONFIGURED),
    (400, "AuthorizationHeaderMalformed", StoreProblem.MISCONFIGURED),
    (403, "RequestTimeTooSkewed", StoreProblem.WRONG_CLOCK),
    (503, "SlowDown", StoreProblem.BUSY),
    (500, "InternalError", StoreProblem.BUSY),
    (429, "TooManyRequests", StoreProblem.BUSY),
    (400, "SomethingNew", StoreProblem.OTHER),
]


@pytest.mark.parametrize(("status", "code", "problem"), ANSWERS)
def test_each_answer_is_told_for_what_it_is_and_gives_nothing_away(
    status: int, code: str, problem: StoreProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak = f"<AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId><StringToSign>{SECRET}</StringToSign>"
    server = Refusing(status, f"<Error><Code>{code}</Code><Message>no</Message>{leak}</Error>")
    try:
        stores = ObjectStores(lead_to(monkeypatch, server.endpoint), patience=0.3)
        with pytest.raises(StoreError) as caught:
            ObjectFileSystem(stores).listdir("s3://backups/x")
    finally:
        server.close()
    assert caught.value.problem is problem
    assert caught.value.filename == "s3://backups/x"
    assert status == 301 or code in str(caught.value)
    assert caught.value.__suppress_context__
    for secret in (KEY_ID, SECRET, "Signature="):
        assert secret not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("url", "settings", "endpoint"),
    [
        (
            "az://backups/x",
            {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "cGxhbnRlZCBrZXk="},
            "AZURE_STORAGE_ENDPOINT",
        ),
        ("gs://backups/x", {"GOOGLE_SKIP_SIGNATURE": "true"}, "GOOGLE_BASE_URL"),
    ],
)
def test_other_stores_are_reached_by_their_own_names(
    url: str, settings: dict[str, str], endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Refusing(403, f"<Error><Code>AuthenticationFailed</Code><Message>{SECRET}</Message></Error>")
    try:
        given = settings | {endpoint: server.endpoint}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StoreError, match="HTTP 403, AuthenticationFailed") as caught:
            ObjectFileSystem(ObjectStores(given, patience=0.3)).listdir(url)
    finally:
        server.close()
    assert (caught.value.problem, caught.value.filename) == (StoreProblem.ACCESS_DENIED, url)
    assert server.asked == 1
    assert SECRET not in str(caught.value)


def test_a_store_that_is_busy_is_asked_again(
    server: S3Server, s3: ObjectFileSystem, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, f"{at}/x", b"abc")
    busy = Refusing(503, "<Error><Code>SlowDown</Code></Error>", times=2, then=server.endpoint)
    try:
        assert objects_at(busy.endpoint, monkeypatch).facts(at)["x"].size == 3
    finally:
        busy.close()
    assert busy.asked == 3


def test_a_store_without_conditions_is_looked_at_instead(
    server: S3Server, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = lead_to(monkeypatch, server.endpoint)
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    fs = ObjectFileSystem(ObjectStores(environment, patience=PATIENCE))
    fs.create(f"{at}/x.part").pwrite([b"abc"], 0)
    with pytest.raises(FileExistsError):
        fs.create(f"{at}/x.part")
    fs.rename(f"{at}/x.part", f"{at}/x")
    with pytest.raises(FileExistsError):
        fs.create(f"{at}/x.part")
    assert (fs.read(f"{at}/x"), fs.listdir(at)) == (b"abc", ["x"])


def test_a_store_that_nobody_serves_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = ObjectStores(lead_to(monkeypatch, "http://127.0.0.1:9"), patience=0.3)
    with pytest.raises(StoreError) as caught:
        ObjectFileSystem(stores).exists("s3://backups/x")
    assert caught.value.problem is StoreProblem.UNREACHABLE
    assert "AWS_ENDPOINT_URL" in caught.value.hint


def test_missing_credentials_and_accounts_are_told_apart_from_a_network_that_is_down() -> None:
    asking = "Error performing PUT http://169.254.169.254/latest/api/token in 1s - HTTP error: error sending request"
    problems = {
        asking: StoreProblem.NO_CREDENTIALS,
        "Error performing GET http://metadata.google.internal/x": StoreProblem.NO_CREDENTIALS,
        "Generic MicrosoftAzure error: Account must be specified": StoreProblem.MISCONFIGURED,
        "Generic MicrosoftAzure error: Invalid Access Key: Invalid symbol 33": StoreProblem.NO_CREDENTIALS,
        "Generic GCS error: Unable to open service account file from /x: No such file": StoreProblem.NO_CREDENTIALS,
        "Generic S3 error: Got invalid list response: invalid type: string": StoreProblem.MISCONFIGURED,
        "HTTP error: error sending request": StoreProblem.UNREACHABLE,
    }
    for text, problem in problems.items():
        error = translated(ValueError(text), "az://c/x")
        assert isinstance(error, StoreError)
        assert error.problem is problem


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    with pytest.raises(StoreError) as caught:
        ObjectFileSystem(ObjectStores({})).exists("s3://backups/x")
    assert caught.value.problem is StoreProblem.NOT_INSTALLED
    assert "holdfast[server,objects]" in caught.value.hint
