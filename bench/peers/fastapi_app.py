"""FastAPI as its tutorial has it; the model runs in the event loop, which is faster here than a thread for it."""

from fastapi import FastAPI
from graph import Graph, padded
from pydantic import BaseModel

app = FastAPI()
graph = Graph()


class Question(BaseModel):
    closes: list[list[float]]


class Answer(BaseModel):
    quantiles: list[list[float]]


@app.post("/forecast")
async def forecast(asked: Question) -> Answer:
    return Answer(quantiles=graph(*padded(asked.closes)).tolist())
