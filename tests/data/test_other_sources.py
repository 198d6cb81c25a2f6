"""The sources that need no files, and how the command line finds a source."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgesynth.data import DataSource, FakeSource, ImageFolder, find_source, sources
from edgesynth.data.digits import Digits
from edgesynth.errors import DataError
from tests.data.contract import DataSourceContract


class TestDigits(DataSourceContract):
    @pytest.fixture
    def source(self) -> DataSource:
        return Digits()

    def test_sizes(self, source: DataSource) -> None:
        data = source.load()
        assert (len(data.train), len(data.val), len(data.test)) == (1197, 300, 300)
        assert data.input_shape == (1, 8, 8)
        assert data.classes == tuple("0123456789")
        assert not data.mirror
        assert source.images == 1797


class TestFake(DataSourceContract):
    @pytest.fixture
    def source(self) -> DataSource:
        return FakeSource(shape=(3, 9, 7))

    def test_it_can_be_learned(self, source: DataSource) -> None:
        data = source.load()
        centres = [data.train.images[data.train.targets == label].mean(dim=0) for label in range(4)]
        distances = [((data.test.images - centre) ** 2).sum(dim=(1, 2, 3)) for centre in centres]
        nearest = [min(range(4), key=lambda label: float(distances[label][index])) for index in range(len(data.test))]
        assert nearest == data.test.targets.tolist()

    def test_too_few_images_are_refused(self) -> None:
        with pytest.raises(DataError, match="at least 3"):
            FakeSource(images=8).load()


def test_a_limit_keeps_the_first_training_images_and_says_so() -> None:
    data = FakeSource().load()
    few = data.limit(10)
    assert len(few.train) == 10
    assert few.train.images.equal(data.train.images[:10])
    assert few.val is data.val
    assert few.test is data.test
    assert few.digests["train"] != data.digests["train"]
    assert few.digests["train"] != data.limit(11).digests["train"]
    assert few.digests == FakeSource().load().limit(10).digests
    assert few.digests["val"] == data.digests["val"]


def test_a_limit_that_is_none() -> None:
    data = FakeSource().load()
    assert data.limit(None) is data
    assert data.limit(10**6) is data
    assert data.limit(len(data.train)) is data


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_leaves_nothing(limit: int) -> None:
    with pytest.raises(DataError, match="at least 1"):
        FakeSource().load().limit(limit)


def test_a_channel_that_never_changes_is_not_divided_by_zero() -> None:
    import numpy as np

    from edgesynth.data.assemble import Labelled, assemble

    images = np.full((12, 1, 2, 2), 51, dtype=np.uint8)
    data = assemble("flat", ("a", "b"), Labelled(images, np.arange(12) % 2), split_seed=0, mirror=False)
    assert data.mean == (0.2,)
    assert data.std == (1.0,)
    assert data.train.images.abs().max() < 1e-6


def test_names_are_unique_and_sorted() -> None:
    names = [source.name for source in sources()]
    assert names == sorted(set(names)) == ["cifar10", "digits", "fashion-mnist"]
    assert [find_source(name).name for name in names] == names


def test_a_folder_is_found_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "odd@64").mkdir()
    monkeypatch.chdir(tmp_path)
    assert isinstance(find_source("digits"), Digits)
    assert isinstance(find_source("./digits"), ImageFolder)
    assert find_source("./digits").name == "digits"
    assert find_source("./digits@32").name == "digits@32x32"
    assert find_source("digits@8x16").name == "digits@8x16"
    assert find_source("odd@64").name == "odd@64"


@pytest.mark.parametrize("name", ["mnist", "", "digits@", "digits@0", "digits@8x", "nowhere@64", "@64"])
def test_an_unknown_name_lists_what_is_known(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"cifar10, digits, fashion-mnist, or the path of a folder"):
        find_source(name)


def test_looking_at_what_there_is_does_not_import_torch_or_scikit_learn() -> None:
    code = (
        "import sys, edgesynth.data as data\n"
        "[source.availability() for source in data.sources()]\n"
        "sys.exit(','.join({'torch', 'sklearn', 'PIL'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_public_names_are_sorted_and_there() -> None:
    import edgesynth.data as data

    assert sorted(data.__all__) == data.__all__
    assert all(hasattr(data, name) for name in data.__all__)
