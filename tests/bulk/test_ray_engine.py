import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray

from brainmri.bulk.items import Item
from brainmri.bulk.ray_engine import RayEngine
from brainmri.bulk.supervisor import Supervisor
from tests.bulk.stand_in import BLACK, BLUE, GREEN, KILLS, RED, work, write_pictures

pytestmark = pytest.mark.slow

SHARD = 4


@pytest.fixture
def local_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray on this machine, which gives itself 30 seconds to start: too few beside other work."""
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    for attempt in range(3):
        try:
            ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            break
        except Exception:  # Ray raises plain exceptions
            ray.shutdown()
            if attempt == 2:
                raise
    yield
    ray.shutdown()
    logging.getLogger("ray").handlers.clear()


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_a_local_ray_gives_what_the_local_engine_gives(tmp_path: Path, local_ray: None) -> None:
    items = write_pictures(tmp_path, [RED, GREEN, BLUE, BLACK, RED, KILLS, GREEN, BLUE, BLACK, RED])
    Path(items[2].location).write_bytes(b"damaged")

    def shards() -> Iterator[tuple[int, list[Item]]]:
        return ((start // SHARD, items[start : start + SHARD]) for start in range(0, len(items), SHARD))

    with Supervisor(work(), SHARD) as local:
        expected = {part.number: part for part in local.run(shards())}
    with RayEngine(work(), SHARD, actors=1, cpus=1) as engine:
        assert engine.model == local.model
        found = {part.number: part for part in engine.run(shards())}
    assert found.keys() == expected.keys() == {0, 1, 2}
    for number, part in found.items():
        assert (part.images, part.failed) == (expected[number].images, expected[number].failed)
        rows, wanted = (
            pq.read_table(io.BytesIO(one.parquet)).drop_columns(["scored_at"]) for one in (part, expected[number])
        )
        assert rows.equals(wanted)


def test_nothing_to_score_starts_no_actors() -> None:
    engine = RayEngine(work(), SHARD, actors=1, cpus=1)
    assert list(engine.run([])) == []
