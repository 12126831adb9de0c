"""What an object store says when it does not do what it was asked, and when its answer is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from holdfastd.storage.object_stores import ObjectStores
from holdfastd.storage.object_writer import PART_BYTES
from holdfastd.storage.objects import ObjectFileSystem
from holdfastd.storage.store_errors import StoreError, StoreProblem
from tests.support.object_files import PATIENCE, noise, objects_at, put
from tests.support.object_meddler import LOST, Answer, Meddler, first_of, refusal
from tests.support.object_memory import MemoryObjects, MemoryStores
from tests.support.object_server import KEY_ID, SECRET, S3Server, lead_to

pytestmark = pytest.mark.xdist_group("objects")


@pytest.fixture
def meddler(server: S3Server) -> Iterator[Meddler]:
    made = Meddler(server.port)
    yield made
    made.close()


def completes(method: str, path: str) -> bool:
    return method == "POST" and "uploadId=" in path


@pytest.mark.parametrize("times", [1, 99])
def test_an_upload_that_was_completed_unheard_is_there(
    s3: ObjectFileSystem, meddler: Meddler, at: str, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    data = noise(PART_BYTES + 9)
    meddler.meddle = first_of(completes, LOST, times)
    put(objects_at(meddler.endpoint, monkeypatch), f"{at}/x", data)
    assert (s3.read(f"{at}/x"), s3.listdir(at)) == (data, ["x"])


def test_a_claim_that_was_put_unheard_is_ones_own(
    s3: ObjectFileSystem, meddler: Meddler, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meddler.meddle = first_of(lambda method, path: method == "PUT" and path.endswith(".part"), LOST)
    over_it = objects_at(meddler.endpoint, monkeypatch)
    put(over_it, f"{at}/x", b"abc")
    assert (s3.read(f"{at}/x"), s3.listdir(at)) == (b"abc", ["x"])
    s3.create(f"{at}/y.part")
    meddler.meddle = first_of(lambda method, path: method == "PUT" and path.endswith(".part"), LOST)
    with pytest.raises(FileExistsError):
        over_it.create(f"{at}/y.part")


def test_a_store_that_denies_deleting_in_its_answer_is_told_so(
    server: S3Server, meddler: Meddler, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 says it of each object, in an answer that is a success."""

    def denied(name: str) -> Answer:
        key = f"{at}/{name}".split("/", 3)[3]
        said = f"<Key>{key}</Key><Code>AccessDenied</Code><Message>no</Message>"
        return Answer(200, f"<DeleteResult><Error>{said}</Error></DeleteResult>")

    meddler.meddle = lambda method, path: denied("x.part") if path.endswith("?delete") else None
    fs = objects_at(meddler.endpoint, monkeypatch)
    put(fs, f"{at}/x", b"abc")
    meddler.meddle = lambda method, path: denied("x") if path.endswith("?delete") else None
    with pytest.raises(StoreError) as caught:
        fs.unlink(f"{at}/x")
    assert caught.value.problem is StoreProblem.ACCESS_DENIED
    assert "AccessDenied" in str(caught.value)
    assert fs.listdir(at) == ["x", "x.part"]


def test_a_fault_that_is_told_in_a_success_is_a_fault_of_the_store(
    meddler: Meddler, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = objects_at(meddler.endpoint, monkeypatch)
    file = fs.create(f"{at}/x.part")
    file.pwrite([noise(PART_BYTES + 9)], 0)
    meddler.meddle = first_of(completes, Answer(200, refusal("InternalError")), 99)
    with pytest.raises(StoreError) as caught:
        fs.rename(f"{at}/x.part", f"{at}/x")
    assert caught.value.problem is StoreProblem.BUSY
    fs.unlink(f"{at}/x.part")
    assert not fs.exists(at)


@pytest.mark.parametrize("name", ["a//b", "a/./b", "a/../b", "a/%01"])
def test_a_name_that_stands_in_the_way_of_a_list_is_told(
    server: S3Server, s3: ObjectFileSystem, at: str, name: str
) -> None:
    server.ask("PUT", f"{at}/{name}".removeprefix("s3://"))
    try:
        with pytest.raises(StoreError) as caught:
            s3.listdir(f"{at}/a")
    finally:
        server.ask("DELETE", f"{at}/{name}".removeprefix("s3://"))
    assert caught.value.problem is StoreProblem.ODD_NAME
    assert not caught.value.is_passing


def test_a_folder_that_a_console_has_made_and_thousands_of_names_are_listed(
    server: S3Server, s3: ObjectFileSystem, at: str
) -> None:
    server.ask("PUT", f"{at}/".removeprefix("s3://"))
    names = [f"k{number:04}" for number in range(1001)]
    for name in names:
        server.ask("PUT", f"{at}/{name}".removeprefix("s3://"))
    assert (s3.listdir(at), list(s3.facts(at))) == (names, names)


def test_an_endpoint_without_a_scheme_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = ObjectStores(lead_to(monkeypatch, f"{KEY_ID}:{SECRET}@minio.example.com:9000"), patience=PATIENCE)
    with pytest.raises(StoreError, match="begins with no http") as caught:
        ObjectFileSystem(stores).listdir("s3://backups/x")
    assert caught.value.problem is StoreProblem.MISCONFIGURED
    assert SECRET not in f"{caught.value}{caught.value.hint}"


def test_what_the_library_dies_of_is_an_error_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {})

    def dying(url: str) -> object:
        raise panic("request valid")

    stores = MemoryStores()
    monkeypatch.setattr(stores, "of", dying)
    with pytest.raises(StoreError, match="the library for it failed") as caught:
        MemoryObjects(stores).size("s3://backups/x")
    assert caught.value.problem is StoreProblem.OTHER


def test_a_daemon_that_ends_asks_a_store_that_did_not_answer_for_nothing_more(
    server: S3Server, meddler: Meddler, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = ObjectStores(lead_to(monkeypatch, meddler.endpoint), patience=0.3)
    fs = ObjectFileSystem(stores)
    file = fs.create(f"{at}/x.part")
    file.pwrite([b"abc"], 0)
    stores.hurry()
    # One that answers is left in order.
    assert fs.listdir(at) == ["x.part"]
    meddler.meddle = lambda method, path: Answer(503, refusal("SlowDown"))
    with pytest.raises(StoreError, match="too busy"):
        fs.listdir(at)
    asked = len(meddler.asked)
    for ask in (lambda: fs.listdir(at), lambda: fs.unlink(f"{at}/x.part"), lambda: fs.create(f"{at}/y.part")):
        with pytest.raises(StoreError, match="the daemon is being stopped"):
            ask()
    assert len(meddler.asked) == asked
    with pytest.raises(StoreError, match="too busy"):
        fs.listdir("s3://another/x")


def test_googles_stores_keep_the_same_contract(server: S3Server, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    meddler = Meddler(server.port, google=True)
    key = {"gcs_base_url": meddler.endpoint, "disable_oauth": True, "client_email": "", "private_key": ""}
    settings = {
        "GOOGLE_BASE_URL": meddler.endpoint,
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(key | {"private_key_id": ""}),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    at = at.replace("s3://", "gs://")
    fs = ObjectFileSystem(ObjectStores(settings, patience=PATIENCE))
    data = noise(2 * PART_BYTES + 9)
    try:
        put(fs, f"{at}/x", data)
        assert (fs.read(f"{at}/x"), fs.read(f"{at}/x", PART_BYTES, 3)) == (data, data[PART_BYTES : PART_BYTES + 3])
        fs.create(f"{at}/y.part")
        for taken in (f"{at}/x.part", f"{at}/y.part"):
            with pytest.raises(FileExistsError):
                fs.create(taken)
        fs.unlink(f"{at}/y.part")
        assert {name: facts.size for name, facts in fs.facts(at).items()} == {"x": len(data)}
        meddler.meddle = first_of(completes, LOST, 99)
        put(fs, f"{at}/z", data)
        for name in ("x", "z", "z"):
            fs.unlink(f"{at}/{name}")
        assert (fs.listdir(at), fs.exists(at)) == ([], False)
        with pytest.raises(StoreError) as caught:
            fs.create("gs://no-such-bucket/x.part")
        assert caught.value.problem is StoreProblem.NO_BUCKET
    finally:
        meddler.close()


def test_a_claim_that_may_not_be_read_is_anothers(
    s3: ObjectFileSystem, meddler: Meddler, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.create(f"{at}/x.part")
    fs = objects_at(meddler.endpoint, monkeypatch)
    meddler.meddle = lambda method, path: Answer(403, refusal("AccessDenied")) if method in ("GET", "HEAD") else None
    with pytest.raises(FileExistsError):
        fs.create(f"{at}/x.part")
