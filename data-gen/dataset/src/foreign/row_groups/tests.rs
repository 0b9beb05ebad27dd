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

/// A file of 1,500 rows in three groups, of which some are damaged.
fn damaged(dir: &Path, groups: &[usize]) -> PathBuf {
    let path = dir.join("rows.parquet");
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(500))
        .build();
    let other: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1500));
    write(&path, vec![("a", Arc::new(StringArray::from(texts(1500)))), ("b", other)], properties);
    let rows = ParquetRows::open(&path, &["a"]).expect("a file");
    let ends = groups.iter().map(|group| rows.metadata.metadata().row_group(*group).column(0).byte_range());
    let ends: Vec<usize> = ends.map(|(start, length)| (start + length) as usize).collect();
    drop(rows);
    let mut bytes = fs::read(&path).expect("a file");
    ends.into_iter().for_each(|end| bytes[end - 40..end].fill(0xff));
    fs::write(&path, bytes).expect("a file");
    path
}

#[test]
fn damage_costs_its_row_group_and_is_named_with_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = damaged(dir.path(), &[1]);
    let rows: Vec<Row> = ParquetRows::open(&path, &["a"]).expect("a file").map(|row| row.expect("a row")).collect();
    let lost: Vec<&Row> = rows.iter().filter(|row| row.cells.is_err()).collect();
    let [lost] = lost[..] else { panic!("one stretch: {lost:?}") };
    assert!((501..=1000).contains(&lost.place) && lost.place + lost.rows == 1001, "{} of {}", lost.rows, lost.place);
    let unreadable = lost.cells.as_ref().expect_err("damage");
    assert_eq!(unreadable.reason, "damaged-row-group");
    assert!(
        unreadable.detail.contains("damage in row group 2 of 3") && unreadable.detail.contains("hint"),
        "{unreadable:?}"
    );
    assert_eq!(rows.iter().map(|row| row.rows).sum::<u64>(), 1500, "every row is told of");
    let last = rows.last().expect("rows");
    let expected = texts(1500).pop().flatten().map(Cell::Text);
    assert_eq!((last.place, last.cells.clone()), (1500, Ok(vec![expected])), "what comes behind it keeps its place");
    let other = ParquetRows::open(&path, &["b"]).expect("a file").map(|row| row.expect("a row"));
    assert!(other.into_iter().all(|row| row.cells.is_ok()), "a column that is not asked for may be damaged");

    let copy = dir.path().join("copy.parquet");
    let copied = crate::copy_rows(&path, crate::FileFormat::Parquet, &copy, |row| row > 400).expect("a copy");
    assert_eq!(copied.rows + copied.lost.iter().map(|row| row.rows).sum::<u64>(), 1100);
    assert_eq!(read(&copy, &["a", "b"]).len() as u64, copied.rows);

    let path = damaged(dir.path(), &[0, 1, 2]);
    let last = ParquetRows::open(&path, &["a"]).expect("a file").last().expect("an end");
    let error = last.expect_err("nothing could be read").to_string();
    assert!(error.contains("rows.parquet") && error.contains("damage in row group 1 of 3"), "{error}");
}

#[test]
fn a_text_that_is_not_utf8_costs_its_row() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (path, copy) = (dir.path().join("rows.parquet"), dir.path().join("copy.parquet"));
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
        .build();
    let said = |row: usize| if row == 7 { "seven seven".to_owned() } else { format!("row {row}") };
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..900).map(said)));
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..900 {
        lists.values().append_value(if row == 8 { "eight eight".to_owned() } else { format!("item {row}") });
        lists.append(true);
    }
    write(&path, vec![("a", texts), ("b", Arc::new(lists.finish()))], properties);
    let mut bytes = fs::read(&path).expect("a file");
    for word in ["seven seven", "eight eight"] {
        let at = bytes.windows(word.len()).position(|window| window == word.as_bytes()).expect("the text");
        bytes[at] = 0xff;
    }
    fs::write(&path, bytes).expect("a file");
    let rows: Vec<Row> = ParquetRows::open(&path, &["a"]).expect("a file").map(|row| row.expect("a row")).collect();
    let wrong: Vec<(u64, &str)> =
        rows.iter().filter_map(|row| Some((row.place, row.cells.as_ref().err()?.reason))).collect();
    assert_eq!((rows.len(), wrong), (900, vec![(8, "not-utf-8")]));
    let copied = crate::copy_rows(&path, crate::FileFormat::Parquet, &copy, |row| row != 8).expect("a copy");
    let lost: Vec<(u64, u64)> = copied.lost.iter().map(|row| (row.place, row.rows)).collect();
    assert_eq!((copied.rows, lost), (898, vec![(9, 1)]), "another column's text is a matter of its row too");
    let found = read(&copy, &["a", "b.0"]);
    assert_eq!((found.len(), found[7].clone()), (898, vec![Some("row 9".to_owned()), Some("item 9".to_owned())]));
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
