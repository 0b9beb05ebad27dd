"""The exported dataset in pyarrow, DuckDB and Polars: the same rows, the same columns.

Usage: read_parquet.py runs/quickstart/export    (needs pyarrow, duckdb and polars)
"""

import pathlib
import sys

import duckdb
import polars
import pyarrow.parquet as pq

folder = pathlib.Path(sys.argv[1])
files = str(folder / "part-*.parquet")
table = pq.read_table(sorted(folder.glob("part-*.parquet")))
count, right = duckdb.sql(f"select count(*), sum(correctness_count) from read_parquet('{files}')").fetchall()[0]
frame = polars.read_parquet(files)
assert table.num_rows == count == frame.height and frame.columns == table.column_names
row = table.slice(0, 1).to_pylist()[0]
assert row["messages"][-1]["role"] == "assistant" and row["messages"][-1]["content"] == row["generations"][0]
wanted = {"problem", "solution", "answer", "problem_type", "source", "uuid", "is_reasoning_complete", "generations", "correctness_math_verify", "correctness_count", "finish_reasons", "messages"}
assert wanted <= set(table.column_names), wanted - set(table.column_names)
print(f"{count} rows, {right} verified right; columns {', '.join(table.column_names)}")
