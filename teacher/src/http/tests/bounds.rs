//! Bodies that are packed, and bodies without end.

use super::*;

#[test]
fn a_body_that_is_packed_is_read() {
    // As `gzip` packs it: {"choices":[{"message":{"content":"42"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}
    let packed = include_bytes!("../packed.json.gz");
    let length = packed.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n");
    let url = serve_bytes([head.as_bytes(), packed].concat());
    let answers = ask(&HttpTeacher::new(config(url), None, None).expect("a teacher"), 1).expect("answers");
    let completion = answers[&0].as_ref().expect("a completion");
    assert_eq!((completion.text.as_str(), completion.completion_tokens), ("42", 2));
}

#[test]
fn whatever_a_server_sends_without_end_is_cut_by_name() {
    let cases: [Behaviour; 3] = [
        // One line that never ends.
        |_, _| (200, vec![("content-type", "text/event-stream".to_owned())], format!("data: {}", "a".repeat(5 << 20))),
        // A body instead of a stream.
        |_, _| {
            (200, vec![("content-type", "application/json".to_owned())], format!("{{\"x\":\"{}", "a".repeat(65 << 20)))
        },
        // Pieces of an answer, each short.
        |_, _| {
            let piece = format!(r#"{{"choices":[{{"delta":{{"content":"{}"}}}}]}}"#, "a".repeat(1 << 20));
            let pieces: Vec<&str> = (0..66).map(|_| piece.as_str()).collect();
            stream(&pieces)
        },
    ];
    for (index, case) in cases.into_iter().enumerate() {
        let teacher = HttpTeacher::new(config(serve(case).0), None, None).expect("a teacher");
        // No limit of tokens cuts it before.
        let mut list = List { limit: Some(u32::MAX), ..List::of(1) };
        teacher.complete(&mut list, &Cancel::default()).expect("an outcome");
        match list.answers.remove(&0).expect("an outcome") {
            Err(TeacherError::Unanswerable { reason: "answer-too-long", text, .. }) => {
                assert!(text.len() <= 67 << 20, "case {index}");
            }
            other => panic!("case {index}: expected an outcome by name, found {:?}", other.map(|done| done.text.len())),
        }
    }
    // Of a refusal the beginning is read.
    match one(|_, _| (400, vec![], "no ".repeat(1 << 20))) {
        Err(TeacherError::Unanswerable { message, .. }) => assert!(message.len() < 400, "{}", message.len()),
        other => panic!("expected a refusal, found {other:?}"),
    }
}

/// A byte and then a mebibyte of another, again and again, as gzip packs it: a literal, then runs of 258 that repeat the byte
/// before them, by the fixed codes of RFC 1951, 3.2.6. Its checksum is not reached.
fn bomb(first: u8, second: u8, num_mib: usize) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec(), 0_u8, 0);
    let mut put = |value: u32, len: u32| {
        for at in (0..len).rev() {
            bits |= ((value >> at & 1) as u8) << count;
            count += 1;
            if count == 8 {
                bytes.push(std::mem::take(&mut bits));
                count = 0;
            }
        }
    };
    // The last block, by fixed codes.
    put(0b110, 3);
    for byte in [first, second] {
        put(0x30 + u32::from(byte), 8);
    }
    for _ in 0..(num_mib << 20) / 258 {
        // Length 258, distance 1.
        put(0b1100_0101, 8);
        put(0, 5);
    }
    bytes
}

#[test]
fn what_is_packed_is_counted_as_it_is_unpacked() {
    // White space, a line and a body in one piece, each of 128 MiB in 850 kB.
    for (first, second) in [(b' ', b' '), (b':', b'x'), (b'{', b' ')] {
        let packed = bomb(first, second, 128);
        assert!(packed.len() < 900_000, "{}", packed.len());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len());
        let url = serve_bytes([head.as_bytes(), &packed].concat());
        let answers = ask(&HttpTeacher::new(config(url), None, None).expect("a teacher"), 1).expect("an outcome");
        let Err(TeacherError::Unanswerable { reason, .. }) = &answers[&0] else { panic!("{first}: {answers:?}") };
        assert_eq!(*reason, "answer-too-long", "{first}");
    }
}
