//! The compression methods a message or result may name.

use std::io::{self, Read, Write};

/// The most memory the xz decoder may use, whatever a stream's header asks for; its strongest preset needs 65 MiB.
const XZ_MEMORY: u64 = 96 << 20;

/// The largest zstd window accepted, as a power of two: 64 MiB.
const ZSTD_WINDOW: u32 = 26;

/// Says why data cannot be compressed or decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// The method is not known.
    #[error("compression method {name:?} is not known; gzip, bzip2, lzma, zstd and brotli are")]
    UnknownMethod {
        /// The name that was given.
        name: String,
    },
    /// The data is not a stream of this method, or is damaged.
    #[error("not a complete {method} stream: {problem}")]
    Damaged {
        /// The method, with the kind of stream expected.
        method: &'static str,
        /// What the decoder said.
        problem: String,
    },
    /// The output would be larger than allowed.
    #[error("decompressed data would be larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The encoder failed.
    #[error("cannot compress with {method}: {problem}")]
    Encode {
        /// The method.
        method: &'static str,
        /// What the encoder said.
        problem: String,
    },
}

/// A compression method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// `application/x-gzip`, which in kombu is a zlib stream and not a gzip file.
    Gzip,
    /// `application/x-bz2`.
    Bzip2,
    /// `application/x-lzma`, an xz container.
    Lzma,
    /// `application/zstd`.
    Zstd,
    /// `application/x-brotli`.
    Brotli,
}

impl Compression {
    /// Finds the method by content type or by one of kombu's aliases, such as `gzip` or `xz`.
    ///
    /// # Errors
    ///
    /// When the name is not known.
    pub fn from_name(name: &str) -> Result<Self, CompressionError> {
        Ok(match name {
            "application/x-gzip" | "gzip" | "zlib" => Self::Gzip,
            "application/x-bz2" | "bzip2" | "bzip" => Self::Bzip2,
            "application/x-lzma" | "lzma" | "xz" => Self::Lzma,
            "application/zstd" | "zstd" | "zstandard" => Self::Zstd,
            "application/x-brotli" | "brotli" => Self::Brotli,
            _ => {
                return Err(CompressionError::UnknownMethod {
                    name: name.chars().take(60).collect(),
                });
            }
        })
    }

    /// Gives the name written to the `compression` header.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/x-gzip",
            Self::Bzip2 => "application/x-bz2",
            Self::Lzma => "application/x-lzma",
            Self::Zstd => "application/zstd",
            Self::Brotli => "application/x-brotli",
        }
    }

    fn stream_name(self) -> &'static str {
        match self {
            Self::Gzip => "zlib",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "xz",
            Self::Zstd => "zstd",
            Self::Brotli => "brotli",
        }
    }
}

/// Compresses with the level Python uses by default.
///
/// # Errors
///
/// When the encoder fails, which needs a lack of memory.
pub fn compress(method: Compression, data: &[u8]) -> Result<Vec<u8>, CompressionError> {
    encode(method, data).map_err(|error| CompressionError::Encode {
        method: method.stream_name(),
        problem: error.to_string(),
    })
}

fn encode(method: Compression, data: &[u8]) -> io::Result<Vec<u8>> {
    match method {
        Compression::Gzip => {
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(data)?;
            encoder.finish()
        }
        Compression::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
            encoder.write_all(data)?;
            encoder.finish()
        }
        Compression::Lzma => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
            encoder.write_all(data)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::stream::encode_all(data, 0),
        Compression::Brotli => {
            let mut out = Vec::new();
            let params = brotli::enc::BrotliEncoderParams::default();
            brotli::BrotliCompress(&mut &*data, &mut out, &params)?;
            Ok(out)
        }
    }
}

/// Decompresses at most `limit` bytes.
///
/// Never holds more than the limit and a small buffer, however large the data claims to be.
///
/// # Errors
///
/// When the stream is damaged or incomplete, or its content is larger than the limit.
pub fn decompress(
    method: Compression,
    data: &[u8],
    limit: usize,
) -> Result<Vec<u8>, CompressionError> {
    let damaged = |error: io::Error| CompressionError::Damaged {
        method: method.stream_name(),
        problem: error.to_string(),
    };
    match method {
        Compression::Gzip => collect(flate2::read::ZlibDecoder::new(data), limit, damaged),
        Compression::Bzip2 => collect(bzip2::read::BzDecoder::new(data), limit, damaged),
        Compression::Lzma => {
            let stream = liblzma::stream::Stream::new_auto_decoder(XZ_MEMORY, 0)
                .map_err(|error| damaged(error.into()))?;
            collect(
                liblzma::read::XzDecoder::new_stream(data, stream),
                limit,
                damaged,
            )
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(data).map_err(damaged)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(damaged)?;
            collect(decoder, limit, damaged)
        }
        Compression::Brotli => collect(brotli::Decompressor::new(data, 4096), limit, damaged),
    }
}

/// Reads to the end, growing the output only as far as the limit.
fn collect(
    mut reader: impl Read,
    limit: usize,
    damaged: impl Fn(io::Error) -> CompressionError,
) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(out),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(error)),
        };
        let needed = out.len() + count;
        if needed > limit {
            return Err(CompressionError::TooLarge { limit });
        }
        if needed > out.capacity() {
            let target = needed.max(out.capacity().saturating_mul(2)).min(limit);
            out.reserve_exact(target - out.len());
        }
        out.extend_from_slice(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 5] = [
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Lzma,
        Compression::Zstd,
        Compression::Brotli,
    ];

    #[test]
    fn every_method_reads_what_it_wrote() {
        for method in ALL {
            for data in [&b""[..], b"[[2, 3], {}, {}]", &[7; 100_000]] {
                let packed = compress(method, data).unwrap();
                assert_eq!(
                    decompress(method, &packed, 100_000).unwrap(),
                    data,
                    "{method:?}"
                );
                assert_eq!(Compression::from_name(method.content_type()), Ok(method));
            }
        }
    }

    #[test]
    fn a_bomb_is_cut_at_the_limit() {
        let bomb = vec![b' '; 8 << 20];
        for method in ALL {
            let packed = compress(method, &bomb).unwrap();
            let limit = 1 << 20;
            assert_eq!(
                decompress(method, &packed, limit),
                Err(CompressionError::TooLarge { limit }),
                "{method:?}"
            );
            let whole = decompress(method, &packed, bomb.len()).unwrap();
            assert_eq!(
                whole.capacity(),
                bomb.len(),
                "{method:?} reserves no more than the limit"
            );
        }
    }

    #[test]
    fn a_cut_stream_is_damaged() {
        for method in ALL {
            let packed = compress(method, b"[[2, 3], {}, {\"callbacks\": null}]").unwrap();
            for end in 0..packed.len() {
                let read = decompress(method, &packed[..end], 1000);
                // The trailer of a few formats carries no content; anything before it must be noticed.
                assert!(
                    end == 0 || read.is_err() || end + 12 > packed.len(),
                    "{method:?} {end}"
                );
            }
            assert!(
                decompress(method, b"\x1f\x8bplain text", 1000).is_err(),
                "{method:?}"
            );
        }
    }

    #[test]
    fn an_unknown_method_is_named() {
        let error = Compression::from_name("application/x-nope").unwrap_err();
        assert!(error.to_string().contains("application/x-nope"));
    }
}
