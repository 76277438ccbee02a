"""Files that user code reads: a result is stale once one of them has changed, and so is what rests on it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from compileall import compile_file
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from edgeaudit.errors import OutdatedEntry
from edgeaudit.graph import reads as reads_module
from edgeaudit.graph.executor import AnyJob, RunResult, Silent, raise_errors
from edgeaudit.graph.job import Context, Job, unkeyed
from edgeaudit.graph.processes import LocalProcesses
from edgeaudit.graph.reads import READS, Comparison, FileRead, load_reads, read_file, save_reads
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
from tests.graph.jobs import Ask, Say, Text


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of audit.yaml."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def _run(store: Store, user: Path, *jobs: AnyJob) -> RunResult:
    with LocalProcesses(store, 1, user) as executor:
        return executor.run({job.ref: job for job in jobs}, Silent())


def _answers(store: Store, user: Path, module: str) -> tuple[int, str]:
    """How many jobs ran, and what the last one said: one that asks the module, and one that builds on it."""
    ask = Ask(module=module)
    say = Say(words="said", before=(ask,))
    result = _run(store, user, ask, say)
    raise_errors(result)
    return result.executed, store.read(say).words


_PATHS = {
    "relative": "import sys; sys.path.insert(0, 'lib')\n",
    "beside the module": "import sys, pathlib; sys.path.append(str(pathlib.Path(__file__).parent / 'lib'))\n",
    "and removed again": "import sys; sys.path.insert(0, 'lib'); import helper; sys.path.remove('lib')\n",
}


@pytest.mark.parametrize("change", _PATHS.values(), ids=_PATHS.keys())
@pytest.mark.parametrize(
    "how", ["import helper", "from importlib import import_module as m; helper = m('hel' + 'per')"]
)
def test_a_module_found_by_changing_the_import_path(user: Path, store: Store, change: str, how: str) -> None:
    (user / "lib").mkdir()
    (user / "lib" / "helper.py").write_text("import deeper\nword = deeper.word\n")
    (user / "lib" / "deeper.py").write_text("word = 'first'\n")
    (user / "my_net.py").write_text(f"{change}{how}\ndef answer(): return helper.word\n")
    assert _answers(store, user, "my_net") == (2, "first said")
    assert _answers(store, user, "my_net") == (0, "first said")
    (user / "lib" / "deeper.py").write_text("word = 'second'\n")
    assert _answers(store, user, "my_net") == (2, "second said")


def test_a_module_loaded_from_its_file(user: Path, store: Store) -> None:
    (user / "parts.txt.py").write_text("word = 'first'\n")
    (user / "my_net.py").write_text(
        "import importlib.util as u\n"
        "spec = u.spec_from_file_location('parts', 'parts.txt.py'); parts = u.module_from_spec(spec)\n"
        "spec.loader.exec_module(parts)\n"
        "def answer(): return parts.word\n"
    )
    assert _answers(store, user, "my_net") == (2, "first said")
    (user / "parts.txt.py").write_text("word = 'second'\n")
    assert _answers(store, user, "my_net") == (2, "second said")


def test_an_edit_within_the_second_that_keeps_the_size(user: Path, store: Store) -> None:
    # Python takes the first edit's bytecode for current: it compares whole seconds and the size.
    def write(word: str, nanoseconds: int) -> None:
        for name in ("my_net", "sibling", "by_path"):
            (user / f"{name}.py").write_text(_LOADS_ITS_PARTS if name == "my_net" else f"word = '{word}'\n")
            os.utime(user / f"{name}.py", ns=(10**18, 10**18 + nanoseconds))
            compile_file(user / f"{name}.py", quiet=2)

    write("one", 0)
    assert _answers(store, user, "my_net") == (2, "one one said")
    write("two", 0)
    for name in ("sibling", "by_path"):
        (user / f"{name}.py").write_text("word = 'new'\n")
        os.utime(user / f"{name}.py", ns=(10**18, 10**18 + 5))
    assert _answers(store, user, "my_net") == (2, "new new said")


_LOADS_ITS_PARTS = """
import importlib.util as u, sibling
spec = u.spec_from_file_location('by_path', 'by_path.py'); parts = u.module_from_spec(spec)
spec.loader.exec_module(parts)
def answer(): return f'{sibling.word} {parts.word}'
"""


def _as_npz(path: Path, value: int) -> None:
    np.savez(path, w=np.full(3, value))


def _as_text(path: Path, value: int) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


_IN_A_THREAD = """
from concurrent.futures import ThreadPoolExecutor
def read(): return open('w').read()
def answer(): return ThreadPoolExecutor(1).submit(read).result()
"""
_READERS: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "in the function": ("import json\ndef answer(): return json.load(open('w'))\n", _as_text),
    "when it is imported": ("import json\nw = json.load(open('w'))\ndef answer(): return w\n", _as_text),
    "by numpy": ("import numpy as np\ndef answer(): return int(np.load('w')['w'][0])\n", _as_npz),
    "mapped": ("import numpy as np\ndef answer(): return np.memmap('w', mode='r').tobytes().decode()\n", _as_text),
    "by its descriptor": ("import os\ndef answer(): return os.read(os.open('w', os.O_RDONLY), 9).decode()\n", _as_text),
    "in a thread": (_IN_A_THREAD, _as_text),
    "by a sibling": ("import my_data\ndef answer(): return my_data.read()\n", _as_text),
}


@pytest.mark.parametrize(("code", "write"), _READERS.values(), ids=_READERS.keys())
def test_a_data_file_that_user_code_opens(
    user: Path, store: Store, code: str, write: Callable[[Path, int], None]
) -> None:
    (user / "my_data.py").write_text("def read(): return open('w').read()\n")
    (user / "my_net.py").write_text(code)
    data = user / "w.npz" if write is _as_npz else user / "w"
    (user / "my_net.py").write_text(code.replace("'w'", f"'{data.name}'", 1))
    write(data, 1)
    assert _answers(store, user, "my_net") == (2, "1 said")
    assert _answers(store, user, "my_net") == (0, "1 said")
    write(data, 2)
    assert _answers(store, user, "my_net") == (2, "2 said")
    data.touch()  # another mtime, the same content
    assert _answers(store, user, "my_net") == (0, "2 said")


def test_what_one_job_read_and_kept_in_memory_counts_for_the_next_of_the_process(user: Path, store: Store) -> None:
    (user / "w").write_text("1")
    (user / "my_net.py").write_text("w = open('w').read()\ndef answer(): return w\n")
    jobs = [Ask(module="my_net", again=again) for again in range(3)]
    raise_errors(_run(store, user, *jobs))
    assert [[one.path for one in store.files_read(*job.ref)] for job in jobs] == [[str(user / "w")]] * 3


def test_what_is_not_watched(user: Path, store: Store) -> None:
    """Files that a key has, that the code writes itself, that are gone afterwards, of the system and of libraries."""
    (user / "my_data.py").write_text("")
    (user / "my_net.py").write_text(
        "import my_data, json, pathlib, tempfile, numpy, sklearn, matplotlib\n"
        "def answer():\n"
        "    pathlib.Path('log').write_text('1'); pathlib.Path('log').read_text()\n"
        "    pathlib.Path('/proc/self/status').read_text(); pathlib.Path(my_data.__file__).read_text()\n"
        "    pathlib.Path(numpy.__file__).read_text(); pathlib.Path(json.__file__).read_text()\n"
        "    with tempfile.NamedTemporaryFile('w+') as file: file.read()\n"
        "    return 1\n"
    )
    ask = Ask(module="my_net")
    raise_errors(_run(store, user, ask))
    assert store.files_read(*ask.ref) == ()
    assert not (store.folder(*ask.ref) / READS).exists()


def test_a_file_that_changes_while_its_job_runs_is_stored_under_no_key(user: Path, store: Store) -> None:
    (user / "w").write_text("1")
    (user / "my_net.py").write_text(
        "import os\ndef answer():\n    open('w').read(); os.utime('w', ns=(1, 1)); return open('w').read()\n"
    )
    ask = Ask(module="my_net")
    result = _run(store, user, ask)
    assert f"reads {user / 'w'}, which was changed while the audit ran; run again" in str(result.errors[ask.ref])
    assert not store.has(*ask.ref)


def test_a_result_whose_file_changed_is_not_read(user: Path, store: Store) -> None:
    (user / "w").write_text("1")
    (user / "my_net.py").write_text("def answer(): return open('w').read()\n")
    ask = Ask(module="my_net")
    raise_errors(_run(store, user, ask))
    assert store.read(ask).words == "1"
    (user / "w").unlink()
    assert store.read(ask).words == "1"  # compared once in a run
    store.renew()
    with pytest.raises(OutdatedEntry, match=rf"{user / 'w'}, which its code read, was changed"):
        store.read(ask)
    (user / "w").write_text("1")
    store.renew()
    assert store.read(ask).words == "1"
    (store.folder(*ask.ref) / READS).write_text("[[1]]")
    assert not store.has(*ask.ref)


def test_reads_are_compared_by_content(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_text("1")
    reads = (read_file(str(path)),)
    assert Comparison().changed(reads) is None
    os.utime(path, ns=(1, 1))
    assert Comparison().changed(reads) is None
    path.write_text("2")
    assert Comparison().changed(reads) == str(path)
    shutil.copy(path, tmp_path / "other")
    save_reads(tmp_path, [*reads, *reads, read_file(str(tmp_path / "other"))])
    assert [one.path for one in load_reads(tmp_path)] == [str(tmp_path / "other"), str(path)]
    assert load_reads(tmp_path / "none") == ()
    assert Comparison().changed((FileRead(str(tmp_path / "none"), 0, 0, ""),)) == str(tmp_path / "none")


def test_parts_that_rest_on_a_changed_file_are_removed(user: Path, store: Store) -> None:
    (user / "w").write_text("1")
    (user / "my_net.py").write_text("def answer(): return open('w').read()\n")
    ask, key = Ask(module="my_net"), "0" * 40
    raise_errors(_run(store, user, ask))
    (store.partial("query", key, [ask.ref]) / "block").touch()
    assert (store.partial("query", key, [ask.ref]) / "block").exists()
    (user / "w").write_text("2")
    raise_errors(_run(store, user, ask))
    assert not (store.partial("query", key, [ask.ref]) / "block").exists()
    (store.partial("query", key) / "block").touch()
    assert (store.partial("query", key) / "block").exists()


@pytest.mark.parametrize("left", [0, 20])
def test_parts_whose_list_was_cut_by_a_kill_are_removed(user: Path, store: Store, left: int) -> None:
    (user / "w").write_text("1")
    (user / "my_net.py").write_text("def answer(): return open('w').read()\n")
    ask, key = Ask(module="my_net"), "0" * 40
    raise_errors(_run(store, user, ask))
    folder = store.partial("query", key, [ask.ref])
    (folder / "block").touch()
    (folder / READS).write_bytes((folder / READS).read_bytes()[:left])
    assert list(store.partial("query", key, [ask.ref]).iterdir()) == [folder / READS]
    assert load_reads(folder) == store.files_read(*ask.ref)


def test_a_module_without_a_distribution_that_an_installed_plugin_finds(
    user: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin's own modules stand for its distribution, so that its imports are not followed."""
    site = tmp_path / "site-packages"
    info = site / "shipped-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shipped\nVersion: 1.0\n")
    (site / "shipped.py").write_text("import copied\ndef answer(): return copied.word\n")
    (site / "copied.py").write_text("word = 'first'\n")
    monkeypatch.syspath_prepend(site)
    assert _answers(store, user, "shipped") == (2, "first said")
    (site / "copied.py").write_text("word = 'second'\n")
    assert _answers(store, user, "shipped") == (2, "second said")


_PLACES = {
    "beside the module": "import pathlib\ndef answer(): return (pathlib.Path(__file__).parent / 'w').read_text()\n",
    "above the module": "import pathlib\ndef answer(): return (pathlib.Path(__file__).parents[1] / 'w').read_text()\n",
    "in the current folder": "def answer(): return open('w').read()\n",
    "written with a dot": "def answer(): return open('./w').read()\n",
    "found by changing the current folder": "import os\nos.chdir(os.path.dirname(__file__))\nw = open('w').read()\n"
    "def answer(): return w\n",
    "found by changing the import path": "import os, sys; sys.path.insert(0, os.path.dirname(__file__) + '/lib')\n"
    "import helper\ndef answer(): return helper.word\n",
}


def _write_project(folder: Path, value: str) -> None:
    (folder / "w").write_text(value)
    (folder.parent / "w").write_text(value)
    (folder / "lib").mkdir(exist_ok=True)
    (folder / "lib" / "helper.py").write_text(f"word = '{value}'\n")


@pytest.mark.parametrize("code", _PLACES.values(), ids=_PLACES.keys())
def test_a_copy_of_a_project_reads_its_own_files(
    tmp_path: Path, store: Store, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, copy = tmp_path / "a" / "project", tmp_path / "b" / "project"
    first.mkdir(parents=True)
    (first / "my_net.py").write_text(code)
    _write_project(first, "1")

    def answers(project: Path) -> tuple[int, str]:
        with monkeypatch.context() as patch:
            patch.syspath_prepend(project)
            patch.chdir(project)
            # Compiled files are told apart by size and whole seconds alone.
            patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
            return _answers(store, project, "my_net")

    assert answers(first) == (2, "1 said")
    shutil.copytree(first.parent, copy.parent)
    assert answers(copy) == (0, "1 said")
    _write_project(copy, "2")
    assert answers(copy) == (2, "2 said")
    assert answers(first) == (2, "1 said")
    shutil.rmtree(copy.parent)
    first.parent.rename(copy.parent)  # as another host has it
    assert answers(copy) == (0, "1 said")


def test_a_relative_path_is_of_the_current_folder(
    user: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user / "w").write_text("1")
    (user / "my_net.py").write_text("def answer(): return open('w').read()\n")
    assert _answers(store, user, "my_net") == (2, "1 said")
    other = tmp_path / "other"
    other.mkdir()
    (other / "w").write_text("2")
    monkeypatch.chdir(other)
    assert _answers(store, user, "my_net") == (2, "2 said")


def test_a_copy_whose_code_names_a_file_of_the_original(
    user: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user / "w").write_text("1")
    (user / "my_net.py").write_text(f"def answer(): return open('{user}/w').read()\n")
    assert _answers(store, user, "my_net") == (2, "1 said")
    copy = tmp_path / "copy"
    shutil.copytree(user, copy)
    monkeypatch.syspath_prepend(copy)
    assert _answers(store, copy, "my_net") == (0, "1 said")
    (user / "w").write_text("2")
    assert _answers(store, copy, "my_net") == (2, "2 said")


def test_a_file_of_a_copy_with_the_same_size_and_time_is_compared_by_content(
    user: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user / "my_net.py").write_text(_PLACES["beside the module"])
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(user / "my_net.py", copy)
    for folder, value in ((user, "1"), (copy, "2")):  # as archives with one time for all files unpack them
        (folder / "w").write_text(value)
        os.utime(folder / "w", ns=(10**18, 10**18))
    assert _answers(store, user, "my_net") == (2, "1 said")
    monkeypatch.syspath_prepend(copy)
    assert _answers(store, copy, "my_net") == (2, "2 said")


def test_a_link_that_leads_to_another_file(user: Path, store: Store) -> None:
    (user / "first").write_text("1")
    (user / "second").write_text("2")
    (user / "w").symlink_to("first")
    (user / "my_net.py").write_text("def answer(): return open('w').read()\n")
    assert _answers(store, user, "my_net") == (2, "1 said")
    (user / "w").unlink()
    (user / "w").symlink_to("second")
    assert _answers(store, user, "my_net") == (2, "2 said")


@pytest.mark.parametrize(
    "code",
    [
        "import numpy as np\ndef answer(): return np.memmap('w', mode='r+').tobytes().decode()\n",
        "def answer():\n    with open('w', 'a+') as file:\n        file.seek(0)\n        return file.read()\n",
    ],
)
def test_a_file_opened_to_read_and_write_that_is_read(user: Path, store: Store, code: str) -> None:
    (user / "my_net.py").write_text(code)
    (user / "w").write_text("1")
    assert _answers(store, user, "my_net") == (2, "1 said")
    (user / "w").write_text("2")
    assert _answers(store, user, "my_net") == (2, "2 said")


@pytest.mark.parametrize(
    "code",
    [
        "def answer():\n    with open('w', 'a+') as file:\n        file.write('x')\n    return 1\n",
        "import os\ndef answer(): open('n', 'w').write(str(os.times())), os.replace('n', 'w'), open('w').close()\n",
    ],
)
def test_a_file_that_each_job_writes(user: Path, store: Store, code: str) -> None:
    (user / "my_net.py").write_text(code)
    (user / "w").write_text("")
    jobs = [Ask(module="my_net", again=again) for again in range(3)]
    raise_errors(_run(store, user, *jobs))
    assert [store.files_read(*job.ref) for job in jobs] == [()] * 3


def test_a_file_that_one_job_writes_and_the_next_reads(user: Path, store: Store) -> None:
    (user / "my_net.py").write_text(
        "import os\ndef answer():\n    if not os.path.exists('w'):\n        open('w', 'w').write('1')\n"
        "    return open('w').read()\n"
    )
    jobs = [Ask(module="my_net", again=again) for again in range(2)]
    raise_errors(_run(store, user, *jobs))
    assert [[one.path for one in store.files_read(*job.ref)] for job in jobs] == [[], [str(user / "w")]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Slow(Job[Text]):
    """While it runs, another run computes what it has read again."""

    kind: ClassVar[str] = "slow"
    result: ClassVar[type[Text]] = Text

    before: Job[Text]
    meanwhile: Callable[[], object] = unkeyed()

    def run(self, context: Context) -> Text:
        words = context.read(self.before).words
        self.meanwhile()
        return Text(words)


def test_a_result_is_not_stored_with_the_files_of_another_run(user: Path, store: Store) -> None:
    (user / "w").write_text("1")
    (user / "my_net.py").write_text("def answer(): return open('w').read()\n")
    ask = Ask(module="my_net")
    raise_errors(_run(store, user, ask))

    def edit() -> None:
        (user / "w").write_text("2")
        raise_errors(_run(Store(store.root), user, ask))

    error = execute(Slow(before=ask, meanwhile=edit), store).error
    assert isinstance(error, OutdatedEntry)
    assert (error.kind, error.key, error.file) == (*ask.ref, str(user / "w"))
    again = Slow(before=ask, meanwhile=lambda: None)
    assert not store.has(*again.ref)
    assert execute(again, store).error is None
    assert store.read(again).words == "2"


def test_a_file_is_compared_once_in_a_run(user: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (user / "w").write_text("1")
    (user / "my_net.py").write_text("def answer(): return open('w').read()\n")
    ask = Ask(module="my_net")
    jobs = [ask, *(Say(words=words, before=(ask,)) for words in ("a", "b", "c"))]
    raise_errors(_run(store, user, *jobs))
    compared: list[str] = []
    state = reads_module.file_state

    def counted(path: str) -> reads_module.FileState | None:
        compared.append(path)
        return state(path)

    monkeypatch.setattr(reads_module, "file_state", counted)
    for runs in (1, 2):
        assert _run(store, user, *jobs).executed == 0
        assert [store.read(job).words for job in jobs] == ["1", "1 a", "1 b", "1 c"]
        assert compared == [str(user / "w")] * runs
