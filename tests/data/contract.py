"""What every data source must do. Each one's tests inherit this class and make the source."""

import json

import pytest
import torch

from edgesynth.data import DataSet, DataSource


class DataSourceContract:
    """Subclasses give a fixture `source`, of a source that is ready."""

    @pytest.fixture
    def source(self) -> DataSource:
        raise NotImplementedError

    @pytest.fixture
    def data(self, source: DataSource) -> DataSet:
        return source.load(split_seed=3)

    def test_is_ready_before_and_after_fetching(self, source: DataSource) -> None:
        assert source.availability().ready
        folder = source.fetch()
        assert folder is None or folder.is_dir()
        assert source.availability().ready
        assert source.availability().where

    def test_says_what_it_holds(self, source: DataSource, data: DataSet) -> None:
        assert data.name == source.name
        assert source.num_classes == len(data.classes) == len(set(data.classes)) >= 2

    def test_tensors_have_the_promised_shapes_and_types(self, data: DataSet) -> None:
        for split in data.train, data.val, data.test:
            assert len(split) == len(split.images) == len(split.targets) >= 1
            assert split.images.dtype == torch.float32
            assert split.images.shape[1:] == data.input_shape
            assert split.images.is_contiguous()
            assert split.targets.dtype == torch.int64
            assert split.targets.shape == (len(split),)
            assert 0 <= int(split.targets.min()) <= int(split.targets.max()) < len(data.classes)

    def test_every_class_can_be_learned(self, data: DataSet) -> None:
        assert set(data.train.targets.tolist()) == set(range(len(data.classes)))

    def test_the_training_images_are_normalised(self, data: DataSet) -> None:
        images = data.train.images.double()
        channels = data.input_shape[0]
        assert len(data.mean) == len(data.std) == channels
        assert images.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0] * channels, abs=1e-4)
        assert images.std(dim=(0, 2, 3), correction=0).tolist() == pytest.approx([1] * channels, abs=1e-4)

    def test_normalising_can_be_undone_to_eight_bits(self, data: DataSet) -> None:
        mean, std = (torch.tensor(each)[:, None, None] for each in (data.mean, data.std))
        pixels = (data.val.images * std + mean) * 255
        assert float((pixels - pixels.round()).abs().max()) < 1e-3
        assert -0.5 < float(pixels.min()) <= float(pixels.max()) < 255.5

    def test_the_same_seed_gives_the_same_data(self, source: DataSource, data: DataSet) -> None:
        again = source.load(split_seed=3)
        assert again.digests == data.digests
        for one, other in zip((data.train, data.val, data.test), (again.train, again.val, again.test), strict=True):
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.targets, other.targets)

    def test_another_seed_gives_another_training_split_of_the_same_size(
        self, source: DataSource, data: DataSet
    ) -> None:
        other = source.load(split_seed=4)
        assert other.digests["train"] != data.digests["train"]
        assert [len(each) for each in (other.train, other.val, other.test)] == [
            len(each) for each in (data.train, data.val, data.test)
        ]

    def test_digests_are_a_record(self, data: DataSet) -> None:
        assert sorted(data.digests) == ["test", "train", "val"]
        assert all(len(digest) == 64 for digest in data.digests.values())
        assert json.loads(json.dumps(data.digests)) == data.digests

    def test_the_training_split_is_shuffled(self, data: DataSet) -> None:
        targets = data.train.targets
        assert not torch.equal(targets, targets.sort().values)
