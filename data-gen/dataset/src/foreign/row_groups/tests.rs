//! Parquet as the field writes it: every codec, nested columns, and damage that is named.

use super::*;
use crate::Cell;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    builder::{ListBuilder, StringBuilder},
};
use parquet::{
    arrow::ArrowWriter,
    basic::Compression,
    file::properties::{WriterProperties, WriterVersion},
};
use std::fs;

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.expect("a batch");
    let file = File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a file");
}

/// The cells of every row.
fn read(path: &Path, columns: &[&str]) -> Vec<Vec<Option<String>>> {
    let rows = ParquetRows::open(path, columns).expect("a file");
    let said = |row: Row| row.cells.expect("cells").into_iter().map(|cell| cell.map(Cell::said)).collect();
    rows.map(|row| said(row.expect("a row"))).collect()
}

fn texts(rows: usize) -> Vec<Option<String>> {
    (0..rows).map(|n| (n % 7 != 0).then(|| format!("row {n} {}", "x".repeat(n % 90)))).collect()
}

#[test]
fn every_codec_of_the_field_is_read() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("rows.parquet");
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(Default::default()),
    ];
    for codec in codecs {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for dictionary in [true, false] {
                let properties = WriterProperties::builder()
                    .set_compression(codec)
                    .set_writer_version(version)
                    .set_dictionary_enabled(dictionary)
                    .set_max_row_group_row_count(Some(700))
                    .build();
                write(&path, vec![("a", Arc::new(StringArray::from(texts(2000))))], properties);
                let found: Vec<Option<String>> = read(&path, &["a"]).into_iter().map(|mut row| row.remove(0)).collect();
                assert!(found == texts(2000), "{codec} {version:?}");
            }
        }
    }
}

/// Two turns a row.
fn conversations() -> ArrayRef {
    let role: ArrayRef = Arc::new(StringArray::from(vec!["user", "assistant", "user"]));
    let content: ArrayRef = Arc::new(StringArray::from(vec![Some("1+1?"), Some("\"2\"\n"), None]));
    let fields: Fields =
        vec![Field::new("role", DataType::Utf8, true), Field::new("content.text", DataType::Utf8, true)].into();
    let turns = StructArray::new(fields.clone(), vec![role, content], None);
    let mut lengths = ListBuilder::new(StringBuilder::new());
    for length in [2, 0, 1] {
        (0..length).for_each(|_| lengths.values().append_value(""));
        lengths.append(true);
    }
    let offsets = lengths.finish().offsets().clone();
    Arc::new(ListArray::new(
        Arc::new(Field::new("item", DataType::Struct(fields), true)),
        offsets,
        Arc::new(turns),
        None,
    ))
}

#[test]
fn nested_columns_are_json_and_paths_lead_into_them() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("rows.parquet");
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
    let inner: Fields = vec![Field::new("b.c", DataType::Int64, true)].into();
    let dotted: ArrayRef = Arc::new(StructArray::new(inner, vec![Arc::new(Int64Array::from(vec![1, 2, 3]))], None));
    let columns = vec![("messages", conversations()), ("a", dotted), ("a.b.c", flags)];
    write(&path, columns, WriterProperties::builder().build());
    let text = |text: &str| Some(text.to_owned());
    let found = read(&path, &["messages", "messages.0.content.text", "messages.1.role", "a.b.c", "a"]);
    assert_eq!(
        found,
        [
            vec![
                text(r#"[{"role":"user","content.text":"1+1?"},{"role":"assistant","content.text":"\"2\"\n"}]"#),
                text("1+1?"),
                text("assistant"),
                text("true"),
                text(r#"{"b.c":1}"#)
            ],
            vec![text("[]"), None, None, None, text(r#"{"b.c":2}"#)],
            vec![text(r#"[{"role":"user","content.text":null}]"#), None, None, text("false"), text(r#"{"b.c":3}"#)],
        ]
    );
    for missing in ["messages.role", "messages.0.contents", "a.b", "b"] {
        let error = ParquetRows::open(&path, &[missing]).err().expect(missing).to_string();
        assert!(error.contains(&format!("expected a column `{missing}`, found messages, a, a.b.c")), "{error}");
    }
}

#[test]
fn damage_is_named_with_its_row_group_and_what_is_before_it_is_read() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("rows.parquet");
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(500))
        .build();
    write(&path, vec![("a", Arc::new(StringArray::from(texts(1500))))], properties);
    let rows = ParquetRows::open(&path, &["a"]).expect("a file");
    let column = rows.metadata.metadata().row_group(1).column(0);
    let (start, length) = column.byte_range();
    drop(rows);
    let mut bytes = fs::read(&path).expect("a file");
    let end = (start + length) as usize;
    bytes[end - 40..end].fill(0xff);
    fs::write(&path, bytes).expect("a file");
    let rows: Vec<Result<Row, DatasetError>> = ParquetRows::open(&path, &["a"]).expect("a file").collect();
    assert!(rows[..500].iter().all(Result::is_ok), "the first row group is sound");
    let error = rows.last().expect("an end").as_ref().expect_err("damage").to_string();
    assert!(error.contains("rows.parquet") && error.contains("damage in row group 2 of 3"), "{error}");
    assert!(error.contains("hint"), "{error}");
    assert!(rows.len() < 1001, "nothing comes behind it");
}

#[test]
fn what_a_dictionary_repeats_in_lists_is_neither_in_memory_nor_in_a_row_without_end() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("rows.parquet");
    let long = "0".repeat(1 << 20);
    let mut lists = ListBuilder::new(StringBuilder::new());
    for _ in 0..3 {
        (0..100).for_each(|_| lists.values().append_value(&long));
        lists.append(true);
    }
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(Default::default()))
        .set_dictionary_page_size_limit(1 << 24)
        .build();
    write(&path, vec![("a", Arc::new(lists.finish()) as ArrayRef)], properties);
    let mut rows = ParquetRows::open(&path, &["a", "a.99"]).expect("a file");
    let row = rows.next().expect("a row").expect("rows");
    assert_eq!(row.cells.expect_err("100 MiB of JSON").reason, "value-too-long");
    assert!(rows.held() < 10 << 20, "{} bytes are held", rows.held());
    let mut rows = ParquetRows::open(&path, &["a.99"]).expect("a file");
    assert_eq!(rows.next().expect("a row").expect("rows").cells.expect("cells"), [Some(Cell::Text(long))]);
}

#[test]
fn a_kind_that_has_no_text_is_told() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("rows.parquet");
    let spans: ArrayRef = Arc::new(arrow_array::Time64MicrosecondArray::from(vec![1]));
    assert_eq!(spans.len(), 1);
    write(&path, vec![("a", spans)], WriterProperties::builder().build());
    let error = ParquetRows::open(&path, &["a"]).err().expect("a refusal").to_string();
    assert!(error.contains("column `a`: expected text, numbers") && error.contains("found Time64"), "{error}");
}
