from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgesynth.data import DataSource, ImageFolder, folder
from edgesynth.errors import DataError
from tests.data.contract import DataSourceContract

CLASSES = ("apple", "pear", "quince")


def write_image(path: Path, seed: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> None:
    """Random pixels; `size` is (W, H), as Pillow has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def write_classes(root: Path, count: int = 12, mode: str = "RGB", seed: int = 0) -> Path:
    for label, name in enumerate(CLASSES):
        for index in range(count):
            write_image(root / name / f"{index:03}.png", seed + 1000 * label + index, mode=mode)
    return root


class TestClassFolders(DataSourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> DataSource:
        return ImageFolder(write_classes(tmp_path / "fruit"))

    def test_the_splits_are_cut(self, source: DataSource) -> None:
        data = source.load()
        assert data.classes == CLASSES
        assert data.input_shape == (3, 10, 12)
        assert (len(data.train), len(data.val), len(data.test)) == (24, 6, 6)
        assert source.images == 36
        assert not data.mirror


class TestSplitFolders(DataSourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> DataSource:
        write_classes(tmp_path / "fruit" / "train", 10, "L")
        write_classes(tmp_path / "fruit" / "val", 3, "L", seed=1)
        write_classes(tmp_path / "fruit" / "test", 2, "L", seed=2)
        return ImageFolder(tmp_path / "fruit")

    def test_the_folders_are_the_splits(self, source: DataSource) -> None:
        data = source.load()
        assert data.input_shape == (1, 10, 12)
        assert [len(each) for each in (data.train, data.val, data.test)] == [30, 9, 6]
        assert data.test.targets.tolist() == [0, 0, 1, 1, 2, 2]


class TestScaled(DataSourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> DataSource:
        root = write_classes(tmp_path / "fruit")
        write_image(root / "apple" / "large.jpg", 99, (100, 40))
        source = ImageFolder.from_address(f"{root}@8x6")
        assert source is not None
        return source

    def test_all_images_get_the_size(self, source: DataSource) -> None:
        assert source.load().input_shape == (3, 8, 6)


def test_val_is_cut_where_only_test_has_a_folder(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 10)
    write_classes(tmp_path / "test", 2, seed=1)
    data = ImageFolder(tmp_path).load()
    assert [len(each) for each in (data.train, data.val, data.test)] == [27, 3, 6]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_classes(tmp_path)
    (tmp_path / "apple").rename(tmp_path / "train")
    assert ImageFolder(tmp_path).load().classes == ("pear", "quince", "train")


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    root = write_classes(tmp_path)
    (root / ".hidden").mkdir()
    (root / "README").write_text("text")
    (root / "apple" / "notes.txt").write_text("text")
    (root / "apple" / ".DS_Store.png").write_text("text")
    assert ImageFolder(root).images == 36
    ImageFolder(root).load()


def test_pixels_come_out_as_they_went_in(tmp_path: Path) -> None:
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "test", 1, seed=1)
    data = ImageFolder(tmp_path).load()
    with Image.open(tmp_path / "test" / "pear" / "000.png") as image:
        original = np.asarray(image)
    mean, std = (np.array(each)[:, None, None] for each in (data.mean, data.std))
    pixels = (data.test.images[1].numpy() * std + mean) * 255
    assert np.array_equal(pixels.round().transpose(1, 2, 0), original)


def test_one_colour_image_makes_all_of_them_colour(tmp_path: Path) -> None:
    root = write_classes(tmp_path, mode="L")
    assert ImageFolder(root).load().input_shape[0] == 1
    write_image(root / "pear" / "colour.png", 7)
    assert ImageFolder(root).load().input_shape[0] == 3


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA"])
def test_other_eight_bit_modes_are_read(tmp_path: Path, mode: str) -> None:
    data = ImageFolder(write_classes(tmp_path, mode=mode)).load()
    assert data.input_shape == (1 if mode in {"1", "LA"} else 3, 10, 12)


def test_an_orientation_tag_is_obeyed(tmp_path: Path) -> None:
    root = write_classes(tmp_path)
    sideways = Image.open(root / "pear" / "000.png").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways.save(root / "pear" / "000.png", exif=exif)
    assert sideways.size == (10, 12)
    assert ImageFolder(root).load().input_shape == (3, 10, 12)


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    root = write_classes(tmp_path)
    Image.fromarray(np.zeros((10, 12), dtype=np.uint16)).save(root / "pear" / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits"):
        ImageFolder(root).load()


def test_two_sizes_are_named_with_the_way_out(tmp_path: Path) -> None:
    root = write_classes(tmp_path)
    write_image(root / "pear" / "other.png", 1, (11, 10))
    with pytest.raises(DataError) as caught:
        ImageFolder(root).load()
    for hint in f"{root}/apple/000.png is 10x12", f"{root}/pear/other.png is 10x11", f"{root}@64":
        assert hint in str(caught.value)


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "folder"])
def test_a_damaged_image_is_named(tmp_path: Path, damage: str) -> None:
    root = write_classes(tmp_path)
    path = root / "pear" / "004.png"
    data = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "truncated": data[: len(data) // 2], "text": b"no image"}[damage])
    with pytest.raises(DataError, match=r"004\.png cannot be read as an image"):
        ImageFolder(root).load()


def test_too_much_for_the_memory_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match="name a smaller size"):
        ImageFolder(write_classes(tmp_path)).load()


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "has no folders in it"),
        (["a.png", "b.png"], "has no folders in it"),
        (["one/a.png", "one/b.png", "one/c.png"], r"has 1 class\(es\)"),
        (["one/a.png", "two/.hidden.png"], "two has no images in it"),
        (["one/a.png", "two/b.png"], r"1 image\(s\) of class 'one', and at least 3"),
        (["train/a.png", "test/a.png"], "train has no folders in it"),
        (["train/one/a.png", "train/two/a.png", "test/three/a.png"], "a class 'three'"),
    ],
)
def test_a_folder_that_is_laid_out_wrongly(tmp_path: Path, paths: list[str], message: str) -> None:
    for path in paths:
        write_image(tmp_path / path, 0)
    with pytest.raises(DataError, match=message):
        ImageFolder(tmp_path).load()


def test_looking_never_raises(tmp_path: Path) -> None:
    source = ImageFolder(tmp_path / "nowhere")
    assert not source.availability().ready
    assert "nowhere" in source.availability().where
    assert source.images is source.num_classes is None
