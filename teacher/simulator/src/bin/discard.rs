//! `discard URL STREAMS TOKENS`: asks for so many answers at once and throws away what it reads. What it receives is what
//! any client could. Prints the seconds from the first request to the last byte, and the bytes.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Instant,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers = || Some((arguments.get(1)?.parse().ok()?, arguments.get(2)?.parse().ok()?));
    let (Some(url), Some((streams, tokens))) = (arguments.first(), numbers()) else {
        let _ = writeln!(io::stderr(), "discard URL STREAMS TOKENS");
        return ExitCode::from(2);
    };
    match discard(url, streams, tokens) {
        Ok((seconds, bytes)) => {
            let _ = writeln!(io::stdout(), "{{\"seconds\":{seconds},\"bytes\":{bytes}}}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "{url}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn discard(url: &str, streams: u32, tokens: u32) -> io::Result<(f64, u64)> {
    let address = url.trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let start = Instant::now();
    runtime.block_on(async {
        let reads: Vec<_> = (0..streams).map(|seed| tokio::spawn(read(address.clone(), seed, tokens))).collect();
        let mut bytes = 0;
        for read in reads {
            bytes += read.await.map_err(io::Error::other)??;
        }
        Ok((start.elapsed().as_secs_f64(), bytes))
    })
}

async fn read(address: String, seed: u32, tokens: u32) -> io::Result<u64> {
    let mut stream = TcpStream::connect(&address).await?;
    let body = format!("{{\"prompt\":\"?\",\"seed\":{seed},\"max_tokens\":{tokens}}}");
    let head = format!("POST /v1/completions HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await?;
    let (mut buffer, mut bytes, mut end) = (vec![0; 1 << 14], 0, Vec::new());
    loop {
        let count = stream.read(&mut buffer).await?;
        bytes += count as u64;
        end.extend_from_slice(&buffer[count.saturating_sub(7)..count]);
        end.drain(..end.len().saturating_sub(7));
        // The last, empty chunk.
        if count == 0 || end.ends_with(b"\r\n0\r\n\r\n") {
            return Ok(bytes);
        }
    }
}
