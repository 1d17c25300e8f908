"""Triton Inference Server through nvidia-pytriton: its dynamic batcher in C++, the network in Python."""

import numpy as np
from network import GRPC_PORT, LABELS, MAX_BATCH, PORT, Network, read
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

network = Network()


@batch
def infer_images(image: np.ndarray) -> dict[str, np.ndarray]:
    likely = network.probabilities(np.stack([read(one) for one in image.ravel()]))
    labels = np.char.encode(np.array([[LABELS[best]] for best in likely.argmax(axis=1)]))
    return {"probabilities": likely, "label": labels}


@batch
def infer_tensors(image: np.ndarray) -> dict[str, np.ndarray]:
    return {"probabilities": network.probabilities(image)}


if __name__ == "__main__":
    settings = TritonConfig(
        http_address="127.0.0.1",
        http_port=PORT,
        grpc_address="127.0.0.1",
        grpc_port=GRPC_PORT,
        allow_metrics=False,
    )
    options = ModelConfig(max_batch_size=MAX_BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=0))
    probabilities = Tensor(name="probabilities", dtype=np.float32, shape=(4,))
    with Triton(config=settings) as triton:
        triton.bind(
            model_name="image",
            infer_func=infer_images,
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[probabilities, Tensor(name="label", dtype=bytes, shape=(1,))],
            config=options,
        )
        triton.bind(
            model_name="brain_mri",
            infer_func=infer_tensors,
            inputs=[Tensor(name="image", dtype=np.uint8, shape=(299, 299, 3))],
            outputs=[probabilities],
            config=options,
        )
        triton.serve()
