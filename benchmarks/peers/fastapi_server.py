"""FastAPI under uvicorn, without batching: what most people write first."""

import uvicorn
from fastapi import FastAPI, Request, UploadFile
from network import PORT, Network, answer, read, tensor
from starlette.concurrency import run_in_threadpool

network = Network(callers=2)
app = FastAPI()


@app.get("/ready")
def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/predict")
def predict(image: UploadFile) -> dict:
    return answer(network.probabilities(read(image.file.read())[None])[0])


@app.post("/tensor")
async def predict_tensor(request: Request) -> dict:
    pixels = tensor(await request.body())
    return answer((await run_in_threadpool(network.probabilities, pixels[None]))[0])


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")
