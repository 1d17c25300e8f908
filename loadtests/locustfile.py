"""Entry point: `locust -f loadtests/locustfile.py`, from the folder above this one; see docs/load-tests.md."""

import grpc.experimental.gevent
from locust import events
from locust.env import Environment

from loadtests.options import add_options
from loadtests.session import Session
from loadtests.shape import PlannedShape
from loadtests.users import BatchUser, EvenUser, GrpcUser, MixedUser, TensorUser, UploadUser

__all__ = ["BatchUser", "EvenUser", "GrpcUser", "MixedUser", "PlannedShape", "TensorUser", "UploadUser"]

# Before the first channel is made: calls must let other greenlets run.
grpc.experimental.gevent.init_gevent()


def _begin(environment: Environment, **_: object) -> None:
    Session(environment)


events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(_begin)
