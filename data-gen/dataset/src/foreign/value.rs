//! A value of a Parquet file as a cell: numbers as their digits, decimals with all their places, lists and structs as JSON.

use super::{
    cell::{Cell, Unreadable},
    json::MAX_ROW,
};
use arrow_array::{Array, ArrowPrimitiveType, cast::AsArray, types};
use arrow_schema::{DataType, TimeUnit};

/// Whether values of a type have a text.
pub(super) fn has_text(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) => has_text(item.data_type()),
        DataType::Map(entries, _) => has_text(entries.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| has_text(field.data_type())),
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::Date32
        | DataType::Timestamp(..)
        | DataType::Utf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::BinaryView => true,
        _ => false,
    }
}

/// Whether it is a list, a struct or a map.
pub(super) fn is_nested(kind: &DataType) -> bool {
    matches!(kind, DataType::List(_) | DataType::Struct(_) | DataType::Map(..))
}

/// The cell of a value that is not null.
pub(super) fn cell(array: &dyn Array, row: usize) -> Result<Option<Cell>, Unreadable> {
    if is_nested(array.data_type()) {
        let mut text = String::new();
        write(array, row, &mut text)?;
        return Ok(Some(Cell::Json(text)));
    }
    Ok(match scalar(array, row)? {
        Scalar::None => None,
        Scalar::Text(text) => Some(Cell::Text(text.to_owned())),
        Scalar::Bare(text) | Scalar::Quoted(text) => Some(Cell::Text(text)),
    })
}

/// A value that is neither list nor struct.
enum Scalar<'a> {
    /// Null, or a float that is no number.
    None,
    Text(&'a str),
    /// What JSON writes without quotation marks.
    Bare(String),
    /// What JSON has no way to write but as text.
    Quoted(String),
}

fn scalar(array: &dyn Array, row: usize) -> Result<Scalar<'_>, Unreadable> {
    if array.is_null(row) {
        return Ok(Scalar::None);
    }
    fn number<T: ArrowPrimitiveType<Native: ToString>>(array: &dyn Array, row: usize) -> Scalar<'_> {
        Scalar::Bare(array.as_primitive::<T>().value(row).to_string())
    }
    fn float<'a>(value: f64, text: impl ToString) -> Scalar<'a> {
        if value.is_finite() { Scalar::Bare(text.to_string()) } else { Scalar::None }
    }
    Ok(match array.data_type() {
        DataType::Null => Scalar::None,
        DataType::Boolean => Scalar::Bare(array.as_boolean().value(row).to_string()),
        DataType::Int8 => number::<types::Int8Type>(array, row),
        DataType::Int16 => number::<types::Int16Type>(array, row),
        DataType::Int32 => number::<types::Int32Type>(array, row),
        DataType::Int64 => number::<types::Int64Type>(array, row),
        DataType::UInt8 => number::<types::UInt8Type>(array, row),
        DataType::UInt16 => number::<types::UInt16Type>(array, row),
        DataType::UInt32 => number::<types::UInt32Type>(array, row),
        DataType::UInt64 => number::<types::UInt64Type>(array, row),
        DataType::Float16 => {
            let value = array.as_primitive::<types::Float16Type>().value(row).to_f32();
            float(value.into(), value)
        }
        DataType::Float32 => {
            let value = array.as_primitive::<types::Float32Type>().value(row);
            float(value.into(), value)
        }
        DataType::Float64 => {
            let value = array.as_primitive::<types::Float64Type>().value(row);
            float(value, value)
        }
        DataType::Decimal32(_, scale) => decimal(array.as_primitive::<types::Decimal32Type>().value(row), *scale),
        DataType::Decimal64(_, scale) => decimal(array.as_primitive::<types::Decimal64Type>().value(row), *scale),
        DataType::Decimal128(_, scale) => decimal(array.as_primitive::<types::Decimal128Type>().value(row), *scale),
        DataType::Decimal256(_, scale) => decimal(array.as_primitive::<types::Decimal256Type>().value(row), *scale),
        DataType::Date32 => date(array.as_primitive::<types::Date32Type>().value(row)),
        DataType::Timestamp(unit, zone) => {
            let value = match unit {
                TimeUnit::Second => array.as_primitive::<types::TimestampSecondType>().value(row),
                TimeUnit::Millisecond => array.as_primitive::<types::TimestampMillisecondType>().value(row),
                TimeUnit::Microsecond => array.as_primitive::<types::TimestampMicrosecondType>().value(row),
                TimeUnit::Nanosecond => array.as_primitive::<types::TimestampNanosecondType>().value(row),
            };
            time(value, *unit, zone.is_some())
        }
        DataType::Utf8 => Scalar::Text(array.as_string::<i32>().value(row)),
        DataType::Utf8View => Scalar::Text(array.as_string_view().value(row)),
        DataType::Binary => Scalar::Text(utf8(array.as_binary::<i32>().value(row))?),
        DataType::BinaryView => Scalar::Text(utf8(array.as_binary_view().value(row))?),
        other => return Err(Unreadable::new("not-text", format!("expected text or numbers, found {other}"))),
    })
}

fn utf8(bytes: &[u8]) -> Result<&str, Unreadable> {
    let wrong = |error| Unreadable::new("not-utf-8", format!("expected text in UTF-8, found bytes: {error}"));
    std::str::from_utf8(bytes).map_err(wrong)
}

/// The digits of a decimal with its point: 250 of scale 2 is `2.50`.
fn decimal<'a>(unscaled: impl ToString, scale: i8) -> Scalar<'a> {
    let text = unscaled.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let places = usize::from(scale.unsigned_abs());
    Scalar::Bare(match scale {
        0 => text,
        ..0 if digits == "0" => text,
        ..0 => format!("{text}{}", "0".repeat(places)),
        _ => {
            let padded = format!("{digits:0>width$}", width = places + 1);
            let (whole, part) = padded.split_at(padded.len() - places);
            format!("{sign}{whole}.{part}")
        }
    })
}

/// `2024-07-26`; nothing where no calendar has it.
fn date<'a>(days: i32) -> Scalar<'a> {
    let first = jiff::civil::date(1970, 1, 1);
    match first.checked_add(jiff::SignedDuration::from_hours(24 * i64::from(days))) {
        Ok(date) => Scalar::Quoted(date.to_string()),
        Err(_) => Scalar::None,
    }
}

/// `2024-07-26T12:00:00Z`, without the `Z` where the file knows no zone; nothing where no calendar has it.
fn time<'a>(value: i64, unit: TimeUnit, has_zone: bool) -> Scalar<'a> {
    let nanoseconds = i128::from(value)
        * match unit {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Nanosecond => 1,
        };
    match jiff::Timestamp::from_nanosecond(nanoseconds) {
        Ok(time) if has_zone => Scalar::Quoted(time.to_string()),
        Ok(time) => Scalar::Quoted(time.to_string().trim_end_matches('Z').to_owned()),
        Err(_) => Scalar::None,
    }
}

/// Writes a value as JSON; one that is longer than a row may be ends in an error, whatever few bytes it is stored in.
fn write(array: &dyn Array, row: usize, out: &mut String) -> Result<(), Unreadable> {
    if out.len() > MAX_ROW {
        return Err(Unreadable::new("value-too-long", format!("more than {MAX_ROW} bytes of JSON")));
    }
    if array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (start, end) = range(list.value_offsets(), row);
            out.push('[');
            for (place, item) in (start..end).enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                write(list.values(), item, out)?;
            }
            out.push(']');
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            out.push('{');
            for (place, (field, column)) in fields.iter().zip(columns).enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                quote(field.name(), out);
                out.push(':');
                write(column, row, out)?;
            }
            out.push('}');
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (start, end) = range(map.value_offsets(), row);
            out.push('{');
            for (place, entry) in (start..end).enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                match scalar(map.keys(), entry)? {
                    Scalar::None => quote("", out),
                    Scalar::Text(key) => quote(key, out),
                    Scalar::Bare(key) | Scalar::Quoted(key) => quote(&key, out),
                }
                out.push(':');
                write(map.values(), entry, out)?;
            }
            out.push('}');
        }
        _ => match scalar(array, row)? {
            Scalar::None => out.push_str("null"),
            Scalar::Text(text) => quote(text, out),
            Scalar::Quoted(text) => quote(&text, out),
            Scalar::Bare(text) => out.push_str(&text),
        },
    }
    Ok(())
}

fn range(offsets: &[i32], row: usize) -> (usize, usize) {
    let at = |place: usize| offsets.get(place).and_then(|offset| usize::try_from(*offset).ok()).unwrap_or_default();
    (at(row), at(row + 1))
}

/// A text as JSON writes it.
fn quote(text: &str, out: &mut String) {
    // A text has no key that is none, so it has a JSON form.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{
        BinaryArray, Date32Array, Decimal128Array, Float64Array, TimestampMillisecondArray,
        builder::{Int64Builder, ListBuilder},
    };

    fn text(array: &dyn Array, row: usize) -> Option<String> {
        cell(array, row).expect("a cell").map(Cell::said)
    }

    #[test]
    fn decimals_keep_their_places_and_no_scale_is_absurd() {
        let of = |value: i128, scale: i8| {
            let Scalar::Bare(text) = decimal(value, scale) else { panic!("digits") };
            text
        };
        for (value, scale, expected) in [
            (250, 2, "2.50"),
            (-5, 2, "-0.05"),
            (0, 2, "0.00"),
            (7, 0, "7"),
            (7, -3, "7000"),
            (0, -3, "0"),
            (-12345, 4, "-1.2345"),
        ] {
            assert_eq!(of(value, scale), expected);
        }
        assert_eq!(of(1, i8::MAX), format!("0.{}1", "0".repeat(126)));
        assert_eq!(of(i128::MIN, i8::MIN), format!("{}{}", i128::MIN, "0".repeat(128)));
        let array = Decimal128Array::from(vec![123_456_789_012_345_678_901_234_567_890]);
        let array = array.with_precision_and_scale(38, 2).expect("a scale");
        assert_eq!(text(&array, 0).as_deref(), Some("1234567890123456789012345678.90"));
    }

    #[test]
    fn what_is_no_number_is_nothing() {
        let array = Float64Array::from(vec![2.5, f64::NAN, f64::INFINITY, 3.0]);
        let texts: Vec<_> = (0..4).map(|row| text(&array, row)).collect();
        assert_eq!(texts, [Some("2.5".to_owned()), None, None, Some("3".to_owned())]);
    }

    #[test]
    fn bytes_that_are_text_are_text() {
        let array = BinaryArray::from(vec![&b"caf\xc3\xa9"[..], b"\xff"]);
        assert_eq!(text(&array, 0).as_deref(), Some("café"));
        assert_eq!(cell(&array, 1).expect_err("bytes").reason, "not-utf-8");
    }

    #[test]
    fn dates_and_times_have_a_text_and_impossible_ones_none() {
        let array = Date32Array::from(vec![19930, i32::MAX]);
        assert_eq!((text(&array, 0).as_deref(), text(&array, 1)), (Some("2024-07-26"), None));
        let array = TimestampMillisecondArray::from(vec![1_721_995_200_500, i64::MAX]);
        assert_eq!((text(&array, 0).as_deref(), text(&array, 1)), (Some("2024-07-26T12:00:00.5"), None));
        assert_eq!(text(&array.with_timezone("UTC"), 0).as_deref(), Some("2024-07-26T12:00:00.5Z"));
    }

    #[test]
    fn a_list_that_would_be_longer_than_any_row_is_refused() {
        let mut lists = ListBuilder::new(Int64Builder::new());
        (0..MAX_ROW / 20).for_each(|_| lists.values().append_value(i64::MIN));
        lists.append(true);
        let list = lists.finish();
        assert_eq!(cell(&list, 0).expect_err("too long").reason, "value-too-long");
    }
}
