//! How peers reach each other: mutually authenticated QUIC, blobs, discovery. Knows no tasks.
