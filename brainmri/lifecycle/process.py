"""What BentoML's hooks call: check in the parent process, then start and stop in each worker."""

from brainmri.bulk.serving import Bulk
from brainmri.lifecycle.worker import Worker, prepare_parent
from brainmri.observe import logs, tracing
from brainmri.settings import Settings
from brainmri.web.auth import KeyRing
from brainmri.web.spool import require_spool


class ServerProcess:
    """One process of a server.

    Args:
        settings: The deployment.
        keys: Who may call; anybody if None.
        bulk: Bulk work and jobs.
        worker: Loads, follows activations and ends.
    """

    def __init__(self, settings: Settings, keys: KeyRing | None, bulk: Bulk, worker: Worker) -> None:
        self._settings = settings
        self._keys = keys
        self._bulk = bulk
        self._worker = worker

    @property
    def unready(self) -> str | None:
        """Why requests are not answered; None when models are loaded and warm, here and in the sibling workers."""
        return self._worker.unready

    @property
    def alive(self) -> bool:
        """Liveness: False when only a restart can recover."""
        return self._worker.alive

    def configure_logs(self) -> None:
        """Sends everything that is logged from now on to stderr in one format."""
        logs.configure(self._settings.log_format, self._settings.log_level)

    def check(self) -> None:
        """Checks in the parent process that the workers can serve.

        Raises:
            BrainMRIError: There is no valid bundle that this code can serve, or another setting cannot work.
        """
        self.configure_logs()
        tracing.configured()
        self._load_keys()
        self._bulk.prepare()
        require_spool(self._settings.spool_dir)
        prepare_parent(self._settings)

    async def start(self) -> None:
        """Starts loading in a worker; until it is done, /livez answers, /readyz and /predict say 503."""
        tracing.process_tracing()
        self._load_keys()
        await self._worker.start()
        self._bulk.start()

    async def stop(self) -> None:
        """Finishes what has begun."""
        await self._bulk.stop()
        left_s = await self._worker.stop()
        if (traces := tracing.process_tracing()) is not None:
            traces.close(left_s)

    def _load_keys(self) -> None:
        if self._keys is not None:
            self._keys.load()
