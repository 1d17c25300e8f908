"""The Open Inference Protocol (V2): REST and gRPC as thin adapters over one data plane.

    models.py           the two models of each bundle, with their tensors
    about.py            metadata, configuration, index
    tensors.py          what a request carries, validated: uint8 images, or encoded files
    dataplane.py        validated request -> engine -> outputs; limits, statistics
    outputs.py          the tensors of an answer
    numbers.py          arrays of pixels in JSON
    binary.py           the binary extension of REST, and the encoding of BYTES
    classification.py   the classification extension
    statistics.py       counts and cumulative times of each model
    rest.py             the routes; rest_*.py read and write their bodies
    server.py           the gRPC server; grpc_*.py its methods, admission, health and status

The protocol: https://github.com/kserve/open-inference-protocol; the extensions are Triton's,
https://github.com/triton-inference-server/server/tree/main/docs/protocol.
"""
