"""The official Python client of OpenAI against `distill serve`, unmodified.

Usage: openai_client.py   (from the repository's root, after `cargo build --release`; needs the package openai)
"""

import asyncio
import os
import subprocess
import urllib.request

import openai

KEY, PORT = "a-key-of-this-script", 18780
server = subprocess.Popen(
    ["target/release/distill", "serve", "recipes/nano-teacher", "--port", str(PORT), "--api-key-env", "SERVE_KEY", "--queue", "8"],
    env=os.environ | {"SERVE_KEY": KEY}, stdout=subprocess.PIPE, text=True,
)
base = f"http://127.0.0.1:{PORT}/v1"
QUESTION = [{"role": "user", "content": "What is 34+5-3+8?"}]


def metric(name):
    text = urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics").read().decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"distill_{name} "))


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}")


try:
    print(server.stdout.readline().strip())
    client = openai.OpenAI(base_url=base, api_key=KEY, max_retries=0)
    model = client.models.list().data[0].id
    assert model == "nano-teacher"
    ask = dict(model=model, messages=QUESTION, seed=5, temperature=0.6, max_tokens=96)

    whole = client.chat.completions.create(**ask)
    message = whole.choices[0].message
    assert whole.choices[0].finish_reason == "stop" and "\\boxed{44}" in message.content, message
    assert "34+5=39" in message.reasoning_content and "<" not in message.reasoning_content, message
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert client.chat.completions.create(**ask).choices == whole.choices, "a seed repeats an answer"

    content, reasoning, usage = "", "", None
    for chunk in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
    assert (content, reasoning, usage) == (message.content, message.reasoning_content, whole.usage)

    several = client.chat.completions.create(**ask | {"n": 3, "temperature": 5.0}, logprobs=True, top_logprobs=4)
    assert len({choice.message.content + choice.message.reasoning_content for choice in several.choices}) > 1
    entry = several.choices[2].logprobs.content[0]
    assert len(entry.top_logprobs) == 4 and entry.logprob <= entry.top_logprobs[0].logprob <= 0
    assert whole.choices[0].message.content.startswith(client.chat.completions.create(**ask, stop=["boxed"]).choices[0].message.content)

    tokens = [10, 11, 12, 13]
    echoed = client.completions.create(model=model, prompt=[tokens, tokens], max_tokens=2, logprobs=1, echo=True, temperature=0)
    logprobs = echoed.choices[1].logprobs
    assert logprobs.token_logprobs[0] is None and len(logprobs.token_logprobs) == 6 and len(logprobs.text_offset) == 6
    text = client.completions.create(model=model, prompt="<|user|>What is 34+5-3?<|end|><|assistant|><think>\n", max_tokens=60, temperature=0)
    assert "39-3=36" in text.choices[0].text
    pieces = client.completions.create(model=model, prompt=tokens, max_tokens=5, seed=1, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == client.completions.create(model=model, prompt=tokens, max_tokens=5, seed=1).choices[0].text

    wrong_key = openai.OpenAI(base_url=base, api_key="another", max_retries=0)
    refused(openai.AuthenticationError, wrong_key.models.list)
    refused(openai.NotFoundError, lambda: client.chat.completions.create(**ask | {"model": "gpt"}))
    long = refused(openai.BadRequestError, lambda: client.chat.completions.create(**ask | {"messages": [{"role": "user", "content": "9" * 5000}]}))
    assert long.code == "context_length_exceeded", long
    refused(openai.BadRequestError, lambda: client.chat.completions.create(**ask, tools=[{"type": "function", "function": {"name": "f"}}]))
    refused(openai.RateLimitError, lambda: client.chat.completions.create(**ask, n=9))

    async def break_off():
        streams = openai.AsyncOpenAI(base_url=base, api_key=KEY)
        stream = await streams.chat.completions.create(**ask | {"max_tokens": 400}, extra_body={"ignore_eos": True}, stream=True)
        async for _ in stream:
            break
        await stream.close()
        for _ in range(100):
            if metric("cache_blocks_held") == 0:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the cache of a stream that was broken off is still held")

    asyncio.run(break_off())
    print(f"openai {openai.__version__}: chat, streams, n, seed, stop, logprobs, reasoning_content, completions with tokens and echo, "
          f"five kinds of refusal, a stream broken off: as they should be")
finally:
    server.terminate()
    assert server.wait(15) == 0, "the server ends well"
