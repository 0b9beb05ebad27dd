"""Many streams at once against `distill serve`, for minutes: memory, waits, cancellations, and what is refused meanwhile.

Usage: serve_load.py [SECONDS] [STREAMS]   (from the repository's root, after `cargo build --release`; standard library only)

The nano teacher answers STREAMS clients, each of which asks again when its answer ends; one in ten breaks off after a few
tokens, one in twenty reads slowly. Beside them, malformed and oversized requests are sent and must be refused. Resident
memory is looked at once a second: the second half of the run must not need more than the first half did, 5 % aside.
"""

import http.client
import json
import pathlib
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 300
STREAMS = int(sys.argv[2]) if len(sys.argv) > 2 else 200
PORT = 18800
server = subprocess.Popen(["target/release/distill", "serve", "recipes/nano-teacher", "--port", str(PORT), "--cache-mib", "16", "--queue", "4096"],
                          stdout=subprocess.PIPE, text=True)
server.stdout.readline()
deadline = time.monotonic() + SECONDS
lock = threading.Lock()
counts = {"answered": 0, "broken off": 0, "refused": 0, "tokens": 0}
waits, failures, memory = [], [], []


def count(**by):
    with lock:
        for key, value in by.items():
            counts[key.replace("_", " ")] += value


def metrics():
    text = urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=60).read().decode()
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if not line.startswith("#")}


def stream(seed):
    chance = random.Random(seed)
    while time.monotonic() < deadline:
        try:
            body = {"messages": [{"role": "user", "content": f"What is {chance.randint(10, 60)}+{chance.randint(1, 9)}-{chance.randint(1, 9)}?"}],
                    "max_tokens": chance.choice([16, 60, 200]), "stream": True, "seed": chance.getrandbits(31)}
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
            started = time.monotonic()
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            assert reply.status == 200, (reply.status, reply.read())
            lines, wait, leave = 0, None, chance.random() < 0.1
            slow = chance.random() < 0.05
            for line in reply:
                if not line.startswith(b"data: {"):
                    continue
                lines += 1
                if lines == 2:
                    wait = time.monotonic() - started
                if leave and lines > 5:
                    break
                if slow:
                    time.sleep(0.02)
            connection.close()
            if wait is not None:
                with lock:
                    waits.append(wait)
            count(**({"broken_off": 1} if leave and lines > 5 else {"answered": 1}), tokens=lines)
        except Exception as error:  # whatever it is, it is counted and told
            with lock:
                failures.append(repr(error))


def refused():
    bad = [b"{", b"[]", b'{"messages": 3}', b'{"messages": []}', json.dumps({"messages": [{"role": "user", "content": "9" * 100000}]}).encode(), b"x" * (5 << 20),
           json.dumps({"messages": [{"role": "user", "content": "1+1"}], "n": 1000}).encode(), b"\xff\xfe"]
    expected = {400, 413}
    index = 0
    while time.monotonic() < deadline:
        body = bad[index % len(bad)]
        index += 1
        try:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
            connection.request("POST", "/v1/chat/completions", body)
            status = connection.getresponse().status
            assert status in expected, (status, body[:40])
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of the body was sent
        except Exception as error:
            with lock:
                failures.append(repr(error))
        connection.close()
        # Something that is not HTTP, and a connection that says nothing more.
        raw = socket.create_connection(("127.0.0.1", PORT))
        raw.sendall(b"\x16\x03\x01 not http\r\n\r\n" if index % 2 else b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 10\r\n\r\n{")
        raw.close()
        count(refused=1)
        time.sleep(0.05)


def resident():
    status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


threads = [threading.Thread(target=stream, args=(seed,)) for seed in range(STREAMS)] + [threading.Thread(target=refused)]
for thread in threads:
    thread.start()
while time.monotonic() < deadline:
    memory.append(resident())
    time.sleep(1)
for thread in threads:
    thread.join()
time.sleep(0.5)
last = metrics()
server.terminate()
code = server.wait(20)
half = len(memory) // 2
first, second = max(memory[5:half]), max(memory[half:])
waits.sort()
print("resident memory in MiB, every twentieth of the run:", " ".join(f"{value:.0f}" for value in memory[:: max(1, len(memory) // 20)]))
print(f"{STREAMS} streams, {SECONDS} s: {counts}")
print(f"wait for the first token: median {waits[len(waits) // 2]:.2f} s, longest {waits[-1]:.2f} s (the server's own count: {last['distill_longest_wait_seconds']:.2f} s)")
print(f"resident memory: first half at most {first:.1f} MiB, second half at most {second:.1f} MiB")
print(f"after the end: blocks held {last['distill_cache_blocks_held']:.0f}, running {last['distill_requests_running']:.0f}, cancelled {last['distill_cancelled_total']:.0f}, interruptions {last['distill_interruptions_total']:.0f}")
print(f"failures: {len(failures)}", *failures[:5], sep="\n  ")
assert not failures and code == 0 and second <= first * 1.05 and last["distill_cache_blocks_held"] == 0
assert last["distill_cancelled_total"] >= counts["broken off"] * 0.5
