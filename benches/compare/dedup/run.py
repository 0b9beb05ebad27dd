"""Near duplicates: `distill dedup` beside datatrove's MinHash and rensa, the same rows in one run, each on one core.

Usage: run.py WORKDIR [--mib 1024] [--part 32] [--big GB] [--distill target/release/distill]
(makes a virtual environment in WORKDIR, 400 MB, and downloads text into it, 260 MB; both are there the next time. Disk: five
times the text. Two cores of 2026: --mib 1024 takes 20 to 30 minutes, --big 10 about 20 more and 25 GB of disk)

The corpus is text of installable packages (corpus.py), MIB of it, as JSON lines. Its duplication is what `distill dedup` finds
before anything is planted. Then a mutation of every 8th piece that has no near duplicate is planted somewhere behind it: some
words, drawn by the seed, are replaced, as many as bring the pair near a drawn Jaccard similarity; its true similarity is computed
here, from the tokens as filters/src/near/tokens.rs describes them (rensa's and datatrove's by their own shingles).

Word 5-grams and 14 bands of 8 rows everywhere, datatrove's defaults. Ours compares every candidate exactly, at a threshold of 0.5,
and must not ask for equal numbers here, since words are what is replaced. It reads JSON lines and ends with the rows that stay and
the reasons of the others on the disk. datatrove reads the same lines and ends with the rows that stay; it is slow, so it gets the
first PART MiB, which the two others are handed too. rensa is handed its shingles by Python, signs and looks up in memory, and
writes nothing: it is the least that a Python program does.

Programs run one after the other, pinned to one core: MB of text a second of wall time, start-up included. Peak memory is that of
the largest process. Recall of a band is beside its mean expectation, 1 - (1 - J^8)^14, and two standard errors of it. Precision:
the similarity of every dropped row to the neighbour that is named for it, computed here.

--big: ours alone on so many GB: the same rows again and again, the letters of each round exchanged by an alphabet of its own, so
that a round repeats itself as the text does, and no other round. Memory must stay under the ceiling of 1 GiB.
"""

import argparse
import json
import math
import os
import pathlib
import random
import shutil
import string
import subprocess
import sys
import time

from corpus import Rows, jaccard, pieces, shingles, tokens

PINNED = ["datatrove==0.10.1", "rensa==0.5.0", "orjson==3.13.0", "regex==2026.11.19", "spacy==3.8.18"]
# datatrove hands texts to xxhash, which takes bytes alone from 3.6 on.
PINNED += ["tokenizers==0.23.3", "xxhash==3.5.1"]
SEED, EVERY, CEILING_MB = 17, 8, 1024
LEAST, BANDS = 0.5, [0.5, 0.6, 0.7, 0.8, 0.9]
SETTINGS = [f"threshold={LEAST}", "bands=[14,8]", "same-numbers=false", f"memory-mb={CEILING_MB}"]


def expected(similarity):
    """The share of pairs so alike that 14 bands of 8 rows find."""
    return 1 - (1 - similarity**8) ** 14


def mutated(text, similarity, draws):
    """The text with as many of its words replaced as bring it near that similarity; words alone count as places."""
    words = text.split(" ")
    share = 1 - (2 * similarity / (1 + similarity)) ** (1 / 5)
    # A place between blanks holds several tokens: fewer shingles are spared.
    count = max(1, round(share * len(tokens(text)) * 0.85))
    for place in draws.sample(range(len(words)), min(count, len(words))):
        words[place] = "".join(draws.choices(string.ascii_lowercase, k=7))
    return " ".join(words)


def planted(work, plain, related, name, most):
    """The rows with mutations among them, and each pair (place of the original, place of its mutation)."""
    draws, rows, pairs, waiting = random.Random(SEED), Rows(work / name), [], []
    for row in range(len(plain)):
        if rows.bytes > most:
            break
        text = plain[row]
        if row % EVERY == 0 and row not in related:
            # More of them where the curve is steep: the error of a share is greatest there.
            target = draws.triangular(0.42, 0.995, 0.68)
            waiting.append((len(rows), mutated(text, target, draws)))
        rows.add(text)
        while waiting and draws.random() < 1 / 32:
            original, text = waiting.pop(draws.randrange(len(waiting)))
            pairs.append((original, len(rows)))
            rows.add(text)
    rows.close()
    return rows, pairs


def timed(command, work):
    """Wall seconds and peak MiB of a command on one core; what it says is in `log`."""
    before = time.perf_counter()
    with (work / "log").open("a") as log:
        process = subprocess.Popen(["taskset", "-c", "0", *map(str, command)], cwd=work, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"failed, {work / 'log'} says why: {command}")
    return time.perf_counter() - before, usage.ru_maxrss / 1024


class Ours:
    """A run of `distill dedup`."""

    def __init__(self, distill, work, rows):
        out = work / "kept.jsonl"
        for left in [out, work / "kept.jsonl.dropped.jsonl", work / "kept.jsonl.work"]:
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        sets = [word for setting in SETTINGS for word in ["--set", setting]]
        command = [distill, "dedup", rows.path, "--text", "text", "--out", out, "--threads", "1", *sets]
        self.wall, self.peak = timed(command, work)
        with (work / "kept.jsonl.dropped.jsonl").open() as file:
            self.dropped = [json.loads(line) for line in file]
        self.kept = len(rows) - len(self.dropped)
        out.unlink()

    def neighbours(self):
        """What each dropped row is nearly the same as: place, place and how alike; from 0."""
        for row in self.dropped:
            if "of_row" in row:
                yield row["row"] - 1, row["of_row"] - 1, 1.0
            elif "neighbour" in row.get("evidence", {}):
                yield row["row"] - 1, row["evidence"]["neighbour"]["row"] - 1, row["evidence"]["similarity"]

    def found(self):
        """The pairs that are named, the earlier place first."""
        return {(min(row, other), max(row, other)) for row, other, _ in self.neighbours()}


def datatrove(folder, name):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config, state = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8), str(pathlib.Path(folder) / "datatrove")
    reader = lambda: JsonlReader(folder, glob_pattern=name)
    for stage in [
        [reader(), MinhashDedupSignature(output_folder=state + "/signatures", config=config)],
        [MinhashDedupBuckets(input_folder=state + "/signatures", output_folder=state + "/buckets", config=config)],
        [MinhashDedupCluster(input_folder=state + "/buckets", output_folder=state + "/clusters", config=config)],
        [reader(), MinhashDedupFilter(input_folder=state + "/clusters"), JsonlWriter(state + "/kept", compression=None)],
    ]:
        # One task a bucket where a stage has them; they run one after the other.
        tasks = config.num_buckets if isinstance(stage[0], MinhashDedupBuckets) else 1
        LocalPipelineExecutor(stage, tasks=tasks, workers=1).run()


def datatrove_truth(folder, name):
    """How alike datatrove's own shingles are, of each pair on standard input."""
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig

    signing = MinhashDedupSignature(output_folder=folder + "/unused", config=MinhashConfig(n_grams=5))
    shingled = lambda text: set(signing.get_shingles(text).ravel().tolist())
    for one, other in json.load(sys.stdin):
        print(jaccard(shingled(one), shingled(other)))


def rensa_words(text):
    words = text.lower().split()
    return {" ".join(words[at : at + 5]) for at in range(max(1, len(words) - 4))}


def rensa(folder, name):
    from rensa import RMinHash, RMinHashLSH

    lsh, kept, found = RMinHashLSH(threshold=0.7, num_perm=112, num_bands=14), 0, []
    with open(pathlib.Path(folder) / name) as file:
        for row, line in enumerate(file):
            signature = RMinHash(num_perm=112, seed=SEED)
            signature.update(list(rensa_words(json.loads(line)["text"])))
            near = lsh.query(signature)
            kept += not near
            found.extend((other, row) for other in near)
            lsh.insert(row, signature)
    (pathlib.Path(folder) / "rensa.json").write_text(json.dumps([kept, found]))


def print_recall(name, pairs):
    """By band of true similarity: `pairs` holds similarity and whether it was found."""
    for low in BANDS:
        of = [(similarity, found) for similarity, found in pairs if low <= similarity < low + 0.1 or similarity == 1.0 == low + 0.1]
        if not of:
            continue
        theory = [expected(similarity) for similarity, _ in of]
        mean, error = sum(theory) / len(of), 2 * math.sqrt(sum(p * (1 - p) for p in theory)) / len(of)
        share = sum(found for _, found in of) / len(of)
        print(f"| {name} | {low:.1f} to {low + 0.1:.1f} | {len(of)} | {share:.2%} | {mean:.2%} | {100 * (share - mean):+.2f} | {100 * error:.2f} |")


def print_precision(ours, rows):
    """The similarity of every dropped row to its neighbour, against what is said and what is asked for."""
    last, below, other, count = (None, None), 0, 0, 0
    sets = lambda row: shingles(tokens(rows[row]))
    for row, neighbour, said in sorted(ours.neighbours(), key=lambda it: it[1]):
        if last[0] != neighbour:
            last = (neighbour, sets(neighbour))
        true = jaccard(last[1], sets(row))
        count, below, other = count + 1, below + (true < LEAST), other + (abs(true - said) > 1e-3)
    print(f"\nprecision at {LEAST}: {1 - below / max(count, 1):.4%} of {count} dropped rows; {other} whose similarity is another here than there")


def compare(work, distill, python, rows, pairs, with_datatrove):
    """Runs the programs on the rows; lines of the table, and of each program (similarity, found) of the pairs."""
    script, name = pathlib.Path(__file__).resolve(), rows.path.name
    texts = [(rows[one], rows[other]) for one, other in pairs]
    ours = Ours(distill, work, rows)
    named = ours.found()
    own = [jaccard(*(shingles(tokens(text)) for text in pair)) for pair in texts]
    recalls = {"distill dedup": [(similarity, pair in named) for similarity, pair in zip(own, pairs)]}
    lines = [("distill dedup", ours.wall, ours.peak, ours.kept)]
    wall, peak = timed([python, script, "--rensa", work, name], work)
    kept, near = json.loads((work / "rensa.json").read_text())
    lines.append(("rensa", wall, peak, kept))
    near = set(map(tuple, near))
    recalls["rensa"] = [(jaccard(*map(rensa_words, pair)), known in near) for pair, known in zip(texts, pairs)]
    if with_datatrove:
        shutil.rmtree(work / "datatrove", ignore_errors=True)
        wall, peak = timed([python, script, "--datatrove", work, name], work)
        stay = {int(json.loads(line)["id"]) for path in (work / "datatrove/kept").glob("*.jsonl") for line in path.open()}
        lines.append(("datatrove", wall, peak, len(stay)))
        truth = [python, script, "--datatrove-truth", work, name]
        told = subprocess.run(truth, input=json.dumps(texts), capture_output=True, text=True, check=True).stdout
        # Either of the two goes.
        gone = [one not in stay or other not in stay for one, other in pairs]
        recalls["datatrove"] = [(float(line), found) for line, found in zip(told.splitlines(), gone, strict=True)]
    return ours, lines, recalls


def big(work, distill, plain, size):
    rows, letters = Rows(work / "big.jsonl"), string.ascii_lowercase
    for round in range(1 << 20):
        shuffled = "".join(random.Random(SEED + round).sample(letters, 26)) if round else letters
        exchanged = str.maketrans(letters + letters.upper(), shuffled + shuffled.upper())
        for row in range(len(plain)):
            rows.add(plain[row].translate(exchanged))
            if rows.bytes > size:
                break
        if rows.bytes > size:
            break
    rows.close()
    ours = Ours(distill, work, rows)
    print(f"\n{rows.bytes / 1e9:.1f} GB, {len(rows)} rows, {round + 1} rounds: {ours.wall:.0f} s, {rows.bytes / 1e6 / ours.wall:.1f} MB/s,")
    print(f"peak {ours.peak:.0f} MiB under a ceiling of {CEILING_MB} MiB for the search; kept {ours.kept}")
    rows.path.unlink()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--mib", type=int, default=1024, help="of text; all there is, if that is less")
    parser.add_argument("--part", type=int, default=32, help="MiB that datatrove gets too")
    parser.add_argument("--big", type=float, help="GB for ours alone")
    parser.add_argument("--distill", type=pathlib.Path, default=pathlib.Path("target/release/distill"))
    arguments = parser.parse_args()
    work, distill = arguments.work.resolve(), arguments.distill.resolve()
    work.mkdir(parents=True, exist_ok=True)
    python = work / "venv/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PINNED], check=True)
    plain = Rows(work / "plain.jsonl")
    for piece in pieces(work, SEED):
        plain.add(piece)
        if plain.bytes > arguments.mib << 20:
            break
    plain.close()
    before = Ours(distill, work, plain)
    share = len(before.dropped) / len(plain)
    print(f"{plain.bytes / 1e6:.0f} MB in {len(plain)} pieces; before planting, {share:.1%} of them are near duplicates at {LEAST}")
    related = {place for row, neighbour, _ in before.neighbours() for place in (row, neighbour)}
    print("\n| rows | program | s | MB/s a core | of datatrove's | peak MiB | rows kept |\n|---|---|---|---|---|---|---|")
    told = {}
    for name, most in [("part.jsonl", min(arguments.part, arguments.mib) << 20), ("all.jsonl", 1 << 62)]:
        rows, pairs = planted(work, plain, related, name, most)
        is_part = name == "part.jsonl"
        ours, lines, recalls = compare(work, distill, python, rows, pairs, is_part)
        size = rows.bytes / 1e6
        slowest = dict((line[0], line[1]) for line in lines).get("datatrove")
        for program, wall, peak, kept in lines:
            ratio = f"{slowest / wall:.0f} ×" if slowest else ""
            print(f"| {size:.0f} MB, {len(rows)} | {program} | {wall:.1f} | {size / wall:.2f} | {ratio} | {peak:.0f} | {kept} |", flush=True)
        told |= {f"{program}, {size:.0f} MB": recall for program, recall in recalls.items()}
    print("\n| program | Jaccard | pairs | found | expected | points apart | two errors |\n|---|---|---|---|---|---|---|")
    for name, recall in told.items():
        print_recall(name, recall)
    print_precision(ours, rows)
    if arguments.big:
        big(work, distill, plain, arguments.big * 1e9)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--datatrove", folder, name]:
            datatrove(folder, name)
        case ["--datatrove-truth", folder, name]:
            datatrove_truth(folder, name)
        case ["--rensa", folder, name]:
            rensa(folder, name)
        case _:
            main()
