"""Files as the field's own tools write them: `distill` reads the same problems and the same ready traces out of each.

Usage: formats.py DISTILL [WORKDIR]    (needs pyarrow, pandas, fastparquet, polars, duckdb and datasets)

Every case is a file of the same five rows, or of rows with the same answers in another type. `distill sample` reads it, and
what lies in its store is compared with the rows themselves. Damaged and empty files have to be refused with what is wrong.
"""

import decimal
import gzip
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

import datasets
import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq

DISTILL = pathlib.Path(sys.argv[1]).resolve()
WORK = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
datasets.disable_progress_bars()
warnings.simplefilter("ignore")

ROWS = [
    {
        "problem": f"Wie viel ist {n} + 1? \U0001f989",
        "answer": f"{n + 1}.50",
        "meta": {"level": f"L{n}", "tags": ["a", f"t{n}"]},
        "dotted.name": f"d{n}",
        "messages": [{"role": "user", "content": f"{n} + 1?"}, {"role": "assistant", "content": f"<think>\n{n}\n</think>\n\n{n + 1}"}],
        "generations": [f"<think>\n{n}\n</think>\n\n{n + 1}", f"x</think>{n}"],
        "correctness": [True, False],
    }
    for n in range(5)
]
QUESTIONS = {row["problem"]: row["answer"] for row in ROWS}
PLAIN = 'columns = { question = "problem", answer = "answer" }'

passed = failed = 0


def run(name, file, columns=PLAIN, teacher=None):
    """The problems and the traces that `distill sample` leaves, or what it says."""
    folder = WORK / "runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kind = "parquet" if ".parquet" in file.name or file.is_dir() and list(file.glob("*.parquet")) else "jsonl"
    teacher = teacher or "ready-traces = true"
    if "responses" not in columns and "conversation" not in columns:
        columns = columns.replace(" }", ', responses = "problem" }')
    recipe = f'name = "run"\nseed = 1\n[[sources]]\nproblems = {{ {kind} = {json.dumps(str(file))}, {columns} }}\nteacher = {{ {teacher} }}\n'
    (folder / "run.toml").write_text(recipe)
    done = subprocess.run([DISTILL, "sample", "run.toml", "--threads", "1"], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        return done.returncode, done.stderr, None
    read = lambda stage: pa.concat_tables([pq.read_table(part) for part in sorted((folder / "runs/run" / stage).glob("part-*.parquet"))])
    return 0, read("problems").to_pylist(), read("traces").to_pylist()


def check(name, condition, seen):
    global passed, failed
    passed, failed = passed + bool(condition), failed + (not condition)
    print(("ok    " if condition else "FAILED"), name, "" if condition else f"\n       {seen}", flush=True)


def same(name, file, expected=None, columns=PLAIN):
    """The answers by question."""
    code, problems, _ = run(name, file, columns)
    expected = QUESTIONS if expected is None else expected
    found = {row["messages"][-1]["content"]: row["answer"] for row in problems} if code == 0 else problems
    check(name, found == expected, found)


def traces(name, file, columns):
    """The texts of the ready traces."""
    expected = sorted(text for row in ROWS for text in ([row["messages"][1]["content"]] if "conversation" in columns else row["generations"]))
    code, problems, found = run(name, file, columns)
    check(name, code == 0 and sorted(trace["text"] for trace in found) == expected, problems if code else found)


def refused(name, file, *words, columns=PLAIN):
    code, said, _ = run(name, file, columns)
    check(name, code not in (0, 101) and "panicked" not in str(said) and all(word in said for word in words), f"{code}: {said}")


def at(name):
    path = WORK / "files" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


table = pa.Table.from_pylist(ROWS)
frame = pandas.DataFrame(ROWS)
print(f"pyarrow {pa.__version__}, pandas {pandas.__version__}, polars {polars.__version__}, duckdb {duckdb.__version__}, datasets {datasets.__version__}")

# Parquet: codecs, encodings, versions.
for codec in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]:
    for version in ["1.0", "2.0"]:
        file = at(f"pyarrow-{codec}-{version}.parquet")
        pq.write_table(table, file, compression=codec, data_page_version=version)
        same(f"pyarrow {codec}, data pages {version}", file)
file = at("pyarrow-default.parquet")
pq.write_table(table, file)
same("pyarrow as it writes by default", file)
traces("pyarrow, messages", file, 'columns = { conversation = "messages" }')
traces("pyarrow, generations", file, 'columns = { question = "problem", responses = "generations", claims = ["correctness"] }')
same("a nested column", file, {row["problem"]: row["meta"]["level"] for row in ROWS}, 'columns = { question = "problem", answer = "meta.level" }')
same("an item of a list in a struct", file, {row["problem"]: row["meta"]["tags"][1] for row in ROWS}, 'columns = { question = "problem", answer = "meta.tags.1" }')
same("a name with a dot", file, {row["problem"]: row["dotted.name"] for row in ROWS}, 'columns = { question = "problem", answer = "dotted.name" }')
file = at("pyarrow-no-dictionary.parquet")
pq.write_table(table, file, use_dictionary=False, column_encoding={"problem": "DELTA_BYTE_ARRAY", "answer": "DELTA_LENGTH_BYTE_ARRAY"})
same("pyarrow, delta encodings", file)
file = at("pyarrow-groups.parquet")
pq.write_table(table, file, row_group_size=2, write_page_checksum=True)
same("pyarrow, row groups of two and checksums of pages", file)
for kind in [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.binary(), pa.large_binary()]:
    file = at(f"pyarrow-{str(kind)[:12]}.parquet".replace("<", "-"))
    columns = {name: table[name].cast(kind) if pa.types.is_dictionary(kind) is False else table[name].dictionary_encode() for name in ["problem", "answer"]}
    pq.write_table(pa.table(columns), file)
    same(f"pyarrow, {kind}", file)

# Other types of answers.
typed = {
    "int8": (pa.array([1, 2, -3, 4, 5], pa.int8()), ["1", "2", "-3", "4", "5"]),
    "uint64": (pa.array([2**64 - 1] * 5, pa.uint64()), [str(2**64 - 1)] * 5),
    "float64": (pa.array([0.5, 2.0, -1.25, 1e-7, 3.0]), ["0.5", "2", "-1.25", "0.0000001", "3"]),
    "float16": (pa.array([0.5, 2.0, -1.25, 0.25, 3.0], pa.float16()), ["0.5", "2", "-1.25", "0.25", "3"]),
    "bool": (pa.array([True, False, True, True, False]), ["true", "false", "true", "true", "false"]),
    "decimal(10, 2)": (pa.array([decimal.Decimal("2.50")] * 5, pa.decimal128(10, 2)), ["2.50"] * 5),
    "decimal(38, 0)": (pa.array([decimal.Decimal("1" * 30)] * 5, pa.decimal128(38, 0)), ["1" * 30] * 5),
    "decimal(76, 30)": (pa.array([decimal.Decimal("-0.5")] * 5, pa.decimal256(76, 30)), ["-0.5" + "0" * 29] * 5),
    "date32": (pa.array([19930] * 5, pa.date32()), ["2024-07-26"] * 5),
    "timestamp": (pa.array([1721995200] * 5, pa.timestamp("s")), ["2024-07-26T12:00:00"] * 5),
}
for kind, (array, answers) in typed.items():
    file = at(f"typed-{kind.split('(')[0]}{len(answers[0])}.parquet")
    pq.write_table(pa.table({"problem": table["problem"], "answer": array}), file)
    same(f"answers of {kind}", file, dict(zip(QUESTIONS, answers)))
file = at("nan.parquet")
pq.write_table(pa.table({"problem": table["problem"], "answer": pa.array([1.5, float("nan"), None, float("inf"), 2.0])}), file)
kept = list(QUESTIONS)
same("a float that is no number is no answer", file, {kept[0]: "1.5", kept[4]: "2"})

# Other writers of Parquet.
for codec in ["snappy", "gzip", "zstd", "brotli", "lz4", None]:
    file = at(f"pandas-{codec}.parquet")
    frame.to_parquet(file, compression=codec)
    same(f"pandas, {codec}", file)
for codec in ["SNAPPY", "GZIP", "ZSTD", "BROTLI", "LZ4_RAW", "UNCOMPRESSED"]:
    file = at(f"fastparquet-{codec}.parquet")
    frame[["problem", "answer"]].to_parquet(file, engine="fastparquet", compression=codec)
    same(f"fastparquet, {codec}", file)
for codec in ["snappy", "gzip", "zstd", "brotli", "lz4", "uncompressed"]:
    file = at(f"polars-{codec}.parquet")
    polars.DataFrame(ROWS).write_parquet(file, compression=codec)
    same(f"polars, {codec}", file)
traces("polars, messages", file, 'columns = { conversation = "messages" }')
frame_in_duckdb = frame
for codec in ["snappy", "gzip", "zstd", "brotli", "lz4_raw", "uncompressed"]:
    for version in ["v1", "v2"]:
        file = at(f"duckdb-{codec}-{version}.parquet")
        duckdb.sql(f"copy (select * from frame_in_duckdb) to '{file}' (format parquet, codec '{codec}', parquet_version '{version}')")
        same(f"duckdb, {codec}, {version}", file)
traces("duckdb, messages", file, 'columns = { conversation = "messages" }')
traces("duckdb, generations", file, 'columns = { question = "problem", responses = "generations" }')
hub = datasets.Dataset.from_list(ROWS)
file = at("datasets.parquet")
hub.to_parquet(file)
same("datasets, to_parquet", file)
traces("datasets, messages", file, 'columns = { conversation = "messages" }')
shards = at("datasets-folder") / "x"
for index in range(2):
    part = shards.parent / f"train-0000{index}-of-00002.parquet"
    part.parent.mkdir(exist_ok=True)
    hub.shard(2, index).to_parquet(part)
same("a folder of two Parquet files", shards.parent)

# JSON.
lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
for name, data in {
    "plain.jsonl": lines.encode(),
    "bom.jsonl": lines.encode("utf-8-sig"),
    "crlf.jsonl": lines.replace("\n", "\r\n").encode(),
    "escaped.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "packed.jsonl.gz": gzip.compress(lines.encode()),
    "array.json": json.dumps(ROWS, indent=2).encode(),
    "array-bom.json": json.dumps(ROWS).encode("utf-8-sig"),
    "array.json.gz": gzip.compress(json.dumps(ROWS).encode()),
}.items():
    at(name).write_bytes(data)
    same(name, at(name))
pandas.DataFrame(ROWS).to_json(at("pandas.jsonl"), orient="records", lines=True)
same("pandas, to_json of lines", at("pandas.jsonl"))
pandas.DataFrame(ROWS).to_json(at("pandas.json"), orient="records")
same("pandas, to_json of records", at("pandas.json"))
for packed in ["gz", "zst"]:
    try:
        pandas.DataFrame(ROWS).to_json(at(f"pandas.jsonl.{packed}"), orient="records", lines=True)
    except ImportError:
        subprocess.run(["zstd", "-qf", at("plain.jsonl"), "-o", at(f"pandas.jsonl.{packed}")], check=True)
    same(f"pandas, to_json, {packed}", at(f"pandas.jsonl.{packed}"))
polars.DataFrame(ROWS).write_ndjson(at("polars.ndjson"))
same("polars, write_ndjson", at("polars.ndjson"))
polars.DataFrame(ROWS).write_json(at("polars.json"))
same("polars, write_json", at("polars.json"))
hub.to_json(at("datasets.jsonl"))
same("datasets, to_json", at("datasets.jsonl"))
traces("datasets, messages as JSON", at("datasets.jsonl"), 'columns = { conversation = "messages" }')
for array in ["false", "true"]:
    file = at(f"duckdb-{array}.json")
    duckdb.sql(f"copy (select * from frame_in_duckdb) to '{file}' (format json, array {array})")
    same(f"duckdb, JSON, array {array}", file)
at("numbers.jsonl").write_text("".join(f'{{"problem": "{n}?", "answer": {a}}}\n' for n, a in enumerate(["2.50", "1" * 30, "-1E+5", "true"])))
same("numbers as they were written", at("numbers.jsonl"), {"0?": "2.50", "1?": "1" * 30, "2?": "-1E+5", "3?": "true"})
share = [{"conversations": [{"from": "human", "value": row["messages"][0]["content"]}, {"from": "gpt", "value": row["messages"][1]["content"]}]} for row in ROWS]
at("sharegpt.json").write_text(json.dumps(share))
traces("ShareGPT, one array", at("sharegpt.json"), 'columns = { conversation = "conversations" }')

# What is refused, and with which words.
at("empty.jsonl").write_bytes(b"")
refused("an empty file", at("empty.jsonl"), "no row: it is empty")
at("utf16.jsonl").write_text(lines, encoding="utf-16")
refused("UTF-16", at("utf16.jsonl"), "found UTF-16", "iconv")
at("latin1.jsonl").write_bytes('{"problem": "Größe?", "answer": 1}\n'.encode("latin-1"))
refused("Latin-1", at("latin1.jsonl"), "1 not-utf-8", "another encoding")
at("cut.jsonl.gz").write_bytes(gzip.compress(lines.encode())[:-12])
refused("gzip that is cut", at("cut.jsonl.gz"), "found damage", "hint")
at("cut.json").write_text(json.dumps(ROWS)[:-40])
refused("an array that is cut", at("cut.json"), "found the end of the file in element 5")
pandas.DataFrame(ROWS).to_json(at("columns.json"))
refused("pandas, to_json by columns", at("columns.json"), "1 no-question")
at("pretty.json").write_text(json.dumps(ROWS[0], indent=2))
refused("one object of several lines", at("pretty.json"), "an object of several lines", "jq")
pq.write_table(pa.table({"problem": pa.nulls(5, pa.string()), "answer": table["answer"]}), at("null.parquet"))
refused("a column of nulls", at("null.parquet"), "none in 5 rows (5 no-question)")
pq.write_table(pa.table({"problem": pa.nulls(5), "answer": table["answer"]}), at("null-type.parquet"))
refused("a column of the type null", at("null-type.parquet"), "none in 5 rows (5 no-question)")
pq.write_table(pa.table({"problem": table["problem"], "answer": pa.array([float("nan")] * 5)}), at("all-nan.parquet"))
refused("answers that are no numbers", at("all-nan.parquet"), "none in 5 rows (5 no-answer)")
pq.write_table(table.slice(0, 0), at("no-rows.parquet"))
refused("Parquet without rows", at("no-rows.parquet"), "no row: it is empty")
refused("a column that is not there", at("pyarrow-default.parquet"), "expected a column `question`, found problem, answer, meta", columns='columns = { question = "question" }')
refused("a column of another kind", at("pyarrow-default.parquet"), "5 no-question", columns='columns = { question = "meta" }')
at("jsonl.parquet").write_text(lines)
refused("JSON called Parquet", at("jsonl.parquet"), "expected a Parquet file", "jsonl")
shutil.copy(at("pyarrow-default.parquet"), at("parquet.jsonl"))
refused("Parquet called JSON", at("parquet.jsonl"), "found Parquet")
whole = at("pyarrow-groups.parquet").read_bytes()
at("cut.parquet").write_bytes(whole[: len(whole) // 2])
refused("Parquet that is cut", at("cut.parquet"), "expected a Parquet file, found none that can be read")
column = pq.ParquetFile(at("pyarrow-groups.parquet")).metadata.row_group(1).column(0)
damaged = bytearray(whole)
end = column.dictionary_page_offset + column.total_compressed_size
damaged[end - 8 : end - 4] = b"\xff\xff\xff\xff"
at("damaged.parquet").write_bytes(damaged)
left = {question: answer for place, (question, answer) in enumerate(QUESTIONS.items()) if place not in (2, 3)}
same("a damaged page costs its row group", at("damaged.parquet"), left)
source = json.loads((WORK / "runs/a damaged page costs its row group/runs/run/source/manifest.json").read_text())
check("and is counted", source["tally"]["rejected"] == {"damaged-row-group": 2}, source["tally"])

print(f"{passed} as they should be, {failed} not")
sys.exit(failed > 0)
