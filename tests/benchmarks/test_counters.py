"""Tests of the comparison between counters and clients."""

from benchmarks.counters import Difference, Route, answered_images, compare, images_seen, requests, status_class
from benchmarks.traffic import LEFT, ClosedLoop, Exchange, Flow, Item, Record
from brainmri.observe.metrics import Metrics

ROUTES = {"upload": Route("/predict", "http"), "leaves": Route("/predict", "http"), "grpc": Route("I/Infer", "grpc")}


def seen(flow: str, *statuses: str) -> Record:
    return Record(flow, [Exchange(0, 0, 0.1, status) for status in statuses])


def test_counters_are_read_from_the_service_s_own_exposition() -> None:
    metrics = Metrics()
    for status in (200, 200, 429):
        metrics.count_request("/predict", "http", status)
    metrics.count_request("I/Infer", "grpc", 200)
    counted = requests(metrics.exposition().decode())
    assert counted == {("/predict", "http", "2xx"): 2, ("/predict", "http", "4xx"): 1, ("I/Infer", "grpc", "2xx"): 1}
    assert answered_images(metrics.exposition().decode()) == 0


def test_equal_counts_are_explained_and_others_are_not() -> None:
    records = [seen("upload", "200", "200", "400"), seen("grpc", "OK", "RESOURCE_EXHAUSTED")]
    before = {("/predict", "http", "2xx"): 10, ("/other", "http", "2xx"): 5}
    after = {
        ("/predict", "http", "2xx"): 12,
        ("/predict", "http", "4xx"): 2,
        ("I/Infer", "grpc", "2xx"): 1,
        ("/other", "http", "2xx"): 5,
    }
    differences = compare(ROUTES, records, before, after)
    assert differences == [
        Difference(("/predict", "http", "2xx"), seen=2, counted=2, left=0),
        Difference(("/predict", "http", "4xx"), seen=1, counted=2, left=0),
        Difference(("I/Infer", "grpc", "2xx"), seen=1, counted=1, left=0),
        Difference(("I/Infer", "grpc", "4xx"), seen=1, counted=0, left=0),
    ]
    assert [one.explained for one in differences] == [True, False, True, False]


def test_those_that_left_may_be_counted_or_not_but_not_twice() -> None:
    records = [seen("upload", "200"), seen("leaves", LEFT, LEFT)]
    for counted, explained in ((0, False), (1, True), (3, True), (4, False)):
        (difference,) = compare(ROUTES, records, {}, {("/predict", "http", "2xx"): counted} if counted else {})
        assert (difference.seen, difference.left, difference.explained) == (1, 2, explained)


def test_images_are_those_with_an_answer() -> None:
    flow = Flow("upload", 1, [Item(b"", images=4), Item(b"", images=1)], ClosedLoop(1))
    record = Record(
        "upload",
        [
            Exchange(0, 0, 0.1, "200", answer="glioma,image_unreadable,glioma,image_unreadable"),
            Exchange(1, 0, 0.1, "200", answer="glioma"),
            Exchange(1, 0, 0.1, "429", answer="overloaded"),
        ],
    )
    assert images_seen([flow], [record], "image_unreadable") == 3


def test_status_classes_are_those_of_the_metrics() -> None:
    names = ("200", "OK", "404", "503", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert [status_class(name) for name in names] == ["2xx", "2xx", "4xx", "5xx", "4xx", "4xx", "5xx", "5xx"]
