"""The official client, with asyncio: as many streams at once, every piece's text joined. Prints tokens and seconds."""

import asyncio
import json
import os
import sys
import threading
import time

from openai import AsyncOpenAI

try:
    import httpx2 as httpx
except ImportError:
    import httpx

url, streams, tokens, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
pieces = 0


async def one(client, seed):
    global pieces
    text = []
    stream = await client.completions.create(
        model="sim", prompt=f"What is {seed}?", seed=seed, max_tokens=tokens, stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].text:
            text.append(chunk.choices[0].text)
            pieces += 1
    return "".join(text)


def end(start):
    """What was read by now. Streams that are still open are not waited for: the loop may be too busy to end them."""
    print(json.dumps({"tokens": pieces, "seconds": time.monotonic() - start}), flush=True)
    os._exit(0)


async def main():
    limits = httpx.Limits(max_connections=streams, max_keepalive_connections=streams)
    http = httpx.AsyncClient(limits=limits, timeout=600)
    client = AsyncOpenAI(base_url=url, api_key="none", http_client=http, max_retries=0)
    start = time.monotonic()
    threading.Timer(seconds, end, [start]).start()
    await asyncio.gather(*(one(client, seed) for seed in range(streams)))
    end(start)


asyncio.run(main())
