"""The Open Inference Protocol (V2): REST and gRPC as thin adapters over one data plane.

    models.py           the two models of each bundle: tensors, metadata, configuration, statistics
    tensors.py          what a request carries, validated: uint8 images, or encoded files
    dataplane.py        validated request -> engine -> outputs; limits, statistics
    outputs.py          the tensors of an answer, or its best classes
    rest.py             the routes; rest_body.py reads JSON, arrays of pixels, and the binary extension
    grpc_server.py      the gRPC server, health and reflection; grpc_service.py the methods, grpc_call.py around each

The protocol: https://github.com/kserve/open-inference-protocol; the extensions are Triton's,
https://github.com/triton-inference-server/server/tree/main/docs/protocol.
"""
