"""How this process is deployed: the `BRAINMRI_*` environment. Facts about the model are in its contract instead."""

import logging
import math
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from brainmri.errors import InvalidSettings

_CGROUP = Path("/sys/fs/cgroup")
_MOST_STREAMS = 4

RuntimeChoice = Literal[
    "auto",
    "openvino",
    "openvino-int8",
    "openvino-bf16",
    "openvino-f32",
    "onnx",
    "onnx-int8",
    "onnx-f32",
    "litert",
    "litert-int8",
    "litert-dynamic",
    "litert-f32",
    "tensorflow",
    "tensorflow-bf16",
]
"""What may run the network: a runtime, with the best precision that the bundle carries for it, or with a given one."""
_CHECKOUT = Path(__file__).resolve().parents[1]

_RENAMED = {
    "BRAINMRI_LANES": "BRAINMRI_STREAMS",
    "BRAINMRI_BATCH_WAIT_MS": "BRAINMRI_MAX_QUEUE_DELAY_MS",
}
"""Variables of releases up to 0.2.2, and what they are called now."""

_logger = logging.getLogger(__name__)


class Settings(BaseSettings):
    """Deployment settings; `BRAINMRI_HTTP_PORT=8000` sets `http_port`."""

    model_config = SettingsConfigDict(env_prefix="BRAINMRI_", frozen=True, use_attribute_docstrings=True)

    http_host: str = "127.0.0.1"
    """Address to listen on. `0.0.0.0` accepts connections from other machines."""

    http_port: int = Field(default=3000, ge=1, le=65535)
    """TCP port of the HTTP interface."""

    keep_alive_s: int = Field(default=75, ge=1, le=3600)
    """How long an idle HTTP connection stays open, in seconds. It must be longer than the proxy in front or the client
    keeps it, or else a request may be sent into a connection that is being closed, and is lost."""

    header_timeout_s: float = Field(default=10, gt=0, le=3600)
    """Longest time from the opening of an HTTP connection, or the first byte of a later request, to the end of the
    request's headers, in seconds."""

    max_connections: int = Field(default=1000, ge=1, le=100_000)
    """Most HTTP connections of one worker; more are answered 429 and closed. As many over gRPC; more are closed."""

    max_connections_per_client: int = Field(default=500, ge=1, le=100_000)
    """Most of them from one address. Behind a proxy all have the proxy's: set it to the number of connections that the
    proxy may open."""

    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Host names that requests may be addressed to, separated by commas, without ports; others are answered 421, and
    pages of other origins 403 unless BRAINMRI_CORS_ORIGINS names them. If unset, a server on a loopback address takes
    loopback names only, and any other server takes every name, as does `*`. With names set, `/livez` and `/readyz` are
    still answered under every name: a kubelet asks by the address of the pod."""

    grpc_host: str = "127.0.0.1"
    """Address of the gRPC interface."""

    grpc_port: int = Field(default=3001, ge=0, le=65535)
    """TCP port of the gRPC interface. 0 switches it off."""

    workers: int = Field(default=1, ge=1, le=64)
    """Processes that serve, each with its own copy of the model; gRPC shares the port among them."""

    worker_timeout_s: float = Field(default=30, ge=2, le=3600)
    """How long the event loop of a worker may give no sign of life before the worker is killed and replaced, in
    seconds. While no worker runs, the parent process answers requests with 503."""

    models: Annotated[tuple[str, ...], NoDecode] = Field(default=("brain_mri_xception:latest",), min_length=1)
    """Tags in the BentoML store, `name:version` or `name:latest`, separated by commas; the first is the default."""

    asked_models: Annotated[tuple[str, ...], NoDecode] = ()
    """Set by `brainmri serve`: the tags before it resolved them, for SIGHUP to resolve again."""

    bundles: Path = Path("models")
    """Folder of released bundles; `latest` means the one in here. Relative to the working directory."""

    runtime: RuntimeChoice = "auto"
    """What runs the network. `auto` takes the first that the bundle carries and that is installed: int8 before f32,
    OpenVINO before ONNX Runtime, LiteRT and TensorFlow; with an NVIDIA GPU and `onnxruntime-gpu`, ONNX in f32."""

    threads: int = Field(default=0, ge=0, le=1024)
    """Threads of the inference runtime. 0 takes the CPU quota of the container, or else the number of CPUs, and shares
    them among the workers."""

    decode_workers: int = Field(default=0, ge=0, le=64)
    """Threads that decode images. 0 takes as many as there are CPUs, shared among the workers."""

    max_batch_size: int = Field(default=8, ge=1, le=1024)
    """Most images in one inference."""

    streams: int = Field(default=0, ge=0, le=64)
    """Inferences at the same time, among which OpenVINO shares its threads; one image that is alone gets all of them,
    and a batch that is alone is divided among the streams. 0 takes one for each thread, at most 4; and one if
    BRAINMRI_RUNTIME names ONNX Runtime or TensorFlow. Set 1 where `auto` comes to those."""

    max_queue_delay_ms: float = Field(default=0, ge=0, le=1000)
    """Longest time that an idle stream lets an image wait for others to fill the batch, in milliseconds; for those that
    are being decoded it waits by itself. 0 is best on a CPU; a GPU may gain from 1 to 5."""

    max_queue_images: int = Field(default=256, ge=1, le=100_000)
    """Most images that wait for the network or are being decoded; more are refused with 429. Bulk work gets no place
    once three quarters are taken."""

    max_request_images: int = Field(default=64, ge=1, le=10_000)
    """Most images in one request of several."""

    max_request_bytes: int = Field(default=64 * 2**20, ge=1)
    """Largest body of a request of several images or tensors, and largest gRPC message, in bytes."""

    max_held_bytes: int = Field(default=512 * 2**20, ge=1)
    """Most bytes that the bodies of all requests under way hold in one worker; more are refused with 429. A request
    that is alone has only the limits of its own."""

    max_image_bytes: int = Field(default=16 * 2**20, ge=1)
    """Largest encoded image, in bytes."""

    max_image_pixels: int = Field(default=25_000_000, ge=1, le=178_956_970)
    """Largest width times height, in pixels. Images that take more than 64 MiB to decode are decoded one at a time; the
    largest take up to 40 bytes a pixel, 1 GB in all. Pillow refuses more than 178,956,970 whatever is set here."""

    request_timeout_s: float = Field(default=30, gt=0, le=3600)
    """Longest time from the start of a prediction request to its answer, its upload included, in seconds."""

    upload_idle_timeout_s: float = Field(default=10, gt=0, le=3600)
    """Longest pause between two pieces of an upload, in seconds."""

    max_archive_bytes: int = Field(default=2**30, ge=1)
    """Largest body of `/score` and `/jobs`, in bytes. It is written to disk, not held in memory."""

    max_archive_images: int = Field(default=100_000, ge=1, le=10_000_000)
    """Most entries of an archive, and most images of a form, in `/score` and `/jobs`."""

    max_unpacked_bytes: int = Field(default=4 * 2**30, ge=1)
    """Most bytes of all files of an archive together once unpacked."""

    max_bulk_requests: int = Field(default=4, ge=1, le=1000)
    """Most requests to `/score` and uploads of jobs under way in one worker; more are refused with 429."""

    max_bulk_requests_per_client: int = Field(default=0, ge=0, le=1000)
    """Most of them of one API key, or of one address where no keys are asked for; 0 takes all but one. Where a proxy
    hides the addresses of clients that need no key, set it to BRAINMRI_MAX_BULK_REQUESTS."""

    upload_min_bytes_per_s: int = Field(default=16_384, ge=0)
    """Slowest pace of a body of `/score` and `/jobs`, in bytes a second, on average over 20 s; 0 takes any."""

    bulk_images: int = Field(default=4, ge=1, le=1024)
    """Images of `/score` and of jobs that one worker has in work at a time. More are faster, and hold up requests to
    `/predict` for longer; `docs/jobs.md` has figures."""

    bulk_timeout_s: float = Field(default=3600, gt=0, le=86_400)
    """Longest time of one request to `/score`, and of the upload of a job, in seconds; nothing else ends them earlier
    but a pause or a pace below the limits."""

    spool_dir: Path | None = None
    """Where the bodies of `/score` lie until they are answered; the system's folder for temporary files if unset. They
    have no names, so nothing is left of them after the answer or the end of the process. In a container whose `/tmp` is
    in memory, name a volume."""

    jobs_dir: Path | None = None
    """Where jobs, their uploads and their results are kept, for all workers of one server. No jobs if unset."""

    jobs_database: SecretStr | None = None
    """PostgreSQL database that makes the jobs of one replica those of all: `postgresql://user:password@host/database`.
    `BRAINMRI_JOBS_DIR` is then a folder that every replica has, such as a volume with `ReadWriteMany`. Without it jobs
    belong to one host. Needs the extra `postgresql`."""

    jobs_input_root: Path | None = None
    """Folder whose folders and files jobs may name as their input. None may if unset."""

    jobs_ttl_s: float = Field(default=86_400, gt=0, le=31_536_000)
    """How long a job and its results are kept after it ended, in seconds; its upload goes when it has succeeded."""

    max_jobs: int = Field(default=100, ge=1, le=100_000)
    """Most jobs kept, those that ended included; more are refused with 429."""

    max_jobs_per_key: int = Field(default=10, ge=1, le=100_000)
    """Most jobs kept of one API key."""

    max_jobs_bytes: int = Field(default=50 * 2**30, ge=1)
    """Most bytes of all jobs on disk; uploads beyond are refused with 507."""

    shutdown_grace_s: float = Field(default=20, gt=0, le=3600)
    """Longest time between SIGTERM and the end: everything accepted is answered in it, in seconds. `/score` ends with
    the rows so far and a token for the rest."""

    shutdown_delay_s: float = Field(default=1, ge=0, le=3600, validate_default=True)
    """How long after SIGTERM new requests are still answered while /readyz says 503 already, in seconds; less than the
    grace, of which it is a part. Then they are refused with 503 until what was accepted is answered, and after one more
    second idle connections are closed."""

    api_keys_file: Path | None = None
    """File of hashed API keys (`brainmri keys add`); read again when it changes. None asks for no key."""

    feedback_dir: Path | None = None
    """Folder in which `POST /feedback` keeps what people say of answers: hashes, request ids and labels. It needs
    BRAINMRI_API_KEYS_FILE. No feedback if unset."""

    max_feedback_bytes: int = Field(default=64 * 2**20, ge=4096)
    """Most bytes of all feedback; more is refused with 507 until somebody has collected it."""

    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins whose pages may call the HTTP interface, separated by commas. None by default."""

    samples: Path | None = None
    """Folder of sample images that the page offers, at most 24, each named after its file. Those of the package, which
    are drawn, if unset."""

    log_format: Literal["json", "text"] = "json"
    """`json` writes one object a line; `text` is for people."""

    novelty_policy: Literal["abstain", "no_tumor", "pass"] = "abstain"
    """Answer for an image that does not look like a brain MRI. `abstain`: no label, the verdict is `not_a_brain_mri`;
    `no_tumor`: the label that means so, `notumor` of the released models; `pass`: the network's own label."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe message of this project that is logged."""

    @field_validator("models", "asked_models", "cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("feedback_dir")
    @classmethod
    def _ask_for_keys(cls, folder: Path | None, info: ValidationInfo) -> Path | None:
        if folder is not None and info.data.get("api_keys_file") is None:
            raise ValueError("it needs BRAINMRI_API_KEYS_FILE, so that only callers with a key leave feedback")
        return folder

    @field_validator("shutdown_delay_s")
    @classmethod
    def _leave_time_to_end(cls, delay_s: float, info: ValidationInfo) -> float:
        grace_s = info.data.get("shutdown_grace_s", math.inf)
        if delay_s >= grace_s:
            raise ValueError(f"it must be less than BRAINMRI_SHUTDOWN_GRACE_S={grace_s:g}")
        return delay_s

    @field_validator("jobs_database")
    @classmethod
    def _is_postgresql(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if url is None:
            return None
        if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("it must begin with postgresql://")
        if info.data.get("jobs_dir") is None:
            raise ValueError("it needs BRAINMRI_JOBS_DIR, a folder that every replica has")
        return url

    def bundles_folder(self) -> Path:
        """Returns `bundles`; a relative folder is looked for where the command runs, then in the checkout."""
        return self.bundles if self.bundles.is_absolute() or self.bundles.is_dir() else _CHECKOUT / self.bundles

    def decode_threads(self) -> int:
        """Returns the number of threads of each worker that decode, at least 1."""
        return self.decode_workers or max(available_cpus() // self.workers, 1)

    def inference_streams(self) -> int:
        """Returns how many inferences run at the same time, at least 1."""
        # More streams than the runtime has streams would only make their batches smaller.
        shares = self.runtime.startswith(("auto", "openvino", "litert"))
        return self.streams or (min(self.inference_threads(), _MOST_STREAMS) if shares else 1)

    def inference_threads(self) -> int:
        """Returns the number of threads of each worker's inference runtime, at least 1."""
        return self.threads or max(available_cpus() // self.workers, 1)


def load_settings() -> Settings:
    """Reads the environment. Variables under an old name are renamed in it, so that one process of a server warns.

    Raises:
        InvalidSettings: A variable has a bad value; the message quotes it.
    """
    _rename_variables()
    try:
        return Settings()
    except ValidationError as error:
        faults = [
            f"BRAINMRI_{str(fault['loc'][0]).upper()}={_quoted(str(fault['loc'][0]), fault['input'])}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        ]
        raise InvalidSettings(f"The environment is invalid. {'; '.join(faults)}.") from error


def _quoted(name: str, value: object) -> object:
    """Returns what of a bad value may be shown."""
    return "***" if Settings.model_fields[name].annotation == SecretStr | None else value


def _rename_variables() -> None:
    for old, new in _RENAMED.items():
        if (value := os.environ.pop(old, None)) is not None:
            _logger.warning("%s is called %s now. Rename it; the old name goes with the next major release.", old, new)
            os.environ.setdefault(new, value)


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """Returns how many CPUs this process may use: the cgroup's quota rounded up, or else its CPU affinity.

    Args:
        cgroup: Where the control groups are mounted (v2 `cpu.max`, or v1 `cpu/cpu.cfs_*_us`).
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = _cpu_quota(cgroup)
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def _cpu_quota(cgroup: Path) -> float | None:
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period)
