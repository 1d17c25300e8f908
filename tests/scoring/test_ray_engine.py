import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from brainmri.scoring.items import Item
from brainmri.scoring.ray_engine import RayEngine
from brainmri.scoring.supervisor import Supervisor
from tests.scoring.stand_in import BLACK, BLUE, GREEN, KILLS, RED, work, write_pictures

SHARD = 4


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_a_local_ray_gives_what_the_local_engine_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    items = write_pictures(tmp_path, [RED, GREEN, BLUE, BLACK, RED, KILLS, GREEN, BLUE, BLACK, RED])
    Path(items[2].location).write_bytes(b"damaged")

    def shards() -> Iterator[tuple[int, list[Item]]]:
        return ((start // SHARD, items[start : start + SHARD]) for start in range(0, len(items), SHARD))

    with Supervisor(work(), SHARD) as local:
        expected = {part.number: part for part in local.run(shards())}
    with RayEngine(work(), SHARD, actors=1, cpus=1) as ray:
        assert ray.model == local.model
        found = {part.number: part for part in ray.run(shards())}
    assert found.keys() == expected.keys() == {0, 1, 2}
    for number, part in found.items():
        assert (part.images, part.failed) == (expected[number].images, expected[number].failed)
        rows, wanted = (
            pq.read_table(io.BytesIO(one.parquet)).drop_columns(["scored_at"]) for one in (part, expected[number])
        )
        assert rows.equals(wanted)
    logging.getLogger("ray").handlers.clear()


def test_nothing_to_score_starts_no_actors() -> None:
    engine = RayEngine(work(), SHARD, actors=1, cpus=1)
    assert list(engine.run([])) == []
