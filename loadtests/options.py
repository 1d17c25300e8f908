"""The flags that the locustfile adds to Locust's own."""

from locust.argument_parser import LocustArgumentParser

from loadtests.plans import SHAPES

API_KEY_VARIABLE = "BRAINMRI_LOADTEST_API_KEY"


def add_options(parser: LocustArgumentParser) -> None:
    """Adds the flags; `locust -f loadtests/locustfile.py --help` shows them."""
    _add_load(parser)
    _add_target(parser)
    _add_images(parser)
    parser.add_argument("--record", default="runs/loadtests/record.json", help="where the statistics for check_slo go")


def _add_load(parser: LocustArgumentParser) -> None:
    parser.add_argument("--shape", choices=[*SHAPES, ""], default="", help="without one: Locust's own -u, -r and -t")
    parser.add_argument("--levels", default="", help="load of the stages, such as 5,10,20; the shape has a default")
    parser.add_argument("--stage-seconds", type=float, default=0, help="length of a stage; the shape has a default")
    parser.add_argument(
        "--loop",
        choices=["open", "closed"],
        default="open",
        help="open: the load is arrivals a second, whether or not earlier ones are answered, and latency counts from"
        " the time at which a request was due; closed: the load is clients that wait for their answers",
    )
    parser.add_argument(
        "--rate-per-user", type=float, default=1.0, help="arrivals a second of one user of an open loop"
    )
    parser.add_argument("--think-seconds", type=float, default=0.0, help="pause of a client of a closed loop")
    parser.add_argument("--max-requests", type=int, default=200_000, help="ends the run, of each worker")


def _add_target(parser: LocustArgumentParser) -> None:
    parser.add_argument("--grpc-host", default="127.0.0.1:3001", help="address and port; TLS if --host is https")
    parser.add_argument(
        "--timeout", type=float, default=30.0, help="seconds after which a request counts as unanswered"
    )
    parser.add_argument("--allow-remote", action="store_true", help="permit targets other than this machine")
    parser.add_argument(
        "--api-key", default="", env_var=API_KEY_VARIABLE, is_secret=True, help="better set by the variable"
    )


def _add_images(parser: LocustArgumentParser) -> None:
    parser.add_argument("--images", default="", help="folder of JPEG and PNG files to send; without it made ones")
    parser.add_argument("--image-count", type=int, default=16, help="different images")
    parser.add_argument("--image-side", type=int, default=512, help="pixels of a side of made images")
    parser.add_argument("--batch-size", type=int, default=8, help="images in one request of /predict_batch")
