"""What granian's RSGI leaves: the body is read, and a constant of an answer's size goes out."""

import orjson

ANSWER = orjson.dumps({"quantiles": [100.0 + level / 7 for level in range(9)]})
HEADERS = [("content-type", "application/json")]


class Constant:
    async def __rsgi__(self, _scope, proto) -> None:
        await proto()
        proto.response_bytes(200, HEADERS, ANSWER)


app = Constant()
