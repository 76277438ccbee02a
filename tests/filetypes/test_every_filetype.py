"""One suite over every file type: a real file of it states what is known of the network that it was made from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.base import Fact, FileType, FileTypeSpec
from edgeaudit.filetypes.registry import filetype_specs, find_filetype
from tests.filetypes.samples import Sample, sample

FACTS: dict[Fact, Callable[[FileType, Path], object]] = {
    "contract": FileType.contract,
    "weights": FileType.weights,
    "softmax": FileType.ends_in_softmax,
    "operators": FileType.operators,
    "state": FileType.state,
    "traits": FileType.traits,
}
every_type = pytest.mark.parametrize("name", [spec.name for spec in filetype_specs()])


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sample]:
    """A type's file, made once."""
    made: dict[str, Sample] = {}

    def get(name: str) -> Sample:
        if name not in made:
            made[name] = sample(name, tmp_path_factory.mktemp(name))
        return made[name]

    return get


@pytest.mark.parametrize("spec", filetype_specs(), ids=lambda spec: spec.name)
def test_a_spec_is_complete(spec: FileTypeSpec) -> None:
    assert find_filetype(spec.name).spec is spec
    assert spec.title
    assert all(suffix.startswith(".") for suffix in spec.suffixes)
    assert list(spec.versions()) == list(spec.packages)
    inner = {
        "contract": "_contract", "weights": "_weights", "softmax": "_head", "operators": "_operators",
        "state": "_state", "traits": "_traits",
    }  # fmt: skip
    written = {fact for fact, method in inner.items() if method in vars(type(find_filetype(spec.name)))}
    assert written | set(spec.unreadable) | {"state", "traits"} == set(FACTS)
    assert not written & set(spec.unreadable)


@pytest.mark.toolchain
@every_type
def test_suffix_companions_and_size(samples: Callable[[str], Sample], name: str) -> None:
    known, filetype = samples(name), find_filetype(name)
    assert known.path.suffix in filetype.spec.suffixes
    assert filetype.companions(known.path) == known.companions
    files = [known.path, *(known.path.parent / companion for companion in known.companions)]
    assert filetype.size(known.path) == sum(len(file.read_bytes()) for file in files)


@pytest.mark.toolchain
@pytest.mark.parametrize("name", [spec.name for spec in filetype_specs() if spec.adoptable])
def test_contract(samples: Callable[[str], Sample], name: str) -> None:
    known, filetype = samples(name), find_filetype(name)
    contract = filetype.contract(known.path)
    assert tuple((tensor.shape, tensor.dtype) for tensor in contract.inputs) == known.inputs
    assert tuple((tensor.shape, tensor.dtype) for tensor in contract.outputs) == known.outputs


@pytest.mark.toolchain
@every_type
def test_weights_softmax_and_operators(samples: Callable[[str], Sample], name: str) -> None:
    known, filetype = samples(name), find_filetype(name)
    if known.zeros is not None:
        tensors = filetype.weights(known.path)
        assert (sum(tensor.values.size for tensor in tensors), sum(t.zeros for t in tensors)) == known.zeros
    if known.softmax is not None:
        assert filetype.ends_in_softmax(known.path) == known.softmax
    if known.operators is not None:
        assert filetype.operators(known.path).items() >= known.operators.items()


@pytest.mark.toolchain
@pytest.mark.parametrize(("name", "fact"), [(spec.name, fact) for spec in filetype_specs() for fact in spec.unreadable])
def test_unreadable_facts_give_the_reason(samples: Callable[[str], Sample], name: str, fact: Fact) -> None:
    known, filetype = samples(name), find_filetype(name)
    with pytest.raises(ArtifactError) as raised:
        FACTS[fact](filetype, known.path)
    assert str(raised.value) == f"{known.path}: {filetype.spec.unreadable[fact]}"


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 3]


@pytest.mark.toolchain
@every_type
@pytest.mark.parametrize("damage", [_cut, lambda _: b"no model\n" * 100, lambda _: b"\xff" * 64, lambda _: b""])
def test_a_damaged_file_gives_a_one_line_error(
    samples: Callable[[str], Sample], name: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    known, filetype = samples(name), find_filetype(name)
    path = tmp_path / known.path.name
    path.write_bytes(damage(known.path.read_bytes()))
    for companion in known.companions:
        shutil.copyfile(known.path.parent / companion, tmp_path / companion)
    for fact, read in FACTS.items():
        if fact in filetype.spec.unreadable:
            continue
        with pytest.raises(ArtifactError) as raised:
            read(filetype, path)
        message = str(raised.value)
        assert message.startswith(f"cannot read {path} as {filetype.spec.title}: ")
        assert "\n" not in message


@pytest.mark.toolchain
@every_type
def test_a_missing_file_is_named(samples: Callable[[str], Sample], name: str, tmp_path: Path) -> None:
    filetype, path = find_filetype(name), tmp_path / samples(name).path.name
    fact = next((fact for fact in FACTS if fact not in filetype.spec.unreadable), None)
    if fact is None:
        return  # such files are never read
    with pytest.raises(ArtifactError) as raised:
        FACTS[fact](filetype, path)
    assert str(raised.value) == f"{path} cannot be read: No such file or directory"


@pytest.mark.toolchain
@pytest.mark.parametrize("name", ["openvino"])
def test_a_missing_companion_is_named(samples: Callable[[str], Sample], name: str, tmp_path: Path) -> None:
    known, filetype = samples(name), find_filetype(name)
    shutil.copyfile(known.path, tmp_path / known.path.name)
    (companion,) = known.companions
    for read in (FileType.companions, *FACTS.values()):
        with pytest.raises(ArtifactError, match=rf"keeps weights in {companion}, which is missing; put {companion} n"):
            read(filetype, tmp_path / known.path.name)
