import shutil
from pathlib import Path

import pytest

from edgesynth.data import DataSource
from edgesynth.data.fashion_mnist import ADDRESS, DEBIAN_FOLDER, FILES, FashionMnist
from edgesynth.errors import DataError
from tests.data.contract import DataSourceContract
from tests.data.files import write_fashion_mnist
from tests.needs import need


class TestFashionMnist(DataSourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSource:
        files = write_fashion_mnist(tmp_path / "data" / "fashion-mnist")
        monkeypatch.setenv("EDGESYNTH_DATA", str(tmp_path / "data"))
        return FashionMnist("http://127.0.0.1:1/", files, ())

    def test_the_official_test_split_stays_and_validation_is_cut_off(self, source: DataSource) -> None:
        data = source.load()
        assert (len(data.train), len(data.val), len(data.test)) == (180, 20, 50)
        assert data.val.targets.bincount().tolist() == [2] * 10
        assert data.test.targets.tolist() == [index % 10 for index in range(50)]
        assert data.digests["test"] == source.load(split_seed=1).digests["test"]
        assert data.mirror


def test_a_download_that_stopped_half_way_goes_on_with_the_missing_files(tmp_path: Path) -> None:
    files = write_fashion_mnist(tmp_path / "server")
    source = FashionMnist((tmp_path / "server").as_uri() + "/", files, ())
    assert not source.availability().ready
    gone = (tmp_path / "server" / "t10k-images-idx3-ubyte.gz").rename(tmp_path / "gone")
    with pytest.raises(DataError, match="t10k-images"):
        source.fetch()
    gone.rename(tmp_path / "server" / "t10k-images-idx3-ubyte.gz")
    fetched: set[str] = set()
    folder = source.fetch(lambda name, *_: fetched.add(name))
    assert fetched == {"t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"}
    assert folder == tmp_path / "cache" / "edgesynth" / "data" / "fashion-mnist"
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    assert source.availability().ready
    assert source.load().input_shape == (1, 28, 28)


def test_another_file_at_the_address_leaves_nothing_behind(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path / "server")
    source = FashionMnist((tmp_path / "server").as_uri() + "/", FILES, ())
    with pytest.raises(DataError):
        source.fetch()
    assert list((tmp_path / "cache").rglob("*.gz*")) == []


def test_off_line_it_names_the_address_the_package_and_the_folder() -> None:
    address = "http://127.0.0.1:1/"
    with pytest.raises(DataError) as caught:
        FashionMnist(address, system=()).fetch()
    for hint in address, "dataset-fashion-mnist", "$EDGESYNTH_DATA/fashion-mnist":
        assert hint in str(caught.value)


def test_where_it_is_missing_it_says_how_to_get_it() -> None:
    source = FashionMnist(system=())
    with pytest.raises(DataError) as caught:
        source.load()
    for text in str(caught.value), source.availability().where:
        for hint in "edgesynth data fetch fashion-mnist", ADDRESS, "dataset-fashion-mnist", "$EDGESYNTH_DATA":
            assert hint in text


def test_files_that_are_not_the_published_ones_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "edgesynth" / "data" / "fashion-mnist"
    write_fashion_mnist(folder)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is not the published file"):
        FashionMnist(system=()).load()


def test_images_and_labels_mixed_up_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    files = dict(write_fashion_mnist(folder))
    images, labels = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
    shutil.copy(folder / labels, folder / images)
    files[images] = files[labels]
    with pytest.raises(DataError, match=r"has 1 dimension\(s\), and 3 are expected"):
        FashionMnist(files=files, system=(folder,)).load()


class TestTheRealFiles:
    @pytest.fixture(autouse=True)
    def package(self) -> None:
        need(DEBIAN_FOLDER.is_dir(), "Debian's package dataset-fashion-mnist")

    def test_they_are_the_published_ones(self) -> None:
        source = FashionMnist()
        assert source.fetch() == DEBIAN_FOLDER
        data = source.load()
        assert (len(data.train), len(data.val), len(data.test)) == (54000, 6000, 10000)
        assert data.train.targets.bincount().tolist() == [5400] * 10
        assert data.val.targets.bincount().tolist() == [600] * 10
        # Published by others for the whole training split: 0.2860, 0.3530.
        assert data.mean == pytest.approx([0.2860], abs=5e-4)
        assert data.std == pytest.approx([0.3530], abs=5e-4)
        assert data.digests == DIGESTS
        # The first of the test images is an ankle boot, as every tutorial shows.
        assert data.classes[data.test.targets[0]] == "Ankle boot"


# Measurements and journals refer to these: a change means that nothing measured before is comparable any more.
DIGESTS = {
    "train": "b1109771cc147b93369d28fc66c3fc195a1d0365a20b1e5c670a3c4836048353",
    "val": "bd728823f1b247210cf9c4ff0e3778cc6faf120d8961a0031a47c0b538394938",
    "test": "22549613fe63543474021e4b7affe56588eedc5d6fa579e67bcc7d07d4be0f66",
}
