"""A guided tour with real commands: data in, a snapshot, kill -9, recovery, a restore rolled forward by the log.

``make demo`` runs it. Every line that begins with ``$`` is run as it stands, as a process of its own, against a daemon
in a temporary directory; what follows is its output. What the tour claims is compared (✓), and the first difference
ends it with exit code 1. It needs nothing beyond Holdfast itself, takes some seconds, and cleans up behind itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = "examples/data/wordnet-2000"
STRONGHOLD = "noun-04340935"
NOTES = 1500
"""Writes that a client sends one by one while the daemon is killed under it."""
KILLED_AFTER = 300
"""How many of them are acknowledged before that."""
START_SECONDS = 60


class Failed(Exception):
    """Something is not as the tour claims."""


class Tour:
    """Runs and shows commands in ``home``, a temporary directory, and keeps the daemon that they talk to."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.address = f"unix://{home}/holdfast.sock"
        self.environment = os.environ | {"HOLDFAST_ADDRESS": self.address, "PATH": _path_with_our_programs()}
        self.log = home / "holdfastd.log"
        self.daemon: subprocess.Popen[bytes] | None = None

    # Showing --------------------------------------------------------------------------------------------------------

    def chapter(self, title: str, text: str) -> None:
        """A heading and what is to be seen below it."""
        print(f"\n{_bold(f'== {title} ==')}\n{text}")

    def check(self, claim: str, found: object, expected: object) -> None:
        """Say that ``claim`` holds, or end the tour."""
        if found != expected:
            raise Failed(f"{claim}: expected {expected}, found {found}")
        print(f"  ✓ {claim}")

    # Running --------------------------------------------------------------------------------------------------------

    def run(self, command: str) -> str:
        """Show a command, run it, show and return its output. A command that fails ends the tour."""
        print(f"\n$ {_bold(command)}", flush=True)
        output = self.ask(command)
        print(output, end="", flush=True)
        return output

    def ask(self, command: str) -> str:
        """Run a command without showing it; returns its standard output."""
        done = subprocess.run(
            shlex.split(command), cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Failed(f"`{command}` ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def stats(self, collection: str) -> tuple[int, str]:
        """Show a collection's count and digest, as ``collection stats`` tells them."""
        document = self._json(f"holdfast collection stats {collection}")
        print(f'  … "vectors": {document["vectors"]}, "digest": "{document["digest"]}" …')
        return document["vectors"], document["digest"]

    def _json(self, command: str) -> Any:
        print(f"\n$ {_bold(command)}", flush=True)
        return json.loads(self.ask(command))

    # The daemon -----------------------------------------------------------------------------------------------------

    def start_daemon(self) -> None:
        """Start it, wait until it serves, and show what it said meanwhile."""
        command = f"holdfastd --data-dir {self.home}/data --socket {self.home}/holdfast.sock"
        print(f"\n$ {_bold(command + ' &')}", flush=True)
        said_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(shlex.split(command), cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._serves():
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"the daemon does not serve:\n{self.log.read_text()}")
        print(self.log.read_text()[said_before:], end="")

    def _serves(self) -> bool:
        asked = subprocess.run(
            ["holdfast", "storage", "status"], env=self.environment, capture_output=True, check=False
        )
        return asked.returncode == 0

    def kill_daemon(self) -> None:
        """``kill -9``: no warning, nothing flushed, nothing closed."""
        assert self.daemon is not None
        print(f"\n$ {_bold(f'kill -9 {self.daemon.pid}')}")
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def stop_daemon(self) -> None:
        """Stop it in order."""
        assert self.daemon is not None
        print(f"\n$ {_bold(f'kill {self.daemon.pid}')}")
        self.daemon.terminate()
        if self.daemon.wait(timeout=60) != 0:
            raise Failed(f"the daemon did not stop cleanly:\n{self.log.read_text()}")

    def clean_up(self) -> None:
        """Leave no process behind, whatever happened."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()


def take_the_tour(tour: Tour) -> None:
    """All chapters in their order."""
    tour.chapter("1. A daemon and 2,000 embeddings", "An empty directory becomes a store. Every write is synced.")
    print(f"\n$ {_bold(f'export HOLDFAST_ADDRESS={tour.address}')}")
    tour.start_daemon()
    tour.run("holdfast collection create words --dimensions 384")
    tour.run(
        f"holdfast vector insert-batch words --file {DATA}.npy --ids {DATA}.ids.txt --payloads {DATA}.payloads.ndjson"
    )
    show_a_search(tour)
    at_snapshot = take_a_snapshot(tour)
    before_kill = write_more(tour)
    survive_a_kill(tour, before_kill)
    survive_a_kill_while_writing(tour)
    restore_and_replay(tour, at_snapshot)
    tour.stop_daemon()


def show_a_search(tour: Tour) -> None:
    """The nearest neighbours of one word sense."""
    tour.chapter("2. Search", "What is near `stronghold`, a strongly fortified defensive structure?")
    command = f"holdfast vector search words --query-id {STRONGHOLD} --k 5"
    document = tour._json(command)
    print("  (score, word and gloss of each result)")
    for hit in document["results"]:
        payload = hit["payload"]
        print(f"  {hit['score']:.3f}  {payload['lemmas'][0]:<20} {payload['gloss']}")
    tour.check("the search finds five neighbours", document["count"], 5)


def take_a_snapshot(tour: Tour) -> tuple[int, str]:
    """A backup of this moment; returns the count and the digest that it holds."""
    tour.chapter("3. A snapshot", "One file that carries this very moment, while reads and writes could go on.")
    tour.run("holdfast storage snapshot create words --compress")
    tour.run("holdfast storage snapshot verify latest")
    return tour.stats("words")


def write_more(tour: Tour) -> tuple[int, str]:
    """Changes that the snapshot does not have; returns count and digest with them."""
    tour.chapter("4. Life goes on", "Updates and deletes that the snapshot does not know of.")
    tour.run(f"holdfast vector update words --id {STRONGHOLD} --payload '{{\"reviewed\": true}}' --merge")
    tour.run("holdfast vector delete words --filter \"lexname = 'noun.plant'\"")
    return tour.stats("words")


def survive_a_kill(tour: Tour, before: tuple[int, str]) -> None:
    """Recovery brings back exactly what was there."""
    tour.chapter("5. kill -9", "The daemon dies without a word. At the next start it recovers from its log.")
    tour.kill_daemon()
    tour.start_daemon()
    count, digest = tour.stats("words")
    tour.check(f"all {before[0]} vectors are there", count, before[0])
    tour.check("their digest is the same: ids, vectors and payloads, bit by bit", digest, before[1])


def survive_a_kill_while_writing(tour: Tour) -> None:
    """The daemon dies under a client; what was acknowledged is there, and nothing was done twice."""
    tour.chapter(
        "6. kill -9 under a writing client",
        f"A client inserts {NOTES} notes, one durable write each. Meanwhile the daemon is killed and started again.\n"
        "The client repeats what got no answer, under the same request id: what was done is not done twice.",
    )
    vector = json.loads(tour.ask(f"holdfast vector get words --id {STRONGHOLD}"))["vector"]
    (tour.home / "vector.json").write_text(json.dumps(vector))
    script = tour.home / "notes.txt"
    script.write_text("".join(_note(tour.home, number) for number in range(NOTES)))
    print(f"\n$ head -1 {script}\n{_note(tour.home, 0)}\n$ {_bold(f'holdfast < {script} &')}", flush=True)
    answers = tour.home / "answers.txt"
    with script.open("rb") as lines, answers.open("wb") as out:
        client = subprocess.Popen(["holdfast"], env=tour.environment, stdin=lines, stdout=out, stderr=subprocess.STDOUT)
        try:
            while len(_acknowledged(answers)) < KILLED_AFTER and client.poll() is None:
                time.sleep(0.01)
            tour.kill_daemon()
            tour.start_daemon()
            client.wait(timeout=START_SECONDS)
        finally:
            client.kill()
            client.wait()
    _check_notes(tour, set(_acknowledged(answers)))


def _note(home: Path, number: int) -> str:
    payload = json.dumps({"note": number})
    return f"vector insert words --id note-{number} --vector @{home}/vector.json --payload '{payload}'\n"


def _acknowledged(answers: Path) -> list[str]:
    """The ids that the client was told are inserted."""
    lines = answers.read_text().splitlines()
    return [line.split('"')[3] for line in lines if line.strip().startswith('"id": "note-') and line.endswith(",")]


def _check_notes(tour: Tour, acknowledged: set[str]) -> None:
    wanted = ",".join(f"note-{number}" for number in range(NOTES))
    records = json.loads(tour.ask(f"holdfast vector get words --no-include-vector --id {wanted}"))["vectors"]
    found = {record["id"] for record in records}
    print(f"\n  acknowledged to the client: {len(acknowledged)}, found in the store: {len(found)}")
    if len(acknowledged) < KILLED_AFTER:
        raise Failed(f"only {len(acknowledged)} writes were acknowledged; see {tour.home}/answers.txt")
    tour.check("every acknowledged write is there", sorted(acknowledged - found), [])
    tour.check("beyond them at most the one that was in flight", len(found - acknowledged) <= 1, True)
    tour.check("none was done twice", {record["version"] for record in records}, {1})


def restore_and_replay(tour: Tour, at_snapshot: tuple[int, str]) -> None:
    """The snapshot under another name, rolled forward by the log until it equals the live collection."""
    tour.chapter("7. Restore", "The snapshot comes back under another name, beside the live collection.")
    tour.run("holdfast storage snapshot restore latest --collection words-copy --verify")
    tour.check("the copy equals the snapshot's moment", tour.stats("words-copy"), at_snapshot)
    tour.chapter("8. Replay", "The log rolls the copy forward: the same operations again, through the same code.")
    tour.run("holdfast storage wal replay --collection words-copy")
    tour.check("the copy equals the live collection", tour.stats("words-copy"), tour.stats("words"))
    again = json.loads(tour.run("holdfast storage wal replay --collection words-copy"))
    tour.check("a second replay finds nothing to do", again["operations_replayed"], 0)


def _path_with_our_programs() -> str:
    """PATH, beginning with where this interpreter's programs are: the environment that ``make`` set up."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    for program in ("holdfast", "holdfastd"):
        if shutil.which(program, path=path) is None:
            raise Failed(f"{program} is not installed; run `make demo`, or pip install -e '.[server]' first")
    return path


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


@contextlib.contextmanager
def _temporary_home() -> Iterator[Path]:
    """A directory with a short name: the path of a Unix socket has at most 107 bytes."""
    base = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-", dir=base if len(base) < 70 else "/tmp") as home:
        yield Path(home)


def main() -> int:
    """Take the tour; 0 when everything was as it claims."""
    started = time.monotonic()
    with _temporary_home() as home:
        try:
            tour = Tour(home)
            try:
                take_the_tour(tour)
            finally:
                tour.clean_up()
        except Failed as failure:
            print(f"\nerror: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nstopped", file=sys.stderr)
            return 130
    print(f"\nNothing was lost. {time.monotonic() - started:.0f} s; the temporary directory is gone.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
